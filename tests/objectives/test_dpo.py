"""The DPO family on four numbers by hand, rankings, options, and the contract."""

from __future__ import annotations

import math
from types import ModuleType
from typing import get_args

import pytest
import torch

from attune.objectives import dpo
from attune.objectives.contract import ObjectiveContract
from attune.recipe.errors import RecipeError
from attune.recipe.load import load

from .pairs import log_sigmoid, logistic, pair, ranking

C, R = 0.6, -0.4
"""The log-ratios of ``pair``; beta is 0.5 below, so the margin is 0.5."""


class TestDpo(ObjectiveContract):
    @pytest.fixture
    def objective(self) -> ModuleType:
        return dpo


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sigmoid", -log_sigmoid(0.5)),
        ("sigmoid_norm", -log_sigmoid(0.25)),
        ("hinge", 0.5),
        ("ipo", (0.5 - 1.0) ** 2),
        ("cdpo", -0.9 * log_sigmoid(0.5) - 0.1 * log_sigmoid(-0.5)),
        ("robust", (-0.9 * log_sigmoid(0.5) + 0.1 * log_sigmoid(-0.5)) / 0.8),
        (
            "exo",
            logistic(0.5) * (log_sigmoid(0.5) - math.log(0.999))
            + logistic(-0.5) * (log_sigmoid(-0.5) - math.log(0.001)),
        ),
        ("nca", -log_sigmoid(0.3) - 0.5 * log_sigmoid(-0.3) - 0.5 * log_sigmoid(0.2)),
        ("bco", -log_sigmoid(0.3) - log_sigmoid(0.2)),
        ("sppo", (C - 1) ** 2 + (R + 1) ** 2),
        ("apo_zero", 1 - logistic(0.3) + logistic(-0.2)),
        ("apo_down", logistic(0.3) + 1 - logistic(0.5)),
        ("discopop", -log_sigmoid(0.5) * (1 - logistic(10)) + math.exp(-0.5) * logistic(10)),
    ],
)
def test_four_numbers_by_hand(name: str, expected: float) -> None:
    logps, batch = pair()
    loss, metrics = dpo.loss(logps, batch, dpo.Config(loss=name, beta=0.5))
    assert float(loss) == pytest.approx(expected, abs=1e-6)
    assert float(metrics["accuracy"]) == 1.0
    assert float(metrics["chosen_logps"]) == pytest.approx(-1.5)
    assert float(metrics["rejected_logps"]) == pytest.approx(-1.6)


def test_the_table_and_the_option_name_the_same_functions() -> None:
    assert list(get_args(dpo.Config.model_fields["loss"].annotation)) == list(dpo.LOSSES)


def test_rewards_and_gradient_by_hand() -> None:
    """dL/dh_c = -beta sigma(-margin), the same for each token of the answer."""
    logps, batch = pair()
    loss, metrics = dpo.loss(logps, batch, dpo.Config(beta=0.5))
    loss.backward()
    slope = 0.5 * logistic(-0.5)
    assert logps.grad is not None
    torch.testing.assert_close(logps.grad, torch.tensor([-slope, -slope, slope, slope]))
    wanted = {"margin": 0.5, "chosen_reward": 0.3, "rejected_reward": -0.2}
    assert {name: float(metrics[name]) for name in wanted} == pytest.approx(wanted)


def test_a_ranking_counts_once_and_compares_every_two() -> None:
    """h = -0.2, -1.2, -2.0 and -1.0, -0.5: margins 1.0, 1.8, 0.8 (a third each), and -0.5."""
    logps, batch = ranking()
    loss, metrics = dpo.loss(logps, batch, dpo.Config(beta=1.0))
    first = -(log_sigmoid(1.0) + log_sigmoid(1.8) + log_sigmoid(0.8)) / 3
    assert float(loss) == pytest.approx(first - log_sigmoid(-0.5), abs=1e-6)
    assert dpo.denominator(batch) == 2
    assert float(metrics["accuracy"]) == pytest.approx(1.0)
    assert float(metrics["margin"]) == pytest.approx(3.6 / 3 - 0.5)


def test_a_tie_is_half_right() -> None:
    _, batch = pair()
    assert batch.reference is not None
    _, metrics = dpo.loss(batch.reference, batch, dpo.Config())
    assert float(metrics["accuracy"]) == 0.5


def test_the_likelihood_of_the_best_answer_is_added() -> None:
    """Means over tokens of the best answers: 0.75 in the pair; 0.2 and 1.0 in the pack of two."""
    for (logps, batch), nll in ((pair(), 0.75), (ranking(), 1.2)):
        plain, _ = dpo.loss(logps, batch, dpo.Config())
        both, _ = dpo.loss(logps, batch, dpo.Config(nll_weight=2.0))
        assert float(both - plain) == pytest.approx(2 * nll, abs=1e-6)


def test_without_a_reference_the_log_probabilities_stand_alone() -> None:
    logps, batch = pair()
    loss, _ = dpo.loss(logps, batch, dpo.Config(beta=0.5, reference="none"))
    assert float(loss) == pytest.approx(-log_sigmoid(0.5 * (-1.5 + 1.6)), abs=1e-6)


def test_label_smoothing_has_its_place() -> None:
    recipe = {"objective": {"name": "dpo", "label_smoothing": 0.2}, "model": "m", "data": "d.json"}
    with pytest.raises(RecipeError) as error:
        load(recipe)
    assert "label_smoothing has no place in loss=sigmoid. Allowed with: cdpo, robust, exo." in str(
        error.value
    )
    assert dpo.Config(loss="robust", label_smoothing=0.2).smoothing == 0.2
