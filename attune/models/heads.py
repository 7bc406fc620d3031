"""Heads that score: what stands beside the trunk of a model that gives numbers instead of tokens.

A classifier or a reward model is an ordinary transformers model of the kind ``…ForSequenceClassification``: a
decoder is read at its last token, an encoder as its authors have it. The classes live in the model's
configuration (``id2label``, ``problem_type``); beside an adapter, which has none, in ``head.json``.

A head always learns, whole and in float32: a fresh one means nothing before it does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..data.labels import Labels, Task
from ..recipe.errors import ModelError
from ..recipe.messages import say
from . import trunk
from .adapted import inner
from .inputs import reads_images

REWARD = Labels("number", ("reward",))
"""What the single score of a reward model is."""

_PROBLEMS: dict[Task, str] = {
    "classes": "single_label_classification",
    "several": "multi_label_classification",
    "number": "regression",
}
_FILE = "head.json"
_KEPT = ("problem_type", "pad_token_id", "sep_token_id")


def gives_scores(config: Any) -> bool:
    """True for the configuration of a model that was saved as a classifier or a reward model."""
    names = getattr(config, "architectures", None) or [""]
    return str(names[0]).endswith("Classification") or getattr(config, "problem_type", None) is not None


def auto_class(config: Any, scores: bool) -> Any:
    """transformers' class for a model of this configuration, with a head that scores or one that speaks."""
    import transformers
    from transformers.models.auto import modeling_auto as known

    if not scores:
        return transformers.AutoModelForCausalLM
    if config.model_type in known.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES:
        return transformers.AutoModelForSequenceClassification
    if reads_images(config):
        return transformers.AutoModelForImageClassification
    raise ModelError(
        say(
            "transformers has no classifier of the architecture {kind}. Use a model of another one, such as "
            "Qwen3, Llama or BERT for texts, ViT or ConvNeXt for images.",
            "transformers 没有 {kind} 架构的分类模型。请换用其他架构的模型，文本如 Qwen3、Llama 或 BERT，"
            "图片如 ViT 或 ConvNeXt。",
            kind=config.model_type,
        )
    )


def is_scoring(model: Any) -> bool:
    """True for a model whose output is scores."""
    return trunk.is_scoring(inner(model))


def describe(config: Any, labels: Labels, pad: int | None = None, sep: int | None = None) -> None:
    """Writes into ``config`` what the scores mean, and the tokens that transformers' own code needs: by
    ``pad`` it finds the last token of a row, by ``sep`` ours finds the second text of a pair. Images have
    none of these.
    """
    config.architectures = config.architectures or []  # transformers cannot choose among several without
    config.id2label = dict(enumerate(labels.names))
    config.label2id = {name: place for place, name in enumerate(labels.names)}
    config.problem_type = _PROBLEMS[labels.task]
    if not reads_images(config):
        config.get_text_config().pad_token_id = config.pad_token_id = pad
        config.sep_token_id = sep


def labels_of(config: Any) -> Labels:
    """The table that ``describe`` wrote, or that another tool's model brings (counts are not known)."""
    names = tuple(name for _, name in sorted((int(place), name) for place, name in config.id2label.items()))
    return _table(names, getattr(config, "problem_type", None))


def _table(names: tuple[str, ...], problem: str | None) -> Labels:
    tasks: dict[str | None, Task] = {name: task for task, name in _PROBLEMS.items()}
    return Labels(tasks.get(problem, "number" if len(names) == 1 else "classes"), names)


def padding(tokenizer: Any, ends: Iterable[int]) -> int:
    """A token that no example ends with, the tokenizer's own if that is one: transformers takes
    for the last token of a row the last one that is not padding.
    """
    taken = set(ends)
    special = [
        tokenizer.pad_token_id,
        tokenizer.unk_token_id,
        tokenizer.bos_token_id,
        *tokenizer.all_special_ids,
    ]
    candidates = [*(token for token in special if token is not None), *range(len(tokenizer))]
    found: int = next((token for token in candidates if token not in taken), candidates[0])
    return found


def parts(model: Any) -> dict[str, nn.Module]:
    """The modules of the head by name, of a model that may carry an adapter."""
    return trunk.head(inner(model))


