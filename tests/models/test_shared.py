"""Two models hold one copy of what they have in common, and give what they gave."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from attune.adapters import bitfit, lora
from attune.models import shared
from attune.models.adapted import inner

from .tiny import build

IDS = torch.tensor([[5, 6, 7, 8]])


def adapted(kind: Any, **options: Any) -> Any:
    return kind.attach(build("llama"), kind.Config(**options)).eval()


def stir(model: Any) -> None:
    """An adapter that has learnt something."""
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data.normal_(0.0, 0.3)


@pytest.mark.parametrize(
    ("kind", "options"), [(lora, {"rank": 3, "target_modules": "all-linear"}), (bitfit, {})]
)
def test_what_is_equal_is_held_once(kind: Any, options: dict[str, Any]) -> None:
    owner = adapted(lora, rank=2, target_modules=["q_proj"])
    model = adapted(kind, **options)
    stir(owner)
    stir(model)
    with torch.no_grad():
        before = model(IDS).logits
        theirs = owner(IDS).logits
        own = shared.share(model, owner)
        assert torch.equal(model(IDS).logits, before)
        assert torch.equal(owner(IDS).logits, theirs)
    assert own == 4 * sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    held = {weight.data_ptr() for weight in inner(owner).parameters()}
    assert {w.data_ptr() for w in inner(model).parameters() if not w.requires_grad} <= held


def test_what_learns_or_differs_is_not_shared() -> None:
    """Else the one would move with the other."""
    owner, model = adapted(lora, rank=2), adapted(lora, rank=2)
    inner(owner).get_input_embeddings().weight.requires_grad_(True)
    inner(model).model.norm.weight.data[0] += 1
    shared.share(model, owner)
    assert inner(model).get_input_embeddings().weight is not inner(owner).get_input_embeddings().weight
    assert inner(model).model.norm.weight is not inner(owner).model.norm.weight
    assert inner(model).model.norm.weight[0] == inner(owner).model.norm.weight[0] + 1
    assert inner(model).get_output_embeddings().weight is inner(owner).get_output_embeddings().weight


def test_codes_of_four_bits_are_shared_with_their_scales() -> None:
    pytest.importorskip("bitsandbytes", reason="needs bitsandbytes: pip install attune[qlora]")
    from attune.models import quantize

    owner, model, other = (quantize.quantize(build("llama"), torch.float32) for _ in range(3))
    for one in (owner, model, other):
        one.requires_grad_(False)
    layer = other.model.layers[0].mlp.up_proj.weight
    layer.quant_state.offset = layer.quant_state.offset + 1
    assert shared.share(model, owner) == 0
    shared.share(other, owner)
    assert other.model.layers[0].mlp.up_proj.weight is layer
    assert other.model.layers[1].mlp.up_proj.weight is owner.model.layers[1].mlp.up_proj.weight
