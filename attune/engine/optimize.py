"""AdamW and the schedule of its step size.

Loshchilov & Hutter, "Decoupled weight decay regularization", arXiv 1711.05101, algorithm 2; cosine annealing:
arXiv 1608.03983, equation 5. The step size is a pure function of the step: resuming needs no scheduler state.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from ..recipe.schema import Train
from .checkpoint import trained


def adamw(
    model: nn.Module,
    train: Train,
    learning_rate: float,
    rate_of: Callable[[str], float] = lambda name: 1.0,
) -> torch.optim.AdamW:
    """AdamW over the parameters that learn; vectors (norms, biases) are not decayed. ``rate_of`` gives the
    step size of a parameter as a multiple of the run's; its group keeps it as ``rate``.
    """
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in trained(model).items():
        groups.setdefault((parameter.ndim < 2, rate_of(name)), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": groups[is_vector, rate],
                "weight_decay": 0.0 if is_vector else train.weight_decay,
                "lr": learning_rate * rate,
                "rate": rate,
            }
            for is_vector, rate in sorted(groups)
        ],
        betas=(train.adam_beta1, train.adam_beta2),
        eps=train.adam_epsilon,
        fused=True,
    )


def num_warmup_steps(train: Train, num_steps: int) -> int:
    """Below 1, ``warmup_steps`` is a share of all steps."""
    return math.ceil(train.warmup_steps * num_steps) if train.warmup_steps < 1 else int(train.warmup_steps)


def learning_rate_at(step: int, num_steps: int, peak: float, train: Train) -> float:
    """The step size of step ``step`` (from 0): linear from peak / warm-up to the peak, then as scheduled."""
    warmup = num_warmup_steps(train, num_steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    share = (step - warmup) / max(1, num_steps - warmup)
    floor = train.min_learning_rate_share
    if train.schedule == "cosine":
        return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * share)))
    if train.schedule == "linear":
        return peak * (floor + (1 - floor) * (1 - share))
    return peak
