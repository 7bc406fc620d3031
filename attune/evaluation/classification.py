"""How scores compare with labels: pure functions of arrays, each metric with a bootstrap interval over rows.

Legend: ``n`` rows, ``k`` classes, ``r`` resamples. ``predicted``: of classes probabilities ``[n, k]``, of
several classes a probability each ``[n, k]``, of a number ``[n, 1]``. ``wanted``: ``[n]`` class ids,
``[n, k]`` marks, or ``[n]`` numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .metrics import Interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Statistic = Callable[[Floats, Any], float]

NUM_RESAMPLES = 1000
NUM_BINS = 10


def metrics_of(task: str) -> Mapping[str, Statistic]:
    """The metrics of a task by name: ``classes``, ``several`` or ``number``."""
    return _METRICS[task]


def intervals(
    task: str, predicted: Floats, wanted: NDArray[Any], *, against: Floats | None = None, seed: int = 0
) -> dict[str, Interval]:
    """Each metric with its 95% percentile bootstrap interval; with ``against`` (another model's predictions
    of the same rows) the difference to it, on the same resamples. A metric that these rows do not define is
    left out.
    """
    n = len(wanted)
    random = np.random.default_rng(seed)
    samples = [random.integers(n, size=n) for _ in range(NUM_RESAMPLES if n <= 5000 else NUM_RESAMPLES // 4)]
    found = {}
    for name, statistic in metrics_of(task).items():

        def value(rows: Any, statistic: Statistic = statistic) -> float:
            mine = statistic(predicted[rows], wanted[rows])
            return mine if against is None else mine - statistic(against[rows], wanted[rows])

        mean = value(slice(None))
        drawn = np.array([value(rows) for rows in samples])
        drawn = drawn[np.isfinite(drawn)]
        if np.isfinite(mean) and len(drawn):
            low, high = np.quantile(drawn, [0.025, 0.975])
            found[name] = Interval(float(mean), float(low), float(high), n)
    return found


def confusion(predicted: Ints, wanted: Ints, num_classes: int) -> Ints:
    """``[k, k]``: rows of each class (down) by the class that was predicted (across)."""
    flat = np.bincount(wanted * num_classes + predicted, minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes).astype(np.int64)


def figures(task: str, names: Sequence[str], predicted: Floats, wanted: NDArray[Any]) -> dict[str, Any]:
    """What pictures are drawn of: ``confusion`` with its ``classes``, and ``reliability``."""
    if task == "number":
        return {}
    if task == "several":
        return {"reliability": reliability(predicted.ravel(), wanted.ravel())}
    chosen = predicted.argmax(1)
    right = (chosen == wanted).astype(np.float64)
    return {
        "classes": list(names),
        "confusion": confusion(chosen, wanted, len(names)).tolist(),
        "reliability": reliability(predicted.max(1), right),
    }


def reliability(
    confidence: Floats, is_right: Floats, num_bins: int = NUM_BINS
) -> list[tuple[float, float, int]]:
    """Bins of equal width over 0..1 that hold rows: mean confidence, share that is right, rows."""
    place = np.minimum((confidence * num_bins).astype(np.int64), num_bins - 1)
    bins = []
    for at in range(num_bins):
        inside = place == at
        if inside.any():
            bins.append((float(confidence[inside].mean()), float(is_right[inside].mean()), int(inside.sum())))
    return bins


def calibration_error(confidence: Floats, is_right: Floats, num_bins: int = NUM_BINS) -> float:
    """Expected calibration error: the distance of confidence and share right, averaged over rows by bins (Guo
    et al., arXiv 1706.04599, equation 5).
    """
    bins = reliability(confidence, is_right, num_bins)
    return sum(num * abs(sure - right) for sure, right, num in bins) / max(1, len(confidence))


def rank_auc(scores: Floats, is_positive: NDArray[np.bool_]) -> float:
    """The probability that a positive row has a higher score than a negative one, ties half (Mann-Whitney);
    NaN where one of the two is absent.
    """
    num_positive = int(is_positive.sum())
    num_negative = len(scores) - num_positive
    if not num_positive or not num_negative:
        return float("nan")
    total = ranks(scores)[is_positive].sum()
    return float((total - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative))


def ranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    means: Floats = last - (counts - 1) / 2
    return means[place]


def _accuracy(probabilities: Floats, classes: Ints) -> float:
    return float((probabilities.argmax(1) == classes).mean())


def _macro_f1(probabilities: Floats, classes: Ints) -> float:
    """The mean over the classes that these rows or the predictions hold."""
    table = confusion(probabilities.argmax(1), classes, probabilities.shape[1])
    return _mean_f1(np.diag(table), table.sum(0), table.sum(1))


def _mean_f1(hits: Any, predicted: Any, wanted: Any) -> float:
    present = (predicted + wanted) > 0
    return (
        float((2 * hits[present] / (predicted + wanted)[present]).mean()) if present.any() else float("nan")
    )


def _auc(probabilities: Floats, classes: Ints) -> float:
    """Of two classes the second's; of more the mean over classes, each against the rest."""
    num_classes = probabilities.shape[1]
    each = range(1, 2) if num_classes == 2 else range(num_classes)
    found = [rank_auc(probabilities[:, at], classes == at) for at in each]
    known = [value for value in found if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def _ece(probabilities: Floats, classes: Ints) -> float:
    right = (probabilities.argmax(1) == classes).astype(np.float64)
    return calibration_error(probabilities.max(1), right)


def _log_loss(probabilities: Floats, classes: Ints) -> float:
    return float(-np.log(probabilities[np.arange(len(classes)), classes].clip(1e-12)).mean())


def _exact_marks(probabilities: Floats, marks: Floats) -> float:
    return float(((probabilities > 0.5) == (marks > 0.5)).all(1).mean())


def _marks_f1(probabilities: Floats, marks: Floats) -> float:
    chosen, wanted = probabilities > 0.5, marks > 0.5
    return _mean_f1((chosen & wanted).sum(0), chosen.sum(0), wanted.sum(0))


def _micro_f1(probabilities: Floats, marks: Floats) -> float:
    chosen, wanted = probabilities > 0.5, marks > 0.5
    return float(2 * (chosen & wanted).sum() / max(1, chosen.sum() + wanted.sum()))


def _marks_auc(probabilities: Floats, marks: Floats) -> float:
    found = [rank_auc(probabilities[:, at], marks[:, at] > 0.5) for at in range(marks.shape[1])]
    known = [value for value in found if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def _marks_ece(probabilities: Floats, marks: Floats) -> float:
    return calibration_error(probabilities.ravel(), marks.ravel())


def _mse(predicted: Floats, wanted: Floats) -> float:
    return float(((predicted[:, 0] - wanted) ** 2).mean())


def _r2(predicted: Floats, wanted: Floats) -> float:
    spread = float(wanted.var())
    return 1 - _mse(predicted, wanted) / spread if spread else float("nan")


def _pearson(predicted: Floats, wanted: Floats) -> float:
    return _correlation(predicted[:, 0], wanted)


def _spearman(predicted: Floats, wanted: Floats) -> float:
    return _correlation(ranks(predicted[:, 0]), ranks(wanted))


def _correlation(a: Floats, b: Floats) -> float:
    spread = a.std() * b.std()
    return float(((a - a.mean()) * (b - b.mean())).mean() / spread) if spread else float("nan")


_METRICS: dict[str, dict[str, Statistic]] = {
    "classes": {
        "accuracy": _accuracy,
        "macro_f1": _macro_f1,
        "auc": _auc,
        "log_loss": _log_loss,
        "calibration_error": _ece,
    },
    "several": {
        "accuracy": _exact_marks,
        "macro_f1": _marks_f1,
        "micro_f1": _micro_f1,
        "auc": _marks_auc,
        "calibration_error": _marks_ece,
    },
    "number": {"mse": _mse, "r2": _r2, "pearson": _pearson, "spearman": _spearman},
}
