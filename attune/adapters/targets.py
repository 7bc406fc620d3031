"""Which layers of a model a method works on, found by their names and their place, and errors that list them."""

# ruff: noqa: E501 (a help text holds both languages in one line)
from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from ..models import trunk
from ..recipe import plugs
from ..recipe.errors import RecipeError
from ..recipe.messages import join, say

_MATRICES = frozenset({"Linear", "Conv1D", "Linear4bit"})
_ATTENTION = ("self_attn", "attn", "attention", "self_attention", "self_attention_layer")
_FEED_FORWARD = ("mlp", "feed_forward", "ffn", "block_sparse_moe", "moe", "fc2")


def attach_with_peft(model: Any, settings: Any, wanted: str | list[str] | None = None) -> Any:
    """PEFT's model of these settings, without PEFT's notices, which are for its developers. ``wanted``: the
    layers that were asked for, where the method works on layers.

    Raises RecipeError where its ``target_modules`` match nothing, and with PEFT's own words where it refuses
    the model.
    """
    from peft import get_peft_model

    if wanted is not None:
        check(model, wanted)
        if wanted == "all-linear" and trunk.reads_images(model):
            # PEFT's own all-linear knows no convolutions, and takes heads of images for layers.
            settings.target_modules = list(matching(model, wanted))
    if trunk.is_scoring(model):
        trunk.for_peft(model, settings)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return get_peft_model(model, settings)
    except (ValueError, TypeError, AttributeError, KeyError, RuntimeError, ImportError) as error:
        if wanted is not None and "arget module" in str(error):
            raise RecipeError(_no_layer(model, wanted)) from None
        raise RecipeError(
            say(
                "PEFT cannot put {kind} on this model ({model}): {reason}",
                "PEFT 无法将 {kind} 用于该模型（{model}）：{reason}",
                kind=settings.peft_type.value,
                model=model.config.model_type,
                reason=str(error).strip() or type(error).__name__,
            )
        ) from None


def check(model: Any, wanted: str | list[str]) -> None:
    """Every name must match a layer: PEFT is content when one of several does."""
    if wanted == "all-linear":
        return
    names = [name for name, _ in model.named_modules() if name]
    if isinstance(wanted, str):
        if not any(pattern(model, wanted).fullmatch(name) for name in names):
            raise RecipeError(_no_layer(model, wanted))
        return
    missing = [end for end in wanted if not any(f".{name}".endswith(f".{end}") for name in names)]
    if len(missing) == len(wanted):
        raise RecipeError(_no_layer(model, wanted))
    if missing:
        raise RecipeError(
            [plugs.unknown("adapter.target_modules", name, adaptable(model)) for name in missing]
        )


def check_modules(model: Any, wanted: list[str], field: str) -> None:
    """Every ending must be that of a module. Raises RecipeError with the nearest."""
    names = [name for name, _ in model.named_modules() if name]
    ends = sorted({name.rpartition(".")[2] for name in names} - {str(n) for n in range(1000)})
    missing = [end for end in wanted if not any(f".{name}".endswith(f".{end}") for name in names)]
    if missing:
        raise RecipeError([plugs.unknown(field, name, ends) for name in missing])


def pattern(model: Any, wanted: str, field: str = "adapter.target_modules") -> re.Pattern[str]:
    """The regular expression of a field. Raises RecipeError where it is none."""
    try:
        return re.compile(wanted)
    except re.error as error:
        raise RecipeError(
            say(
                "{field}={got!r} is no regular expression ({reason}). "
                "Give one, a list of layers, or all-linear. Layers: {names}.",
                "{field}={got!r} 不是正则表达式（{reason}）。请给出正则、层的列表或 all-linear。层："
                "{names}。",
                field=field,
                got=wanted,
                reason=error,
                names=_grouped(model),
            )
        ) from None


def check_rank(model: Any, wanted: str | list[str], rank: int, field: str = "adapter.rank") -> None:
    """Raises RecipeError for a rank above the smaller side of every matrix that ``wanted`` means: such a
    correction is larger than the matrices, and can do no more than they. (Where it is above that of some, as
    of the keys' in grouped attention, it wastes a little and is let through.)
    """
    check(model, wanted)
    fits = _meaning(model, wanted)
    sides = [min(_size(layer)) for name, layer in matrices(model) if fits(name)]
    if sides and rank > max(sides):
        raise RecipeError(
            say(
                "{field}={rank} is above the size of every matrix that it would correct (their smaller sides are "
                "{n} at most). Give at most {n}, or use adapter=full, which trains the matrices themselves.",
                "{field}={rank} 超过所有目标矩阵的大小（较短边最多为 {n}）。请给出不超过 {n} 的值，或用 "
                "adapter=full 直接训练这些矩阵。",
                field=field,
                rank=rank,
                n=max(sides),
            )
        )


