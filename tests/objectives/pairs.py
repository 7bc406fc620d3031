"""One pair of two tokens an answer, and a ranking of three: small enough to compute by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from attune.data.layout import Batch, Segments, lay

NOTHING = (math.nan,)


def pair() -> tuple[torch.Tensor, Batch]:
    """Log-probabilities and batch: h_c = 0.6, h_r = -0.4; the means are half of them."""
    answers = (([5, 6], [True, True]), ([7, 8], [True, True]))
    batch = lay([(0, Segments([1, 2], answers, NOTHING))])
    logps = torch.tensor([-1.0, -0.5, -0.7, -0.9], requires_grad=True)
    return logps, replace(batch, reference=torch.tensor([-1.4, -0.7, -0.5, -0.7]))


def ranking() -> tuple[torch.Tensor, Batch]:
    """Three answers of one, two and one tokens, beside a pair of one token each, in one pack."""
    three = Segments([1], (([5], [True]), ([6, 7], [True, True]), ([8], [True])), NOTHING)
    two = Segments([2], (([9], [True]), ([4], [True])), NOTHING)
    batch = lay([(0, three), (1, two)])
    logps = torch.tensor([-0.2, -0.5, -0.7, -2.0, -1.0, -0.5], requires_grad=True)
    return logps, replace(batch, reference=torch.zeros(6))


def log_sigmoid(value: float) -> float:
    return -math.log1p(math.exp(-value))


def logistic(value: float) -> float:
    return 1 / (1 + math.exp(-value))
