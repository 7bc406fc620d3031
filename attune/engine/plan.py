"""What a run would do, before any weight is read: rows, steps, trained parameters, memory and time.

Parameters are counted on a model without memory (torch's ``meta`` device). Time is measured: a step of the
same widths with one and with two layers of random weights, so that the other layers are a multiplication.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ..adapters.method import Method
from ..data import pack
from ..data.cache import Store
from ..models import heads, memory, quantize
from ..models.policy import Policy
from ..models.precision import DTYPES, resolve
from ..recipe import load as recipes
from ..recipe import plugs
from ..recipe.errors import RecipeError
from ..recipe.messages import say
from ..recipe.schema import Recipe
from . import scoring
from .attach import attach, base_dtype, method_of
from .estimate import Counts, Shape
from .parts import count_steps, micro_tokens, open_model, peak_learning_rate, prepare_data, resolve_model

_LIBRARIES_GIB = 0.45
"""What a process with torch, transformers and PEFT holds before any weight."""


@dataclass(frozen=True, slots=True)
class Plan:
    """``tokens`` count a pass over the data; memory in GiB, time in seconds."""

    output: str
    num_rows: int
    num_rejected: int
    num_examples: int
    num_held_out: int
    num_tokens: int
    num_learnt_tokens: int
    longest_example: int
    num_steps: int
    eval_steps: int
    num_parameters: int
    num_trained_parameters: int
    learning_rate: float
    precision: str
    device: str
    peak_memory_gib: float
    available_memory_gib: float | None
    seconds: float
    tokens_per_second: float
    notices: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[tuple[str, str]]:
        """Label and value, for the console."""
        return [
            *self._about_data(),
            *self._about_work(),
            *((say("note", "注意"), text) for text in self.notices),
        ]

    def _about_data(self) -> list[tuple[str, str]]:
        rows = say(
            "{n:,}, of which {bad:,} cannot be used",
            "{n:,}，其中 {bad:,} 行无法使用",
            n=self.num_rows,
            bad=self.num_rejected,
        )
        examples = say(
            "{n:,} to learn, {held:,} held out",
            "训练 {n:,}，留出 {held:,}",
            n=self.num_examples,
            held=self.num_held_out,
        )
        tokens = say(
            "{n:,}, {learnt:,} of them learnt ({share:.0%}); longest example {longest:,}",
            "{n:,}，其中学习 {learnt:,}（{share:.0%}）；最长样例 {longest:,}",
            n=self.num_tokens,
            learnt=self.num_learnt_tokens,
            share=self.num_learnt_tokens / max(1, self.num_tokens),
            longest=self.longest_example,
        )
        return [
            (say("rows", "行数"), rows),
            (say("examples", "样例"), examples),
            (say("tokens a pass", "每轮 token"), tokens),
        ]

    def _about_work(self) -> list[tuple[str, str]]:
        share = self.num_trained_parameters / self.num_parameters
        free = self.available_memory_gib
        fits = "" if free is None else say(" of {free:.1f} GiB free", "（可用 {free:.1f} GiB）", free=free)
        clock = _clock(self.seconds)
        rate = self.tokens_per_second
        every = self.eval_steps
        steps = say(
            "{n:,}, evaluated every {every:,}", "{n:,}，每 {every:,} 步评测", n=self.num_steps, every=every
        )
        peak = say("about {n:.1f} GiB{fits}", "约 {n:.1f} GiB{fits}", n=self.peak_memory_gib, fits=fits)
        return [
            (say("steps", "步数"), steps),
            (
                say("parameters that learn", "训练参数"),
                f"{self.num_trained_parameters:,} / {self.num_parameters:,} ({share:.2%})",
            ),
            (say("learning rate", "学习率"), f"{self.learning_rate:g}"),
            (say("arithmetic", "计算"), f"{self.precision}, {self.device}"),
            (say("peak memory", "内存峰值"), peak),
            (
                say("time", "时间"),
                say("about {t} ({n:,.0f} tokens/s)", "约 {t}（{n:,.0f} token/s）", t=clock, n=rate),
            ),
            (say("result in", "结果目录"), self.output),
        ]


def plan(recipe: Recipe) -> Plan:
    """Raises what training would raise for the same recipe: data, model folder and template are looked at."""
    with torch.random.fork_rng():  # planning must not change what is drawn after it
        return _plan(recipe)


def _plan(recipe: Recipe) -> Plan:
    recipe, tokenizer, template, config, notices = open_model(resolve_model(recipe))
    data = prepare_data(recipe, tokenizer, template, config, ())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = resolve(recipe.train.precision, device)
    adapter = plugs.find("adapters", recipe.adapter.name)
    objective = plugs.find("objectives", recipe.objective.name)
    counts = Counts.of(_on_meta(recipe, tokenizer, config))
    num_steps, eval_steps = count_steps(recipe, len(data.train))
    most = micro_tokens(recipe, data.train)
    typical = _typical_step(data.train, recipe, most)
    a_step = _seconds_a_step(recipe, tokenizer, config, precision, device, data.train, typical)
    tokens = int(data.train.lengths.sum())
    an_epoch = pack.steps_per_epoch(len(data.train), recipe.train.global_batch_size)
    seconds = a_step * num_steps
    return Plan(
        output=recipe.output or recipes.default_output(recipe),
        num_rows=sum(file["num_rows"] for file in data.files),
        num_rejected=len(data.rejected),
        num_examples=len(data.train),
        num_held_out=len(data.held_out),
        num_tokens=tokens,
        num_learnt_tokens=int(data.train.num_learnt.sum()),
        longest_example=int(data.train.lengths.max()),
        num_steps=num_steps,
        eval_steps=eval_steps,
        num_parameters=counts.total,
        num_trained_parameters=counts.trained,
        learning_rate=peak_learning_rate(recipe, adapter, objective),
        precision=precision,
        device=str(device),
        peak_memory_gib=_LIBRARIES_GIB
        + peak_bytes(
            method_of(recipe),
            config,
            precision,
            counts,
            _num_at_once(recipe, typical, most),
            checkpointing=recipe.train.activation_checkpointing == "on",
        )
        / memory.GIB,
        available_memory_gib=memory.available_gib(device),
        seconds=seconds,
        tokens_per_second=tokens / an_epoch / a_step,
        notices=tuple(text for level, text in [*notices, *data.notices] if level == "warning"),
    )


def _on_meta(recipe: Recipe, tokenizer: Any, config: Any) -> Any:
    with torch.device("meta"):
        model = heads.auto_class(config, scoring.needs_scores(recipe)).from_config(
            copy.deepcopy(config), trust_remote_code=recipe.model.trust_remote_code
        )
        return attach(recipe, model, tokenizer)


def _typical_step(store: Store, recipe: Recipe, most: int) -> list[list[int]]:
    """The lengths of the examples of a step of middling size, pack by pack."""
    steps = [
        pack.step_examples(at, len(store), recipe.train.global_batch_size, recipe.train.seed)
        for at in range(min(9, pack.steps_per_epoch(len(store), recipe.train.global_batch_size)))
    ]
    middle = sorted(steps, key=lambda examples: int(store.lengths[examples].sum()))[len(steps) // 2]
    rows = pack.packs(middle, [int(store.lengths[i]) for i in middle], most)
    return [[int(store.lengths[i]) for i in row] for row in rows]


def _seconds_a_step(
    recipe: Recipe,
    tokenizer: Any,
    config: Any,
    precision: str,
    device: torch.device,
    store: Store,
    typical: list[list[int]],
) -> float:
    """Measured on one and two layers of random weights, extended to all layers."""
    examples = pack.step_examples(0, len(store), recipe.train.global_batch_size, recipe.train.seed)
    scale = sum(map(sum, typical)) / max(1, int(store.lengths[examples].sum()))
    rows = pack.packs(examples, [int(store.lengths[i]) for i in examples], max(map(sum, typical)))
    times = [
        _measured(_shallow(recipe, tokenizer, config, precision, device, depth), store, rows[0])
        for depth in (1, 2)
    ]
    share = sum(int(store.lengths[i]) for i in examples) / max(1, sum(int(store.lengths[i]) for i in rows[0]))
    layers = int(config.get_text_config().num_hidden_layers)
    return (times[0] + max(0.0, times[1] - times[0]) * (layers - 1)) * share * scale


def _shallow(
    recipe: Recipe, tokenizer: Any, config: Any, precision: str, device: torch.device, depth: int
) -> Policy:
    small = copy.deepcopy(config)
    text = small.get_text_config()
    text.num_hidden_layers = depth
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:depth]
    dtype = base_dtype(recipe, precision)
    kind = heads.auto_class(small, scoring.needs_scores(recipe))
    model = kind.from_config(small, trust_remote_code=recipe.model.trust_remote_code)
    model = model.to(device=device, dtype=dtype)
    try:
        model = attach(recipe, model, tokenizer)
    except RecipeError:
        # The whole model took the method: it names layers that so few do not have. It is timed as if all
        # weights learnt, which is no faster.
        model.requires_grad_(True)
    return Policy(model, packing=recipe.train.packing == "auto")


def _measured(policy: Policy, store: Store, row: list[int]) -> float:
    """Seconds of a forward and backward pass, the better of three after a warm-up."""
    batch = pack.batch(store, row)
    policy.train()

    def once() -> None:
        (policy.scores(batch) if policy.is_scoring else policy(batch)).sum().backward()
        policy.zero_grad(set_to_none=True)
        if policy.device.type == "cuda":
            torch.cuda.synchronize()

    once()
    return min(_timed(once) for _ in range(3))


def _timed(once: Callable[[], None]) -> float:
    begun = time.perf_counter()
    once()
    return time.perf_counter() - begun


def _num_at_once(recipe: Recipe, typical: list[list[int]], most: int) -> int:
    """Tokens of the largest pass, virtual ones included."""
    virtual = method_of(recipe).virtual_tokens
    return max(min(most, sum(row)) + virtual * len(row) for row in typical)


def peak_bytes(
    method: Method,
    config: Any,
    precision: str,
    counts: Counts,
    num_tokens: int,
    *,
    checkpointing: bool = False,
) -> float:
    """Weights, gradients, the two moments, and activations of a pass of ``num_tokens``."""
    size = DTYPES[precision].itemsize
    shape = Shape.of(config)
    # What an adapter learns is in float32 whatever the base is in.
    frozen = 0 if method.trains_base else counts.total - counts.trained
    weights = float((counts.total - frozen) * 4 + frozen * size)
    if method.is_quantized:
        weights -= shape.matrix_parameters() * (size - quantize.BYTES_A_WEIGHT)
    states = counts.trained * 12
    activations = shape.activation_bytes(
        num_tokens, size, checkpointing=checkpointing, frozen_layers=counts.frozen_layers
    )
    chunks = 3 * 24 * 2**20
    return weights + states + activations + chunks


def _clock(seconds: float) -> str:
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return say("{h} h {m} min", "{h} 小时 {m} 分", h=hours, m=minutes)
    return (
        say("{m} min {s} s", "{m} 分 {s} 秒", m=minutes, s=rest)
        if minutes
        else say("{s} s", "{s} 秒", s=rest)
    )
