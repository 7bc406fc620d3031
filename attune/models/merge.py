"""Merging an adapter into its base, and proof that the result is the model that was trained.

    W' = W + B A * alpha / rank      (LoRA; the other methods as their own files say)

A base in 4 bits is first turned into ordinary matrices of the same values: what was trained is the correction
to those, not to the numbers before they were rounded. The merged folder is written beside its place, loaded
again from the disk, and asked the same as the adapter: the logits of both are compared token by token. Only
what passes is renamed to its place.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data import durable
from ..recipe.errors import ModelError, RunError
from ..recipe.messages import say
from . import adapted, biases, combine, quantize
from .folders import base_of
from .load import Loaded, cast, load_config, load_for_inference
from .save import replace_folder, save

OnProgress = Callable[[str, int, int], None]

TOLERANCE = {torch.float32: 1e-6, torch.bfloat16: 2e-2, torch.float16: 2e-3}
"""Largest mean KL divergence (nats a token) between adapter and merged model that counts as equal: rounding
of the stored weights, and nothing more."""

_PROBES = (
    "The quick brown fox jumps over the lazy dog.",
    "今天天气怎么样？请用一句话回答。",
    "1 + 1 = 2, and 12 * 12 = 144.",
    "def add(a, b):\n    return a + b\n",
)


@dataclass(frozen=True, slots=True)
class MergeReport:
    """What was merged and how equal the result is. Logits in nats; ``num_tokens`` compared positions."""

    source: str
    base: str
    output: str
    dtype: str
    num_layers: int
    num_tokens: int
    max_logit_difference: float
    mean_kl: float
    top1_agreement: float

    def lines(self) -> list[tuple[str, str]]:
        """Label and value, for the console."""
        return [
            (
                say("merged", "合并"),
                say(
                    "{n} layers of {source} into {base}",
                    "{source} 的 {n} 层并入 {base}",
                    n=self.num_layers,
                    source=self.source,
                    base=self.base,
                ),
            ),
            (say("written", "写入"), f"{self.output} ({self.dtype})"),
            (
                say("reloaded and compared", "重新加载并比对"),
                say(
                    "{n:,} tokens: largest logit difference {d:.2g}, mean KL {kl:.2g}, same first choice "
                    "{top:.1%}",
                    "{n:,} 个 token：logit 最大差 {d:.2g}，平均 KL {kl:.2g}，首选一致 {top:.1%}",
                    n=self.num_tokens,
                    d=self.max_logit_difference,
                    kl=self.mean_kl,
                    top=self.top1_agreement,
                ),
            ),
            (say("verdict", "结论"), say("the merged model equals the adapter", "合并后的模型与适配器一致")),
        ]


def merge(
    run: str | Path | Sequence[str | Path],
    output: str | Path,
    on_progress: OnProgress | None = None,
    *,
    weights: Sequence[float] | None = None,
    how: combine.How = "linear",
) -> MergeReport:
    """Merges the adapter of ``run`` into ``output``, an ordinary model folder in the base's own dtype. Of
    several runs the adapters are combined first (``weights``: one a run; ``how``: see ``combine``).

    Raises ModelError where there is no adapter or the output is taken, RunError where what was written and
    read again is not what was trained; nothing is then left at ``output``.
    """
    runs = [str(run)] if isinstance(run, str | Path) else [str(one) for one in run]
    run, output = " + ".join(runs), str(output)
    tell = on_progress or (lambda what, done, total: None)
    what = say("merging", "合并")
    place = Path(output)
    _must_be_free(place)
    tell(what, 0, 4)
    loaded = combine.load(runs, weights, how, torch.float32)
    if loaded.base is None:
        raise ModelError(
            say(
                "{run} is a whole model already ({path}): there is no adapter to merge.",
                "{run} 已是完整模型（{path}）：没有可合并的适配器。",
                run=run,
                path=loaded.path,
            )
        )
    _must_merge(loaded)
    base, prompts = loaded.base, _prompts(runs, loaded)
    expected = _logits(loaded.model, prompts)
    num_layers = _num_layers(loaded.model)
    tell(what, 1, 4)
    dtype = _stored_dtype(loaded)
    if quantize.is_quantized(adapted.inner(loaded.model)):
        loaded = combine.load(runs, weights, how, torch.float32, dequantized=True)
    merged = cast(_merged(loaded.model), dtype)
    draft = place.with_name(f".merging-{place.name}")
    try:
        save(merged, loaded.tokenizer, loaded.template, draft)
        del merged
        tell(what, 2, 4)
        found = _logits(load_for_inference(str(draft), dtype=torch.float32).model, prompts)
        tell(what, 3, 4)
        report = _compare(expected, found, run, base, output, dtype, num_layers)
        durable.write_json(draft / "merge.json", asdict(report))
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_dir():
            place.rmdir()
        replace_folder(draft, place)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    tell(what, 4, 4)
    return report


def whole(path: str, on_progress: OnProgress | None = None) -> str:
    """The folder of a whole model: ``path`` itself, or, where that is an adapter's, the one beside it into
    which it is merged. So training goes on from what the adapter has made, and what it makes has an ordinary
    model for a base. It is merged once, and again when the adapter has changed.

    Raises as ``merge`` does.
    """
    adapter = Path(path)
    if not (adapter / "adapter_config.json").is_file():
        return path
    place = (adapter.parent if adapter.name == "final" else adapter) / "merged"
    digest = hashlib.sha256()
    for file in sorted((*adapter.glob("adapter_*"), *adapter.glob("tokenizer*"))):
        digest.update(file.name.encode() + file.read_bytes())
    mark = place / "adapter.sha256"
    if not mark.is_file() or mark.read_text(encoding="utf-8") != digest.hexdigest():
        shutil.rmtree(place, ignore_errors=True)
        merge(str(adapter), place, on_progress)
        durable.write_text(mark, digest.hexdigest())
    return str(place)


def _must_be_free(place: Path) -> None:
    if place.exists() and any(place.iterdir() if place.is_dir() else [place]):
        raise ModelError(
            say(
                "{path} exists and is not empty. Choose another --output.",
                "{path} 已存在且非空。请换一个 --output。",
                path=place,
            )
        )


def _must_merge(loaded: Loaded) -> None:
    """Raises ModelError for an adapter that is more than a change of weights, with the reason."""
    model = loaded.model
    if isinstance(model, adapted.Adapted) or not model.active_peft_config.is_prompt_learning:
        return
    raise ModelError(
        say(
            "{path} holds virtual tokens ({kind}), which stand before the input and change no weight: "
            "there is "
            "nothing to merge. Use the folder as it is (attune chat, attune eval, PEFT).",
            "{path} 是虚拟 token（{kind}），位于输入之前，不改变任何权重，无可合并。请直接使用该文件夹"
            "（attune chat、attune eval、PEFT）。",
            path=loaded.path,
            kind=model.active_peft_config.peft_type.value,
        )
    )


def _num_layers(model: Any) -> int:
    from peft.tuners.tuners_utils import BaseTunerLayer

    if isinstance(model, adapted.Adapted):
        return len(model.places)
    return sum(isinstance(layer, BaseTunerLayer) for layer in model.modules())


def _merged(model: Any) -> Any:
    """The base with the adapter in its weights. Raises ModelError where PEFT or the architecture cannot."""
    _untie(model.get_base_model())
    try:
        merged = model.merge_and_unload()
    except (NotImplementedError, AttributeError, TypeError, ValueError) as error:
        raise ModelError(
            say(
                "PEFT cannot merge this adapter ({kind}): {reason}. Use its folder as it is.",
                "PEFT 无法合并该适配器（{kind}）：{reason}。请直接使用该文件夹。",
                kind=model.active_peft_config.peft_type.value,
                reason=str(error).strip() or type(error).__name__,
            )
        ) from None
    biases.make_room(merged)
    head, embedding = merged.get_output_embeddings(), merged.get_input_embeddings()
    if head is not None and head.weight is not embedding.weight:
        _mark_untied(merged.config)
    return merged


def _mark_untied(config: Any) -> None:
    for part in (config, config.get_text_config()):
        if getattr(part, "tie_word_embeddings", False):
            part.tie_word_embeddings = False


def _untie(base: Any) -> None:
    """Where one matrix is embedding and head, and only one of the two learnt (or each another correction),
    the merged model needs two matrices.
    """
    head, embedding = base.get_output_embeddings(), base.get_input_embeddings()
    adapted = [layer for layer in (head, embedding) if hasattr(layer, "get_base_layer")]
    if not adapted or head.weight is not embedding.weight:
        return
    layer = head.get_base_layer() if head in adapted else head
    layer.weight = torch.nn.Parameter(layer.weight.detach().clone(), requires_grad=False)
    _mark_untied(base.config)


def _stored_dtype(loaded: Loaded) -> torch.dtype:
    """The dtype of the base's own files; it was loaded in float32, so that the sum is exact."""
    config = load_config(base_of(Path(loaded.path) / "adapter_config.json"))
    dtype = getattr(config, "dtype", None)
    return dtype if isinstance(dtype, torch.dtype) else torch.float32


