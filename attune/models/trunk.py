"""Which modules of a transformers model are its trunk, and which make scores of the trunk's states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def is_scoring(base: Any) -> bool:
    """True for a transformers model whose output is scores, not tokens."""
    return type(base).__name__.endswith("Classification")


def head(base: Any) -> dict[str, nn.Module]:
    """The modules of a scoring model's head, by name: all that stands beside the trunk and has weights, and
    the trunk's pooler, where it has one.
    """
    trunk = base.base_model
    found = {name: child for name, child in base.named_children() if child is not trunk}
    pooler = getattr(trunk, "pooler", None)
    if hasattr(pooler, "parameters"):
        found[f"{base.base_model_prefix}.pooler"] = pooler
    return {name: module for name, module in found.items() if any(True for _ in module.parameters())}


def head_layers(base: Any) -> set[Any]:
    """The layers that make what the model gives: the one over the vocabulary, or all of a scoring head."""
    if not is_scoring(base):
        return {base.get_output_embeddings()} - {None}
    return {layer for part in head(base).values() for layer in part.modules()}


def for_peft(base: Any, settings: Any) -> None:
    """Tells PEFT that the model scores: its head learns whole, is saved with the adapter, and is no target of
    it.
    """
    settings.task_type = "SEQ_CLS"
    names = [name.rpartition(".")[2] for name in head(base)]
    if hasattr(settings, "modules_to_save"):
        settings.modules_to_save = sorted({*(settings.modules_to_save or ()), *names})