def _size(layer: Any) -> tuple[int, int]:
    """Outputs and inputs, of a matrix in 4 bits too, whose weight is a row of codes."""
    if type(layer).__name__ == "Linear4bit":
        return layer.out_features, layer.in_features
    return layer.weight.shape[0], layer.weight[0].numel()


def _no_layer(model: Any, wanted: str | list[str]) -> str:
    return say(
        "adapter.target_modules={got!r} matches no layer of this model. Layers that can be adapted: "
        "{names}; or all-linear.",
        "adapter.target_modules={got!r} 与该模型的任何层都不匹配。可用的层：{names}；或 all-linear。",
        got=wanted,
        names=_grouped(model),
    )


def _grouped(model: Any) -> str:
    """The endings of ``adaptable`` by the module that holds them: ``mlp (down_proj, …), …, lm_head``."""
    groups: dict[str, set[str]] = {}
    for name, _ in matrices(model):
        *parents, own = name.split(".")
        holder = next((part for part in reversed(parents) if not part.isdecimal()), "")
        groups.setdefault(holder, set()).add(own)
    alone = sorted(groups.pop("", ()))
    return join([*(f"{holder} ({join(sorted(ends))})" for holder, ends in sorted(groups.items())), *alone])


def adaptable(model: Any) -> list[str]:
    """Endings of the names of layers that hold one matrix, each once, sorted."""
    return sorted({name.rpartition(".")[2] for name, _ in matrices(model)})


def matrices(model: Any) -> Iterator[tuple[str, Any]]:
    """Name and layer of everything that holds one matrix, the head among them; of a trunk without any
    (ResNet), its convolutions that mix channels.
    """
    found = [(name, layer) for name, layer in model.named_modules() if type(layer).__name__ in _MATRICES]
    if trunk.head_layers(model).issuperset(layer for _, layer in found):
        found += [(name, layer) for name, layer in model.named_modules() if _mixes_channels(layer)]
    yield from found


def _mixes_channels(layer: Any) -> bool:
    return type(layer).__name__ == "Conv2d" and layer.groups == 1


def matching(model: Any, wanted: str | list[str]) -> dict[str, Any]:
    """The layers with one matrix that ``wanted`` means, as PEFT reads it; ``all-linear``: all but the head.

    Raises RecipeError where a name matches nothing.
    """
    check(model, wanted)
    fits = _meaning(model, wanted)
    found = {name: layer for name, layer in matrices(model) if fits(name)}
    if not found:
        raise RecipeError(_no_layer(model, wanted))
    return found


def _meaning(model: Any, wanted: str | list[str]) -> Callable[[str], object]:
    """Whether the layer of a name is meant."""
    if wanted == "all-linear":
        kept = trunk.head_layers(model)
        names = {name for name, layer in model.named_modules() if layer in kept}
        return lambda name: name not in names
    if isinstance(wanted, str):
        return pattern(model, wanted).fullmatch
    return lambda name: any(f".{name}".endswith(f".{end}") for end in wanted)


def stack(model: Any) -> tuple[str, Any]:
    """Name and modules of the decoder's layers. Raises RecipeError where the model has no such stack."""
    num_layers = trunk.num_layers(model)
    for name, module in model.named_modules():
        if type(module).__name__ == "ModuleList" and len(module) == num_layers:
            return name, module
    raise RecipeError(
        say(
            "No stack of {n} layers was found in this model ({kind}). Use a method that names its layers, "
            "such as adapter=lora.",
            "在该模型（{kind}）中找不到 {n} 层的结构。请改用按名称指定层的方法，如 adapter=lora。",
            n=num_layers or "?",
            kind=model.config.model_type,
        )
    )


def sublayers(model: Any, kind: str) -> list[str]:
    """Full names of the attention (``kind`` "attention") or feed-forward modules, one a layer where it has
    one.

    Raises RecipeError where no layer has any, with the parts that there are.
    """
    known = _ATTENTION if kind == "attention" else _FEED_FORWARD
    name, layers = stack(model)
    found = []
    for place, layer in enumerate(layers):
        children = dict(layer.named_children())
        found += [f"{name}.{place}.{child}" for child in known if child in children][:1]
    if not found:
        raise RecipeError(
            say(
                "No {kind} module was found in the layers of this model; their parts are: {names}. Use a "
                "method that names its layers, such as adapter=lora.",
                "在该模型的层中找不到 {kind} 模块，层的组成为：{names}。请改用按名称指定层的方法，如 "
                "adapter=lora。",
                kind=kind,
                names=join(dict(layers[0].named_children())),
            )
        )
    return found
