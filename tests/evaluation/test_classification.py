"""Metrics of scores, by hand and by other ways of computing them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from attune.evaluation import classification as c

RNG = np.random.default_rng(0)


def test_two_classes_by_hand() -> None:
    shares = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.8, 0.2]])
    wanted = np.array([0, 0, 1, 1])
    found = {name: metric(shares, wanted) for name, metric in c.metrics_of("classes").items()}
    assert found["accuracy"] == 0.5
    assert found["macro_f1"] == 0.5
    assert found["auc"] == 0.75  # of four pairs (positive, negative) three are in order
    assert found["log_loss"] == pytest.approx(-sum(map(math.log, (0.9, 0.4, 0.7, 0.2))) / 4)
    assert found["calibration_error"] == pytest.approx((0.1 + 0.6 + 0.3 + 0.8) / 4)


def test_auc_is_the_share_of_pairs_in_order() -> None:
    scores, positive = RNG.integers(0, 6, 60).astype(float), RNG.random(60) < 0.4
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[positive] for b in scores[~positive]]
    assert c.rank_auc(scores, positive) == pytest.approx(float(np.mean(pairs)))
    assert math.isnan(c.rank_auc(scores, np.ones(60, bool)))


def test_macro_f1_counts_a_class_that_is_only_predicted_and_leaves_out_an_absent_one() -> None:
    shares = np.eye(4)[[0, 0, 1]]
    assert c.metrics_of("classes")["macro_f1"](shares, np.array([0, 0, 0])) == pytest.approx(0.4)


def test_confusion_has_labels_down_and_predictions_across() -> None:
    table = c.confusion(np.array([0, 1, 1, 2]), np.array([0, 1, 2, 2]), 3)
    assert table.tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]


def test_several_classes_by_hand() -> None:
    shares = np.array([[0.9, 0.2], [0.6, 0.7]])
    marks = np.array([[1.0, 0.0], [0.0, 1.0]])
    found = {name: metric(shares, marks) for name, metric in c.metrics_of("several").items()}
    assert found["accuracy"] == 0.5
    assert found["micro_f1"] == pytest.approx(4 / 5)
    assert found["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["auc"] == 1.0


def test_numbers_by_hand() -> None:
    predicted, wanted = np.array([[1.0], [2.0], [4.0]]), np.array([1.0, 3.0, 3.5])
    found = {name: metric(predicted, wanted) for name, metric in c.metrics_of("number").items()}
    assert found["mse"] == pytest.approx((0 + 1 + 0.25) / 3)
    assert found["spearman"] == pytest.approx(1.0)
    assert found["pearson"] == pytest.approx(np.corrcoef(predicted[:, 0], wanted)[0, 1])
    assert found["r2"] == pytest.approx(1 - found["mse"] / wanted.var())


def test_equal_values_share_their_rank() -> None:
    assert c.ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1.0, 3.5, 2.0]


def test_calibration_of_a_model_that_is_as_right_as_it_says() -> None:
    sure = np.repeat([0.65, 0.85], 1000)
    right = np.concatenate([np.arange(1000) < 650, np.arange(1000) < 850]).astype(float)
    assert c.calibration_error(sure, right) == pytest.approx(0.0, abs=1e-9)
    assert c.calibration_error(np.ones(10), np.zeros(10)) == 1.0
    assert c.reliability(np.array([1.0]), np.array([1.0])) == [(1.0, 1.0, 1)]


def test_intervals_hold_the_mean_and_differences_are_paired() -> None:
    wanted = RNG.integers(0, 2, 200)
    good = np.where(wanted == 1, 0.7, 0.3) + RNG.normal(0, 0.2, 200)
    shares = np.clip(np.stack([1 - good, good], 1), 0.01, 0.99)
    found = c.intervals("classes", shares, wanted)
    assert all(one.low <= one.mean <= one.high and one.n == 200 for one in found.values())
    assert found["accuracy"].high - found["accuracy"].low == pytest.approx(0.13, abs=0.06)
    same = c.intervals("classes", shares, wanted, against=shares)
    assert all((one.mean, one.low, one.high) == (0, 0, 0) for one in same.values())


def test_a_metric_that_rows_do_not_define_is_left_out() -> None:
    found = c.intervals("classes", np.array([[0.9, 0.1]] * 3), np.array([0, 0, 0]))
    assert "auc" not in found
    assert found["accuracy"].mean == 1.0