def _compare(
    expected: Sequence[Tensor],
    found: Sequence[Tensor],
    run: str,
    base: str,
    output: str,
    dtype: torch.dtype,
    num_layers: int,
) -> MergeReport:
    a, b = torch.cat(list(expected)), torch.cat(list(found))
    log_a, log_b = a.log_softmax(-1), b.log_softmax(-1)
    kl = float((log_a.exp() * (log_a - log_b)).sum(-1).mean())
    report = MergeReport(
        run, base, output, str(dtype).removeprefix("torch."), num_layers, len(a),
        float((a - b).abs().max()), max(kl, 0.0), float((a.argmax(-1) == b.argmax(-1)).float().mean()),
    )  # fmt: skip
    limit = TOLERANCE.get(dtype, 2e-2)
    if not kl <= limit:
        raise RunError(
            say(
                "The merged model is not the trained one: mean KL {kl:.2g} (at most {limit:.0e} would "
                "be rounding), largest logit difference {d:.2g}. Nothing was kept at {output}. Use the "
                "adapter as it is; and please report this.",
                "合并后的模型与训练结果不一致：平均 KL {kl:.2g}（舍入误差至多 {limit:.0e}），logit 最大"
                "差 {d:.2g}。未保留 {output}。请直接使用适配器，并反馈此问题。",
                kl=kl,
                limit=limit,
                d=report.max_logit_difference,
                output=output,
            )
        )
    return report


@torch.inference_mode()
def _logits(model: Any, prompts: Sequence[list[int]]) -> list[Tensor]:
    """Float32 logits of each prompt's tokens on the CPU, ``[tokens, vocabulary]`` each."""
    model.eval()
    return [model(torch.tensor([ids], device=model.device)).logits[0].float().cpu() for ids in prompts]


def _prompts(runs: Sequence[str], loaded: Loaded, limit: int = 16) -> list[list[int]]:
    """Token ids to compare on: what the runs held out, and a few plain sentences."""
    longest = min(256, getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None) or 256)
    texts = list(_PROBES)
    files = [Path(run) / "held_out.jsonl" for run in runs]
    for held_out in (file for file in files if file.is_file()):
        for line in held_out.read_text(encoding="utf-8").split("\n")[:limit]:
            row = json.loads(line) if line else {}
            turns = row.get("messages") or [{"content": row.get("text", "")}]
            texts += [str(turn.get("content") or "") for turn in turns]
    encoded = (loaded.tokenizer(text)["input_ids"][:longest] for text in texts if text)
    return [list(ids) for ids in encoded if ids]
