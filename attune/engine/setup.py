"""Everything that stands before the first step: folder, data, model, adapter, policy."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from ..adapters import fused
from ..data import pack, tokenizer as tokenizers
from ..data.cache import Store
from ..data.encode import Policy as EncodePolicy
from ..data.prepare import Prepared, prepare
from ..data.sources import load as load_sources, write_rejected
from ..data.template import ChatTemplate
from ..models import memory
from ..models.load import is_config_file, load_config, load_tokenizer, load_weights
from ..models.policy import Policy
from ..models.precision import DTYPES, resolve
from ..recipe import load as recipes, plugs
from ..recipe.errors import AttuneError, RecipeError
from ..recipe.messages import say
from ..recipe.schema import Recipe
from ..data import durable
from .estimate import checkpointing_needed
from .events import Listener, Progress
from .run import RunFolder, check_same, current_threads, describe_platform, versions
from .step import Micro

DEFAULT_LENGTH = 2048
DEFAULT_MICRO_TOKENS = 4096


@dataclass(slots=True)
class Setup:
    """A run that is ready to step."""

    recipe: Recipe
    folder: RunFolder
    data: Prepared
    tokenizer: Any
    template: ChatTemplate | None
    policy: Policy
    objective: ModuleType
    accelerator: Any
    device: torch.device
    precision: str
    learning_rate: float
    num_steps: int
    eval_steps: int
    micro: Micro
    base: str
    bus_listeners: tuple[Listener, ...]
    notices: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    started: str = ""

    @property
    def is_main(self) -> bool:
        return self.micro.rank == 0

    @property
    def numbers(self) -> dict[str, int]:
        """Parameters in all and those that learn."""
        parameters = list(self.policy.parameters())
        return {
            "num_parameters": sum(p.numel() for p in parameters),
            "num_trained_parameters": sum(p.numel() for p in parameters if p.requires_grad),
        }

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """bf16 arithmetic over float32 weights, where weights learn that are not an adapter's."""
        if self.precision == "bf16" and next(self.policy.base.parameters()).dtype == torch.float32:
            return torch.autocast(self.device.type, torch.bfloat16)
        return contextlib.nullcontext()

    def wait_for_everyone(self) -> None:
        if self.accelerator is not None:
            self.accelerator.wait_for_everyone()

    def summary(self, **more: Any) -> dict[str, Any]:
        """What run.json says."""
        return {
            "name": self.folder.path.name,
            "path": str(self.folder.path),
            "objective": self.recipe.objective.name,
            "adapter": self.recipe.adapter.name,
            "model": self.recipe.model.path,
            "started": self.started,
            "finished": _now(),
            "versions": versions(),
            "platform": describe_platform(),
            "threads": current_threads(),
            "seed": self.recipe.train.seed,
            "data": self.data.files,
            "data_digest": self.data.digest,
            "template": self.template.name if self.template else None,
            "num_examples": len(self.data.train),
            "num_held_out": len(self.data.held_out),
            "num_rejected": len(self.data.rejected),
            "num_steps": self.num_steps,
            "learning_rate": self.learning_rate,
            "precision": self.precision,
            "layout": "packed" if self.policy.packs else f"padded: {self.policy.reason}",
            **self.numbers,
            **more,
        }


def set_up(
    recipe: Recipe, stack: contextlib.ExitStack, listeners: tuple[Listener, ...], *, fresh: bool, accept_changes: bool
) -> Setup | dict[str, Any]:
    """Prepares a run, or returns run.json of the finished run that stands in its place."""
    if not recipe.data.train:
        raise RecipeError(say("No data: name a file with --data my.json.", "没有数据：请用 --data my.json 指定文件。"))
    if recipe.output is None:
        recipe = recipe.model_copy(update={"output": recipes.default_output(recipe)})
    folder = RunFolder(Path(recipe.output or ""))
    accelerator, device = start_processes()
    is_main = accelerator is None or accelerator.is_main_process
    listeners = listeners if is_main else ()
    if is_main:
        stack.enter_context(folder.lock())
    if fresh and is_main:
        folder.clear()
    state = folder.state()
    if state is not None and state.get("state") == "finished":
        return _finished(state, folder, recipe)
    if recipe.train.threads:
        torch.set_num_threads(recipe.train.threads)
    memory.keep_freed_memory()
    recipe, tokenizer, template, config, notices = open_model(recipe)
    data = prepare_data(recipe, tokenizer, template, config, listeners)
    notices += data.notices
    if state is not None:
        accepted = check_same(folder, recipe, data.digest, accept_changes)
        notices += [("warning", say("accepted although changed: {what}", "已接受的改变：{what}", what=w)) for w in accepted]
    objective = plugs.find("objectives", recipe.objective.name)
    adapter = plugs.find("adapters", recipe.adapter.name)
    precision = resolve(recipe.train.precision, device)
    policy = build_policy(recipe, config, precision, device)
    num_steps, eval_steps = count_steps(recipe, len(data.train))
    micro = Micro(
        micro_tokens(recipe, data.train),
        accelerator.process_index if accelerator else 0,
        accelerator.num_processes if accelerator else 1,
    )
    notices += choose_checkpointing(recipe, policy, micro, device)
    if recipe.train.compile:
        compile_layers(policy)
    setup = Setup(
        recipe, folder, data, tokenizer, template, policy, objective, accelerator, device, precision,
        peak_learning_rate(recipe, adapter, objective), num_steps, eval_steps, micro, recipe.model.path, listeners,
        notices, started=str((state or {}).get("started") or _now()),
    )  # fmt: skip
    if is_main:
        _open_folder(setup)
    setup.wait_for_everyone()
    return setup


