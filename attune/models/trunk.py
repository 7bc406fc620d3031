"""Which modules of a transformers model are its trunk, and which make scores of the trunk's states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

_SIDE = 64
"""Of a blank image, where the configuration has no size: convolutions take any."""


def is_scoring(base: Any) -> bool:
    """True for a transformers model whose output is scores, not tokens."""
    return type(base).__name__.endswith("Classification")


def reads_images(base: Any) -> bool:
    """True for a transformers model whose input is pixels."""
    return bool(base.main_input_name == "pixel_values")


def of(base: Any) -> Any:
    """The trunk: transformers' base model; of a model that keeps it under another name, its largest child."""
    found = base.base_model
    if found is not base or not is_scoring(base):
        return found
    return max(base.children(), key=lambda child: sum(p.numel() for p in child.parameters()))


def config(base: Any) -> Any:
    """The part of the configuration that describes the trunk, where there are several."""
    return of(base).config.get_text_config()


def blank(base: Any, num: int) -> Tensor:
    """``num`` images of the model's size with nothing on them, ``[num, 3, height, width]``."""
    import torch

    side = getattr(config(base), "image_size", None) or _SIDE
    height, width = side if isinstance(side, list | tuple) else (side, side)
    return torch.zeros(num, 3, height, width, device=base.device)


def num_layers(base: Any) -> int | None:
    """Layers of the trunk, or stages where it has them, as the configuration counts them."""
    known = config(base)
    if depths := getattr(known, "depths", None):
        return len(depths)
    found: int | None = getattr(known, "num_hidden_layers", None)
    return found


def head(base: Any) -> dict[str, nn.Module]:
    """The modules of a scoring model's head, by name: all that stands beside the trunk and has weights, and
    the trunk's pooler, where it has one.
    """
    trunk = of(base)
    found = {name: child for name, child in base.named_children() if child is not trunk}
    pooler = getattr(trunk, "pooler", None)
    if base.base_model is trunk and hasattr(pooler, "parameters"):
        found[f"{base.base_model_prefix}.pooler"] = pooler
    return {name: module for name, module in found.items() if any(True for _ in module.parameters())}


def head_layers(base: Any) -> set[Any]:
    """The layers that make what the model gives: the one over the vocabulary, or all of a scoring head."""
    if not is_scoring(base):
        return {base.get_output_embeddings()} - {None}
    return {layer for part in head(base).values() for layer in part.modules()}


def for_peft(base: Any, settings: Any) -> None:
    """Tells PEFT that the model scores: its head learns whole, is saved with the adapter, and is no target of
    it. (PEFT has a task of its own for texts only.)
    """
    settings.task_type = None if reads_images(base) else "SEQ_CLS"
    names = [name.rpartition(".")[2] for name in head(base)]
    if hasattr(settings, "modules_to_save"):
        settings.modules_to_save = sorted({*(settings.modules_to_save or ()), *names})
