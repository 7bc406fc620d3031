"""Linear models: beside other ways of solving the same problem."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from attune.evaluation.linear import STRENGTHS, Linear, fit

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 5)).astype(np.float32) * np.array([1, 2, 0.5, 1, 1], np.float32) + 3
TRUE = RNG.normal(size=(5, 3))


def standard(x: np.ndarray) -> np.ndarray:
    return ((x - X.mean(0)) / X.std(0)).astype(np.float64)


def classes() -> np.ndarray:
    return (standard(X) @ TRUE + RNG.gumbel(size=(60, 3))).argmax(1)[:, None].astype(np.float64)


def test_a_ridge_solves_its_equations_and_knows_its_leave_one_out_error() -> None:
    y = standard(X) @ TRUE[:, :1] + RNG.normal(size=(60, 1))
    found = fit(X, y, "number", 1)
    z, n = standard(X), 60

    def solved(rows: np.ndarray) -> np.ndarray:
        table = np.c_[z[rows], np.ones(len(rows))]
        penalty = np.diag([n * found.strength] * 5 + [0.0])
        return np.linalg.solve(table.T @ table + penalty, table.T @ y[rows])

    whole = solved(np.arange(n))
    np.testing.assert_allclose(found.predict(X), np.c_[z, np.ones(n)] @ whole, atol=1e-5)
    errors = []
    for left in range(n):
        coefficients = solved(np.delete(np.arange(n), left))
        errors.append((y[left, 0] - (np.r_[z[left], 1] @ coefficients)[0]) ** 2)
    assert found.cv_loss == pytest.approx(np.mean(errors), rel=1e-5)


def gradient(found: Linear, y: np.ndarray) -> float:
    """The largest slope of the penalised loss at the solution."""
    weight = found.weight.clone().requires_grad_()
    scores = torch.from_numpy(standard(X)) @ weight + found.bias
    if found.task == "classes":
        loss = torch.nn.functional.cross_entropy(scores, torch.from_numpy(y[:, 0]).long())
    else:
        loss = torch.nn.functional.binary_cross_entropy_with_logits(scores, torch.from_numpy(y))
    (loss + found.strength / 2 * weight.square().sum()).backward()
    assert weight.grad is not None
    return float(weight.grad.abs().max())


def test_a_classifier_stands_where_the_penalised_loss_is_flat() -> None:
    y = classes()
    found = fit(X, y, "classes", 3)
    assert found.strength in STRENGTHS
    assert gradient(found, y) < 1e-4
    shares = found.predict(X)
    np.testing.assert_allclose(shares.sum(1), 1)
    assert (shares.argmax(1) == y[:, 0]).mean() > 0.6
    assert found.cv_loss < np.log(3)


def test_several_classes_are_fitted_each_by_itself() -> None:
    y = np.concatenate([classes() == at for at in range(2)], axis=1).astype(np.float64)
    found = fit(X, y, "several", 2)
    assert gradient(found, y) < 1e-4
    assert found.predict(X).shape == (60, 2)


def test_noise_gets_the_strongest_penalty_and_a_constant_feature_does_no_harm() -> None:
    y = RNG.integers(0, 2, size=(60, 1)).astype(np.float64)
    x = np.c_[RNG.normal(size=(60, 40)), np.full(60, 7.0)].astype(np.float32)
    found = fit(x, y, "classes", 2)
    assert found.strength == STRENGTHS[0]
    assert np.isfinite(found.predict(x)).all()


def test_equal_seeds_give_equal_folds() -> None:
    y = classes()
    assert fit(X, y, "classes", 3, seed=1).cv_loss == fit(X, y, "classes", 3, seed=1).cv_loss
    assert fit(X, y, "classes", 3, seed=1).cv_loss != fit(X, y, "classes", 3, seed=2).cv_loss
