"""Merging an adapter into its base, and proof that the result is the model that was trained.

    W' = W + B A * alpha / rank      (LoRA; the other methods as their own files say)

A base in 4 bits is first turned into ordinary matrices of the same values: what was trained is the correction
to those, not to the numbers before they were rounded. The merged folder is written beside its place, loaded
again from the disk, and asked the same as the adapter: what both give is compared, the logits token by token
or the scores input by input. Only what passes is renamed to its place.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ..data import durable
from ..data.images import ImageReader
from ..data.labels import Task
from ..recipe.errors import ModelError, RunError
from ..recipe.messages import say
from . import adapted, biases, combine, heads, quantize, trunk
from .folders import base_of
from .load import Opened, cast, load_any, load_config
from .save import replace_folder, save

OnProgress = Callable[[str, int, int], None]

TOLERANCE = {torch.float32: 1e-6, torch.bfloat16: 2e-2, torch.float16: 2e-3}
"""Largest mean KL divergence (nats a token or an input) between adapter and merged model that counts as
equal: rounding of the stored weights, and nothing more."""

_PROBES = (
    "The quick brown fox jumps over the lazy dog.",
    "今天天气怎么样？请用一句话回答。",
    "1 + 1 = 2, and 12 * 12 = 144.",
    "def add(a, b):\n    return a + b\n",
)


@dataclass(frozen=True, slots=True)
class MergeReport:
    """What was merged and how equal the result is: ``num_compared`` tokens, or inputs of a model that gives
    scores. Logits (or scores) in nats; without a first choice where the score is a number.
    """

    source: str
    base: str
    output: str
    dtype: str
    num_layers: int
    compared: Literal["tokens", "inputs"]
    num_compared: int
    max_logit_difference: float
    mean_kl: float
    top1_agreement: float | None

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
            (say("reloaded and compared", "重新加载并比对"), self._difference()),
            (say("verdict", "结论"), say("the merged model equals the adapter", "合并后的模型与适配器一致")),
        ]

    def _difference(self) -> str:
        """In words."""
        first = ""
        if self.top1_agreement is not None:
            first = say(", same first choice {top:.1%}", "，首选一致 {top:.1%}", top=self.top1_agreement)
        numbers = {"n": self.num_compared, "d": self.max_logit_difference, "kl": self.mean_kl, "first": first}
        if self.compared == "inputs":
            return say(
                "the scores of {n:,} inputs: largest difference {d:.2g}, mean KL {kl:.2g}{first}",
                "{n:,} 个输入的分数：最大差 {d:.2g}，平均 KL {kl:.2g}{first}",
                **numbers,
            )
        return say(
            "{n:,} tokens: largest logit difference {d:.2g}, mean KL {kl:.2g}{first}",
            "{n:,} 个 token：logit 最大差 {d:.2g}，平均 KL {kl:.2g}{first}",
            **numbers,
        )


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
    base, inputs = loaded.base, _inputs(runs, loaded)
    expected = _given(loaded.model, inputs)
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
        again = load_any(str(draft), dtype=torch.float32).model
        task = heads.labels_of(again.config).task if heads.is_scoring(again) else None
        found = _given(again, inputs)
        tell(what, 3, 4)
        report = _compare(expected, found, task, run, base, output, dtype, num_layers)
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


def _must_merge(loaded: Opened) -> None:
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
    if trunk.is_scoring(merged):
        return merged
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
    if trunk.is_scoring(base):
        return
    head, embedding = base.get_output_embeddings(), base.get_input_embeddings()
    adapted = [layer for layer in (head, embedding) if hasattr(layer, "get_base_layer")]
    if not adapted or head.weight is not embedding.weight:
        return
    layer = head.get_base_layer() if head in adapted else head
    layer.weight = torch.nn.Parameter(layer.weight.detach().clone(), requires_grad=False)
    _mark_untied(base.config)


def _stored_dtype(loaded: Opened) -> torch.dtype:
    """The dtype of the base's own files; it was loaded in float32, so that the sum is exact."""
    config = load_config(base_of(Path(loaded.path) / "adapter_config.json"))
    dtype = getattr(config, "dtype", None)
    return dtype if isinstance(dtype, torch.dtype) else torch.float32


