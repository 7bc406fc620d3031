"""One copy of the weights that two models have in common: a base under two adapters, say.

A reward model that was trained with an adapter over the policy's base is loaded as a model of its own and
then lets go of all that the policy holds already: what is left of it is its adapter and its head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .adapted import inner
from .quantize import is_coded, num_bytes, scales


def share(model: Any, owner: Any) -> int:
    """Lets ``model`` use the weights of ``owner`` that do not learn wherever its own are equal to them, bit
    for bit: no output changes. Gives the bytes that ``model`` keeps for itself.
    """
    held = {
        _name(name): weight for name, weight in inner(owner).named_parameters() if not weight.requires_grad
    }
    for prefix, module in inner(model).named_modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            twin = held.get(_name(f"{prefix}.{name}"))
            if twin is not None and _is_equal(weight, twin):
                setattr(module, name, twin)
    shared = {id(weight) for weight in held.values()}
    return sum(num_bytes(weight) for weight in model.parameters() if id(weight) not in shared)


def _name(name: str) -> str:
    """As the base has it: an adapter of PEFT's keeps the layer that it replaced one step below."""
    return name.replace(".base_layer", "")


def _is_equal(one: Tensor, other: Tensor) -> bool:
    kind = (one.shape, one.dtype, one.device, is_coded(one))
    if kind != (other.shape, other.dtype, other.device, is_coded(other)) or not torch.equal(one, other):
        return False
    return not is_coded(one) or all(map(torch.equal, scales(one), scales(other)))
