"""Adapters of ours beside a base: switched off and on, folded, and the base given back as it was."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from attune.adapters.contract import base_model, batch, logits
from attune.models.adapted import Adapted, Part, inner, is_adapter
from attune.models.policy import Policy


class Twice(Part):
    """Doubles what a layer gives."""

    def forward(self, output: Tensor) -> Tensor:
        return output * 2

    def fold(self, layer: nn.Module) -> None:
        layer.weight.mul_(2)  # type: ignore[operator,union-attr]


def doubled() -> Adapted:
    return Adapted(base_model(), {"model.layers.0.mlp.down_proj": Twice()}, {"name": "twice"})


def test_off_and_on_again() -> None:
    model, plain = doubled(), logits(base_model())
    learnt = logits(model)
    assert (learnt - plain).abs().max() > 1e-3
    with model.disable_adapter():
        assert torch.equal(logits(model), plain)
        with model.disable_adapter():
            assert torch.equal(logits(model), plain)
        assert torch.equal(logits(model), plain)
    assert torch.equal(logits(model), learnt)
    with pytest.raises(KeyError), model.disable_adapter():
        raise KeyError
    assert torch.equal(logits(model), learnt)


def test_folded_it_leaves_an_ordinary_model() -> None:
    model = doubled()
    expected = logits(model)
    base = model.merge_and_unload()
    assert not is_adapter(base)
    assert torch.equal(logits(base), expected)
    assert {type(module).__name__ for module in base.modules()} == {
        type(module).__name__ for module in base_model().modules()
    }


def test_what_is_an_adapter() -> None:
    model = doubled()
    assert is_adapter(model)
    assert inner(model) is model.base
    assert inner(model.base) is model.base
    assert (model.config, model.device) == (model.base.config, model.base.device)


def test_a_part_that_drops_numbers_at_random_is_probed_without() -> None:
    """Its own training mode, too, is put aside for the probe and given back."""

    class Dropping(Twice):
        def forward(self, output: Tensor) -> Tensor:
            return torch.nn.functional.dropout(output * 2, 0.5, self.training)

    model = Adapted(base_model(), {"model.layers.0.mlp": Dropping()}, {"name": "dropping"}).train()
    policy = Policy(model)
    assert policy.packs, policy.reason
    assert model.parts[0].training
    assert not torch.equal(policy(batch()), policy(batch()))
