"""KTO on four numbers by hand, its balance of verdicts, and the contract."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import pytest
import torch

from attune.data.cache import Store
from attune.data.layout import Batch, Segments, lay
from attune.objectives import kto
from attune.objectives.contract import ObjectiveContract

from .pairs import logistic

ANSWER = (([5, 6], [True, True]),)


class TestKto(ObjectiveContract):
    @pytest.fixture
    def objective(self) -> ModuleType:
        return kto


def two() -> tuple[torch.Tensor, Batch]:
    """A good answer with h = 0.6 and weight 1, a bad one with h = -0.4 and weight 2."""
    batch = lay([(0, Segments([1], ANSWER, (1.0, 1.0))), (1, Segments([2], ANSWER, (0.0, 2.0)))])
    logps = torch.tensor([-1.0, -0.5, -0.7, -0.9], requires_grad=True)
    return logps, replace(batch, reference=torch.tensor([-1.4, -0.7, -0.5, -0.7]))


def test_four_numbers_by_hand() -> None:
    """z0 = 0.4 / 2."""
    logps, batch = two()
    batch = replace(batch, shared=torch.tensor([0.4, 2.0]))
    loss, metrics = kto.loss(logps, batch, kto.Config(beta=0.5))
    assert float(loss) == pytest.approx(1 - logistic(0.5 * 0.4) + 2 * (1 - logistic(0.5 * 0.6)), abs=1e-6)
    assert {name: float(value) for name, value in metrics.items()} == pytest.approx(
        {"accuracy": 2.0, "margin": 0.2 + 0.3, "kl": 2 * 0.2}
    )


def test_a_divergence_is_never_negative() -> None:
    logps, batch = two()
    batch = replace(batch, shared=torch.tensor([-0.4, 2.0]))
    loss, _ = kto.loss(logps, batch, kto.Config(beta=0.5))
    without, _ = kto.loss(logps, replace(batch, shared=None), kto.Config(beta=0.5, loss="apo_zero"))
    assert float(loss) == float(without)


def test_the_first_pass_adds_up_and_holds_no_graph() -> None:
    logps, batch = two()
    found = kto.first_pass(logps, batch, kto.Config())
    assert found.tolist() == pytest.approx([0.2, 2.0])
    assert not found.requires_grad


def verdicts(*values: float) -> Store:
    return Store.build(Segments([row], ANSWER, (value,)) for row, value in enumerate(values))


def test_the_rarer_verdict_weighs_more() -> None:
    arranged = kto.arrange(verdicts(1, 1, 1, 0), kto.Config())
    assert arranged.values.tolist() == [[1, 1], [1, 1], [1, 1], [0, 3]]
    asked = kto.arrange(verdicts(1, 1, 0), kto.Config(good_weight=1.5, bad_weight=0.5))
    assert asked.values[:, 1].tolist() == [1.5, 1.5, 0.5]
    assert kto.arrange(verdicts(1, 1), kto.Config()).values[:, 1].tolist() == [1, 1]
    assert len(kto.arrange(Store.build(()), kto.Config())) == 0
