"""SimPO on four numbers by hand, and the contract."""

from __future__ import annotations

from types import ModuleType

import pytest

from attune.objectives import simpo
from attune.objectives.contract import ObjectiveContract

from .pairs import log_sigmoid, pair, ranking


class TestSimpo(ObjectiveContract):
    @pytest.fixture
    def objective(self) -> ModuleType:
        return simpo


def test_four_numbers_by_hand() -> None:
    """Means -0.75 and -0.8: with beta 2 the rewards are -1.5 and -1.6, the margin 0.1 less gamma."""
    logps, batch = pair()
    loss, metrics = simpo.loss(logps, batch, simpo.Config(beta=2.0, gamma=0.5))
    assert float(loss) == pytest.approx(-log_sigmoid(0.1 - 0.5), abs=1e-6)
    wanted = {"accuracy": 1.0, "margin": 0.1, "chosen_reward": -1.5, "rejected_reward": -1.6}
    assert {name: float(metrics[name]) for name in wanted} == pytest.approx(wanted)


def test_length_does_not_weigh() -> None:
    """Means -0.2, -0.6, -2.0 and -1.0, -0.5."""
    logps, batch = ranking()
    loss, _ = simpo.loss(logps, batch, simpo.Config(beta=1.0, gamma=0.0, nll_weight=1.0))
    first = -(log_sigmoid(0.4) + log_sigmoid(1.8) + log_sigmoid(1.4)) / 3
    assert float(loss) == pytest.approx(first - log_sigmoid(-0.5) + 1.2, abs=1e-6)