def start_processes() -> tuple[Any, torch.device]:
    """accelerate's view of the world under ``accelerate launch`` (or torchrun); alone, no accelerator is needed."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from accelerate import Accelerator

        accelerator = Accelerator(cpu=not torch.cuda.is_available())
        return accelerator, accelerator.device
    return None, torch.device("cuda" if torch.cuda.is_available() else "cpu")


def open_model(recipe: Recipe) -> tuple[Recipe, Any, ChatTemplate | None, Any, list[tuple[str, str]]]:
    """The configuration, tokenizer and template, without any weight. A run folder stands for its result."""
    notices: list[tuple[str, str]] = []
    config = load_config(recipe.model)
    try:
        tokenizer = load_tokenizer(recipe.model)
    except AttuneError:
        if not is_config_file(recipe.model.path) or recipe.model.tokenizer:
            raise
        tokenizer = _new_tokenizer(recipe, config)
        text = say(
            "No tokenizer beside {path}: one of {n} tokens was trained on the data.",
            "{path} 旁没有分词器：已用数据训练了一个 {n} 个词的分词器。",
            path=recipe.model.path,
            n=f"{len(tokenizer):,}",
        )
        notices.append(("info", text))
    if is_config_file(recipe.model.path):
        # A model that starts from nothing ends texts where its tokenizer does.
        config.bos_token_id, config.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
        config.pad_token_id = tokenizer.pad_token_id
    vocab_size = config.get_text_config().vocab_size
    if len(tokenizer) > vocab_size:
        raise RecipeError(
            say(
                "The tokenizer has {n} tokens, the model only {m} embedding rows: they do not belong together.",
                "分词器有 {n} 个词，而模型只有 {m} 行嵌入：二者不配套。",
                n=len(tokenizer),
                m=vocab_size,
            )
        )
    template = None
    if needs_template(recipe):
        template = ChatTemplate.load(tokenizer, recipe.model.template)
        if template.notice:
            notices.append(("warning", template.notice))
    return recipe, tokenizer, template, config, notices


def needs_template(recipe: Recipe) -> bool:
    """Plain text has no turns."""
    return bool(plugs.find("objectives", recipe.objective.name).EXAMPLES != "text")


def encode_policy(recipe: Recipe, config: Any) -> EncodePolicy:
    """The encoding choices, with the model's window filled in."""
    data = recipe.data
    window = getattr(config.get_text_config(), "max_position_embeddings", None) or DEFAULT_LENGTH
    if data.max_length is not None and data.max_length > window:
        raise RecipeError(
            say(
                "data.max_length={got} is more than the model's window of {window} tokens. Give at most {window}.",
                "data.max_length={got} 超过模型窗口 {window} 个 token。请给出不超过 {window} 的值。",
                got=data.max_length,
                window=window,
            )
        )
    return EncodePolicy(data.max_length or min(window, DEFAULT_LENGTH), data.overlong, data.learn, data.system)


def prepare_data(
    recipe: Recipe, tokenizer: Any, template: ChatTemplate | None, config: Any, listeners: tuple[Listener, ...]
) -> Prepared:
    """Encoded data of the recipe."""
    kind = plugs.find("objectives", recipe.objective.name).EXAMPLES
    return prepare(
        recipe.data, kind, tokenizer, template, encode_policy(recipe, config), recipe.train.seed, _progress(listeners)
    )