def _compare(
    expected: Sequence[Tensor],
    found: Sequence[Tensor],
    task: Task | None,
    run: str,
    base: str,
    output: str,
    dtype: torch.dtype,
    num_layers: int,
) -> MergeReport:
    """``task``: of the scores; None for logits of tokens."""
    if task is not None:
        expected, found = [torch.cat(list(expected))], [torch.cat(list(found))]
    pairs = list(zip(expected, found, strict=True))
    num = sum(map(len, expected))
    kl = sum(float(_divergence(a, b, task).sum()) for a, b in pairs) / num
    same = sum(int((_choice(a, task) == _choice(b, task)).all(-1).sum()) for a, b in pairs) / num
    report = MergeReport(
        run, base, output, str(dtype).removeprefix("torch."), num_layers,
        "tokens" if task is None else "inputs", num, max(float((a - b).abs().max()) for a, b in pairs),
        max(kl, 0.0), None if task == "number" else same,
    )  # fmt: skip
    limit = TOLERANCE.get(dtype, 2e-2)
    if not kl <= limit:
        raise RunError(
            say(
                "The merged model is not the trained one: mean KL {kl:.2g} (at most {limit:.0e} would "
                "be rounding), largest difference {d:.2g}. Nothing was kept at {output}. Use the "
                "adapter as it is; and please report this.",
                "合并后的模型与训练结果不一致：平均 KL {kl:.2g}（舍入误差至多 {limit:.0e}），最大差 "
                "{d:.2g}。未保留 {output}。请直接使用适配器，并反馈此问题。",
                kl=kl,
                limit=limit,
                d=report.max_logit_difference,
                output=output,
            )
        )
    return report


def _divergence(a: Tensor, b: Tensor, task: Task | None) -> Tensor:
    """KL(a || b) of each row ``[n]``, nats, in double precision: of the distributions that the numbers stand
    for; of a score that is a quantity, of normal distributions around it, as wide as the scores are large.
    """
    a, b = a.double(), b.double()
    if task == "number":
        return ((a - b).square() / (2 * a.square().mean().clamp(min=1e-12)))[:, 0]
    if task == "several":
        a, b = (torch.stack((x, torch.zeros_like(x)), -1) for x in (a, b))
    log_a, log_b = a.log_softmax(-1), b.log_softmax(-1)
    return (log_a.exp() * (log_a - log_b)).flatten(1).sum(1)


def _choice(given: Tensor, task: Task | None) -> Tensor:
    """What is decided by a row of numbers."""
    return given > 0 if task == "several" else given.argmax(-1, keepdim=True)


@torch.inference_mode()
def _given(model: Any, inputs: Sequence[dict[str, Tensor]]) -> list[Tensor]:
    """For each input logits ``[tokens, vocabulary]`` or scores ``[1, k]``; float32, on the CPU."""
    model.eval()
    found = (model(**{name: one.to(model.device) for name, one in each.items()}).logits for each in inputs)
    return [given.flatten(0, -2).float().cpu() for given in found]


def _inputs(runs: Sequence[str], loaded: Opened, limit: int = 16) -> list[dict[str, Tensor]]:
    """What to compare on: what the runs held out, and a few plain sentences; of images the former, and a
    blank one.
    """
    folders = [Path(run) for run in runs]
    files = [(one.parent if one.name == "final" else one) / "held_out.jsonl" for one in folders]
    rows = [
        json.loads(line)
        for held_out in (file for file in files if file.is_file())
        for line in held_out.read_text(encoding="utf-8").split("\n")[:limit]
        if line
    ]
    reader = loaded.tokenizer
    if isinstance(reader, ImageReader):
        paths = [row["image_path"] for row in rows if row.get("image_path")]
        known = [reader.pixels([path]) for path in paths if Path(path).is_file()]
        return [{"pixel_values": pixels} for pixels in (torch.zeros(1, 3, *reader.size), *known)]
    longest = min(256, getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None) or 256)
    texts = [*_PROBES, *(text for row in rows for text in _texts(row))]
    encoded = (list(reader(text)["input_ids"][:longest]) for text in texts if text)
    return [{"input_ids": torch.tensor([ids])} for ids in encoded if ids]


def _texts(row: Any) -> list[str]:
    """All that is written in a row, in whatever format."""
    if isinstance(row, dict):
        said = (value for name, value in row.items() if name not in ("role", "label", "labels"))
        return [text for value in said for text in _texts(value)]
    if isinstance(row, list):
        return [text for value in row for text in _texts(value)]
    return [row] if isinstance(row, str) else []
