"""Linear models over fixed features, with the strength of their L2 penalty chosen by cross-validation.

    classes    min_W  (1/n) sum of -log softmax(x W + b)_y  +  (lambda / 2) |W|^2       by L-BFGS
    several    the same with a logistic loss a class
    number     min_w  |x w + b - y|^2 + n lambda |w|^2                                  in closed form

Features are brought to mean 0 and variance 1 by the training rows; the intercept is not penalised. Of a
number the error of leaving each row out is known for every lambda from one singular value decomposition
(Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 2nd edition, equation 7.64). Legend:
``n`` rows, ``d`` features, ``k`` classes or 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.labels import Task

STRENGTHS = (10.0, 1.0, 0.1, 0.01, 0.001, 0.0001)
"""Strengths that are tried, from the strongest; each begins at the solution before it."""


@dataclass(frozen=True, slots=True)
class Linear:
    """``(x - mean) / scale @ weight + bias``; ``strength``: lambda; ``cv_loss``: its cross-validated loss a
    row.
    """

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor
    strength: float
    cv_loss: float
    task: Task

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probabilities ``[n, k]``, or numbers ``[n, 1]``."""
        scores = ((torch.from_numpy(x).double() - self.mean) / self.scale) @ self.weight + self.bias
        if self.task == "classes":
            scores = scores.softmax(1)
        elif self.task == "several":
            scores = scores.sigmoid()
        found: NDArray[np.float64] = scores.numpy()
        return found


def fit(
    x: NDArray[np.float32],
    y: NDArray[np.float64],
    task: Task,
    num_classes: int,
    *,
    num_folds: int = 5,
    seed: int = 0,
) -> Linear:
    """``x`` [n, d]; ``y`` [n, 1] classes or numbers, or [n, k] marks."""
    features = torch.from_numpy(x).double()
    mean = features.mean(0)
    scale = features.std(0, correction=0)
    scale = torch.where(scale > 1e-8, scale, torch.ones_like(scale))
    z, targets = (features - mean) / scale, torch.from_numpy(y)
    if task == "number":
        weight, bias, strength, loss = _ridge(z, targets[:, 0])
    else:
        folds = _folds(targets if task == "classes" else targets[:, :1], num_folds, seed)
        strengths, loss = _cross_validated(z.float(), targets.float(), task, num_classes, folds)
        solution = _start(z, num_classes)
        for strength in strengths:
            solution = _solve(z, targets, task, solution, strength)
        weight, bias = solution
        strength = strengths[-1]
    return Linear(mean, scale, weight, bias, strength, loss, task)


def _folds(classes: Tensor, num: int, seed: int) -> list[Tensor]:
    """Parts of the rows that each hold about the same share of every class."""
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(classes), generator=generator)
    ordered = shuffled[classes[shuffled, 0].argsort(stable=True)]
    num = max(2, min(num, len(classes)))
    return [ordered[at::num] for at in range(num)]


def _cross_validated(
    z: Tensor, y: Tensor, task: Task, num_classes: int, folds: Sequence[Tensor]
) -> tuple[tuple[float, ...], float]:
    """The strengths down to the best one, and its loss a row. The search ends where the loss rises again."""
    parts = []
    for held in folds:
        is_train = torch.ones(len(z), dtype=torch.bool)
        is_train[held] = False
        parts.append((z[is_train], y[is_train], z[held], y[held]))
    solutions = [_start(z, num_classes)] * len(parts)
    best, at = float("inf"), 0
    for place, strength in enumerate(STRENGTHS):
        total = 0.0
        for number, (x, wanted, x_held, y_held) in enumerate(parts):
            solutions[number] = _solve(x, wanted, task, solutions[number], strength, tolerance=1e-4)
            weight, bias = solutions[number]
            total += float(_loss(x_held @ weight + bias, y_held, task, reduce=False).sum())
        if total >= best:
            break
        best, at = total, place
    return STRENGTHS[: at + 1], best / len(z)


def _start(z: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    return z.new_zeros(z.shape[1], num_classes), z.new_zeros(num_classes)


def _solve(
    z: Tensor, y: Tensor, task: Task, start: tuple[Tensor, Tensor], strength: float, tolerance: float = 1e-6
) -> tuple[Tensor, Tensor]:
    """Weights and intercepts by L-BFGS, beginning at ``start``."""
    weight, bias = (part.clone().requires_grad_() for part in start)
    solver = torch.optim.LBFGS(
        [weight, bias],
        max_iter=100,
        history_size=20,
        tolerance_grad=tolerance,
        tolerance_change=1e-3 * tolerance,
        line_search_fn="strong_wolfe",
    )

    def closure() -> float:
        solver.zero_grad()
        loss = _loss(z @ weight + bias, y, task) + strength / 2 * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    solver.step(closure)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()


def _loss(scores: Tensor, y: Tensor, task: Task, *, reduce: bool = True) -> Tensor:
    """A row's loss ``[n]``, or the mean."""
    from torch.nn import functional

    if task == "classes":
        return functional.cross_entropy(scores, y[:, 0].long(), reduction="mean" if reduce else "none")
    losses = functional.binary_cross_entropy_with_logits(scores, y, reduction="none").mean(1)
    return losses.mean() if reduce else losses


def _ridge(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor, float, float]:
    """Weights, intercept, the strength with the least leave-one-out error, and that error."""
    bias, n = y.mean(), len(y)
    u, s, vh = torch.linalg.svd(z, full_matrices=False)
    projected = u.T @ (y - bias)
    best: tuple[float, float] | None = None
    for strength in STRENGTHS:
        shrink = s.square() / (s.square() + n * strength)
        # Each row's own pull: that of the features and that of the mean.
        leverage = (u.square() @ shrink + 1 / n).clamp(max=1 - 1e-9)
        residual = (y - bias - u @ (shrink * projected)) / (1 - leverage)
        error = float(residual.square().mean())
        if best is None or error < best[0]:
            best = error, strength
    assert best is not None
    error, strength = best
    weight = vh.T @ (s / (s.square() + n * strength) * projected)
    return weight[:, None], bias[None], strength, error
