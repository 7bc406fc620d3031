"""Features: each layer's own states, packed or padded, computed once and found again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from attune.adapters import bottleneck, lora, prefix, prompt
from attune.adapters.contract import learnt
from attune.data.cache import Store
from attune.data.layout import Segments
from attune.models.features import features
from attune.models.policy import POOLINGS, Policy

from .test_heads import build

ROWS = [[5, 6, 7, 8], [9, 10], [11, 12, 13, 14, 15, 16], [9, 10]]
STORE = Store.build([Segments(row, (), (1.0,)) for row in ROWS])
LAYERS = [0, 1, 2]


def found(policy: Policy, place: Path, told: list[tuple[int, int]] | None = None) -> Any:
    calls = [] if told is None else told
    by_layer = features(policy, STORE, LAYERS, POOLINGS, 8, place, lambda *n: calls.append(n))
    return np.stack(by_layer, 1)


@torch.no_grad()
def plain(model: Any) -> Any:
    """By transformers alone: a row at a time."""
    rows = []
    for row in ROWS:
        states = model.base_model(torch.tensor([row]), output_hidden_states=True).hidden_states
        rows.append(
            torch.stack(
                [torch.stack([states[at][0, -1], states[at][0].mean(0), states[at][0, 0]]) for at in LAYERS]
            )
        )
    return torch.stack(rows).numpy()


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_they_are_the_states_of_the_layers(family: str, tmp_path: Path) -> None:
    policy = Policy(build(family)).eval()
    assert policy.packs == (family != "bert")
    expected = plain(build(family))
    np.testing.assert_allclose(found(policy, tmp_path), expected, atol=2e-5)


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("module", [lora, prompt, prefix, bottleneck], ids=lambda module: module.__name__)
def test_an_adapter_is_at_work_in_them(module: Any, packing: bool, tmp_path: Path) -> None:
    """Virtual tokens are seen, and have no vector themselves."""
    options = {"num_virtual_tokens": 4} if "num_virtual_tokens" in module.Config.model_fields else {}
    torch.manual_seed(1)
    model = module.attach(build("llama"), module.Config(**options)).eval()
    with torch.no_grad():
        for weight in learnt(model).values():
            weight.add_(0.03)
    rows = [model(torch.tensor([row]), output_hidden_states=True).hidden_states for row in ROWS]
    means = [
        [states[at][0, -len(row) :].mean(0) for at in LAYERS] for states, row in zip(rows, ROWS, strict=True)
    ]
    expected = torch.stack([torch.stack(layers) for layers in means]).detach().numpy()
    policy = Policy(model, packing=packing).eval()
    assert policy.packs == packing, policy.reason
    got = found(policy, tmp_path)[:, :, POOLINGS.index("mean")]
    np.testing.assert_allclose(got, expected, atol=5e-5)
    assert np.abs(got - plain(build("llama"))[:, :, 1])[:, 1:].max() > 1e-2


def test_each_input_is_read_once_and_never_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = Policy(build("llama")).eval()
    told: list[tuple[int, int]] = []
    first = found(policy, tmp_path, told)
    assert told[-1] == (3, 3), "equal inputs are one"
    assert len(list(tmp_path.iterdir())) == 3

    def forbidden(*_: Any) -> Any:
        raise AssertionError("the model is asked again")

    monkeypatch.setattr(policy, "token_states", forbidden)
    np.testing.assert_array_equal(found(policy, tmp_path), first)