def last_token_layer(base: Any) -> nn.Module | None:
    """The layer that makes scores of a decoder's state at the last token; None where the head is made
    otherwise.
    """
    found = parts(base)
    return found["score"] if list(found) == ["score"] else None


def of_head(model: Any, name: str) -> bool:
    """Whether a parameter or a module of the transformers model belongs to its head."""
    return any(f"{name}.".startswith(f"{part}.") for part in parts(model))


def is_other(before: Any, now: Any) -> bool:
    """Whether a model's files hold a head, and that for other classes than ``now`` describes."""
    if not gives_scores(before):
        return False
    then, wanted = labels_of(before), labels_of(now)
    return (len(then.names) != 1 and then.names != wanted.names) or len(then.names) != len(wanted.names)


def complete(model: Any, missing: Iterable[str], seed: int, *, is_other: bool) -> set[str]:
    """Draws what the files lacked of the head, and all of it (but the pooler) where theirs was another one.
    The names of what they lacked and now is there.
    """
    lacked = {name for name in missing if of_head(model, name)}
    beside = {name for name, _ in model.named_parameters() if of_head(model, name) and ".pooler." not in name}
    draw(model, lacked | (beside if is_other else set()), seed)
    return lacked


def draw(model: Any, missing: Iterable[str], seed: int) -> None:
    """Gives the parameters ``missing`` of the head their start: matrices from a normal distribution of the
    model's width, the rest as their layers make it. The draws depend on ``seed`` alone.
    """
    wanted = set(missing)
    std = getattr(model.config.get_text_config(), "initializer_range", None) or 0.02
    generator = torch.Generator().manual_seed(seed)
    for prefix, layer in model.named_modules():
        names = [name for name, _ in layer.named_parameters(recurse=False) if f"{prefix}.{name}" in wanted]
        if not names:
            continue
        if isinstance(layer, nn.LayerNorm):
            layer.reset_parameters()
        for name in names:
            weight = getattr(layer, name)
            with torch.no_grad():
                if weight.ndim > 1:
                    fresh = torch.randn(weight.shape, generator=generator) * std
                    weight.copy_(fresh)
                elif name == "bias":
                    weight.zero_()


def learn(model: Any) -> None:
    """Lets the head learn, in float32, whatever else does; the states of the trunk come to it so."""
    from peft.utils import ModulesToSaveWrapper

    for part in parts(model).values():
        module: Any = part
        if isinstance(module, ModulesToSaveWrapper):
            module = module.modules_to_save[module.active_adapters[0]]
        module.float().requires_grad_(True)
        module.register_forward_pre_hook(_in_its_precision)


def _in_its_precision(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    dtype = next(module.parameters()).dtype
    return tuple(
        given.to(dtype) if isinstance(given, Tensor) and given.is_floating_point() else given
        for given in inputs
    )


def note(folder: Path, config: Any) -> None:
    """Writes beside an adapter what its head's scores mean."""
    known = {"id2label": config.id2label, **{name: getattr(config, name, None) for name in _KEPT}}
    text = json.dumps(known, ensure_ascii=False, indent=1)
    (folder / _FILE).write_text(text + "\n", encoding="utf-8")


def is_noted(folder: str | Path) -> bool:
    """True for an adapter of a model that gives scores."""
    return (Path(folder) / _FILE).is_file()


def noted(folder: str | Path) -> Labels:
    """The table that ``note`` kept."""
    known = _read(folder)
    names = tuple(name for _, name in sorted((int(place), name) for place, name in known["id2label"].items()))
    return _table(names, known["problem_type"])


def _read(folder: str | Path) -> dict[str, Any]:
    known = json.loads((Path(folder) / _FILE).read_text(encoding="utf-8"))
    assert isinstance(known, dict)
    return known


def from_note(folder: str | Path, config: Any) -> None:
    """Writes into the base's ``config`` what ``note`` kept."""
    known = _read(folder)
    config.id2label = {int(place): name for place, name in known["id2label"].items()}
    config.label2id = {name: place for place, name in config.id2label.items()}
    for name in _KEPT:
        setattr(config, name, known[name])
    if not reads_images(config):
        config.get_text_config().pad_token_id = config.pad_token_id
