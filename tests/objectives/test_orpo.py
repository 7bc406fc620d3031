"""ORPO on four numbers by hand, and the contract."""

from __future__ import annotations

import math
from types import ModuleType

import pytest
import torch

from attune.objectives import orpo
from attune.objectives.contract import ObjectiveContract

from .pairs import log_sigmoid, pair


class TestOrpo(ObjectiveContract):
    @pytest.fixture
    def objective(self) -> ModuleType:
        return orpo


def odds(mean: float) -> float:
    return math.exp(mean) / (1 - math.exp(mean))


def test_four_numbers_by_hand() -> None:
    """Means -0.75 (which is the likelihood term too) and -0.8."""
    logps, batch = pair()
    loss, metrics = orpo.loss(logps, batch, orpo.Config(beta=0.25))
    ratio = math.log(odds(-0.75) / odds(-0.8))
    assert float(loss) == pytest.approx(0.75 - 0.25 * log_sigmoid(ratio), abs=1e-6)
    assert float(metrics["accuracy"]) == 1.0


def test_a_certain_answer_has_finite_odds() -> None:
    _, batch = pair()
    logps = torch.tensor([0.0, 0.0, -5.0, -5.0], requires_grad=True)
    loss, _ = orpo.loss(logps, batch, orpo.Config())
    loss.backward()
    assert logps.grad is not None
    assert torch.isfinite(loss)
    assert torch.isfinite(logps.grad).all()
