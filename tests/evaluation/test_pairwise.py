"""Rewards of ranked answers, by hand."""

from __future__ import annotations

import math

import pytest

from attune.evaluation import pairwise


def test_two_pairs_and_a_ranking_by_hand() -> None:
    ranked = pairwise.of_examples([[2.0, 1.0], [0.0, 3.0], [3.0, 1.0, 2.0]], [[9, 4], [5, 8], [1, 2, 2]])
    assert ranked.gap.tolist() == [1.0, -3.0, 2.0, 1.0, -1.0]
    columns = ranked.columns()
    assert columns["pair_accuracy"].tolist() == [1.0, 0.0, pytest.approx(2 / 3)]
    assert columns["reward_margin"].tolist() == [1.0, -3.0, pytest.approx(2 / 3)]
    assert columns["longer_chosen"].tolist() == [1.0, 0.0, pytest.approx(0.5 / 3)]
    assert columns["longer_preferred"].tolist() == [1.0, 1.0, pytest.approx(0.5 / 3)]
    assert ranked.of_row(1) == {"pair_accuracy": 0.0, "reward_margin": -3.0}
    found = ranked.intervals()
    assert found["pair_accuracy"].n == 3
    assert found["pair_accuracy"].mean == pytest.approx((1 + 2 / 3) / 3)
    assert set(found) == set(pairwise.METRICS)


def test_calibration_compares_the_probability_of_the_preference_with_how_often_it_is_right() -> None:
    gap = math.log(3)  # sigma = 0.75
    right = pairwise.of_examples([[gap, 0.0]] * 3 + [[0.0, gap]], [[1, 1]] * 4)
    assert right.intervals()["pair_calibration"].mean == pytest.approx(0.0, abs=1e-9)
    assert right.reliability() == [(pytest.approx(0.75), 0.75, 4)]


def test_a_tie_is_half_right() -> None:
    assert pairwise.of_examples([[1.0, 1.0]], [[3, 2]]).intervals()["pair_accuracy"].mean == 0.5


def test_differences_are_over_the_same_examples() -> None:
    a = pairwise.of_examples([[2.0, 1.0], [3.0, 1.0]], [[1, 2], [1, 2]])
    b = pairwise.of_examples([[0.0, 1.0], [3.0, 1.0]], [[1, 2], [1, 2]])
    assert pairwise.differences(a, b)["pair_accuracy"].mean == 0.5
    assert pairwise.differences(a, a)["reward_margin"].high == 0.0