def build_policy(recipe: Recipe, config: Any, precision: str, device: torch.device) -> Policy:
    """The model with its adapter, as the engine sees it."""
    adapter = plugs.find("adapters", recipe.adapter.name)
    seed = recipe.train.seed
    dtype = torch.float32 if recipe.adapter.name == "full" else DTYPES[precision]
    model = load_weights(recipe.model, config, dtype, device, seed)
    model.config.use_cache = False
    # A fixed seed at this place makes the adapter's start independent of whatever was drawn before.
    torch.manual_seed(seed)
    model = adapter.attach(model, recipe.adapter)
    fused.fuse(model)
    return Policy(model, packing=recipe.train.packing == "auto")


def count_steps(recipe: Recipe, num_examples: int) -> tuple[int, int]:
    """Optimizer steps of the run, and steps between evaluations."""
    import math

    an_epoch = pack.steps_per_epoch(num_examples, recipe.train.global_batch_size)
    num_steps = recipe.train.max_steps or max(1, math.ceil(recipe.train.epochs * an_epoch))
    return num_steps, recipe.train.eval_steps or an_epoch


def micro_tokens(recipe: Recipe, store: Store) -> int:
    """Tokens of a forward pass: as asked, else the default; never less than the longest example."""
    longest = int(store.lengths.max()) if len(store) else 0
    return max(recipe.train.micro_tokens or DEFAULT_MICRO_TOKENS, longest)


def peak_learning_rate(recipe: Recipe, adapter: ModuleType, objective: ModuleType) -> float:
    """As asked; else what the objective or the adapter knows to work."""
    if recipe.train.learning_rate is not None:
        return recipe.train.learning_rate
    return float(getattr(objective, "LEARNING_RATE", adapter.LEARNING_RATE))


def choose_checkpointing(recipe: Recipe, policy: Policy, micro: Micro, device: torch.device) -> list[tuple[str, str]]:
    """Turns on recomputation of activations where it is asked for, or where memory would not do without."""
    wanted = recipe.train.activation_checkpointing
    needed = wanted == "on" or (wanted == "auto" and checkpointing_needed(policy, micro.tokens, device))
    if not needed:
        return []
    policy.base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if wanted == "on":
        return []
    text = say(
        "Activations are recomputed in the backward pass: memory would not do otherwise (train.activation_checkpointing=off forbids it).",
        "内存不足，反向传播时将重算激活（train.activation_checkpointing=off 可禁止）。",
    )
    return [("info", text)]


def compile_layers(policy: Policy) -> None:
    """torch.compile of each decoder layer, with one graph for all lengths."""
    for layer in getattr(policy.base.base_model, "layers", None) or policy.base.base_model.h:
        layer.compile(dynamic=True)


def _new_tokenizer(recipe: Recipe, config: Any) -> Any:
    kind = plugs.find("objectives", recipe.objective.name).EXAMPLES
    examples = load_sources(recipe.data.train, kind, seed=recipe.train.seed).examples
    texts = [getattr(example, "text", "") for example in examples]
    return tokenizers.train_tokenizer(texts, config.get_text_config().vocab_size)


def _finished(state: dict[str, Any], folder: RunFolder, recipe: Recipe) -> dict[str, Any]:
    """A finished run is left alone, unless it answers another question than the one asked now."""
    old = recipes.load(folder.path / "recipe.yaml")
    different = recipes.difference(old, recipe)
    if different:
        raise RecipeError(
            say(
                "{path} holds a finished run of another recipe:\n  {found}\nUse another --output, or --fresh to start over.",
                "{path} 中是另一个配方已完成的训练：\n  {found}\n请换一个 --output，或用 --fresh 重新开始。",
                path=folder.path,
                found="\n  ".join(different),
            )
        )
    return {**state, "path": str(folder.path)}


def _open_folder(setup: Setup) -> None:
    folder = setup.folder
    durable.write_text(folder.path / "recipe.yaml", recipes.dump(setup.recipe))
    if setup.data.rejected:
        write_rejected(setup.data.rejected, folder.path / "rejected.jsonl")
    if setup.data.held_out_rows:
        import json

        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in setup.data.held_out_rows)
        durable.write_text(folder.path / "held_out.jsonl", lines)
    folder.write_state(setup.summary(state="running", finished=None))


def _progress(listeners: tuple[Listener, ...]) -> Callable[[str, int, int], None] | None:
    if not listeners:
        return None

    def tell(what: str, done: int, total: int) -> None:
        for listener in listeners:
            listener(Progress(what, done, total))

    return tell


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
