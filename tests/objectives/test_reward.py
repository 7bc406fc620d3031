"""The reward objective by hand, and the contract."""

from __future__ import annotations

import math
from types import ModuleType

import pytest
import torch

from attune.data.layout import Batch, Segments, lay
from attune.objectives import reward
from attune.objectives.contract import ObjectiveContract


class TestReward(ObjectiveContract):
    @pytest.fixture
    def objective(self) -> ModuleType:
        return reward


def ranked(*margins: float, answers: int = 2) -> Batch:
    """Examples of a prompt and ranked answers of one token, with their margins."""
    branches = tuple(([5 + k], [True]) for k in range(answers))
    return lay([(row, Segments([3, 4], branches, (margin,))) for row, margin in enumerate(margins)])


def minus_log_sigma(x: float) -> float:
    return math.log1p(math.exp(-x))


NAN = math.nan


def test_two_pairs_by_hand() -> None:
    scores = torch.tensor([[2.0], [0.5], [-1.0], [0.0]], requires_grad=True)
    batch = ranked(NAN, NAN)
    loss, metrics = reward.loss(scores, batch, reward.Config(center=0.1))
    expected = minus_log_sigma(1.5) + minus_log_sigma(-1.0) + 0.1 * (2.5**2 + 1.0**2)
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    assert {name: float(value) for name, value in metrics.items()} == {
        "accuracy": 1.0, "margin": 0.5, "chosen_reward": 1.0, "rejected_reward": 0.5,
    }  # fmt: skip
    loss.backward()
    sigma = 1 / (1 + math.exp(1.5))
    assert scores.grad is not None
    assert float(scores.grad[0]) == pytest.approx(-sigma + 0.2 * 2.5, rel=1e-5)


def test_three_answers_make_three_pairs_that_count_as_one_example() -> None:
    scores = torch.tensor([[3.0], [1.0], [0.0]])
    loss, metrics = reward.loss(scores, ranked(NAN, answers=3), reward.Config(center=0.0))
    expected = (minus_log_sigma(2) + minus_log_sigma(3) + minus_log_sigma(1)) / 3
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    assert float(metrics["margin"]) == pytest.approx(2.0)
    assert reward.denominator(ranked(NAN, answers=3)) == 1


def test_a_margin_is_asked_of_the_best_and_the_worst_only() -> None:
    scores = torch.tensor([[3.0], [1.0], [0.0], [2.0], [1.0], [0.0]])
    config = reward.Config(center=0.0, margin_scale=0.5)
    loss, _ = reward.loss(scores, ranked(2.0, NAN, answers=3), config)
    first = (minus_log_sigma(2) + minus_log_sigma(3 - 1) + minus_log_sigma(1)) / 3
    second = (minus_log_sigma(1) + minus_log_sigma(2) + minus_log_sigma(1)) / 3
    assert float(loss) == pytest.approx(first + second, rel=1e-6)
    ignored, _ = reward.loss(scores, ranked(2.0, NAN, answers=3), reward.Config(center=0.0))
    assert float(ignored) < float(loss)


def test_a_tie_is_half_right() -> None:
    _, metrics = reward.loss(torch.zeros(2, 1), ranked(NAN), reward.Config())
    assert float(metrics["accuracy"]) == 0.5
