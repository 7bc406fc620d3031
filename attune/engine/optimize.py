"""AdamW, in memory or paged, and the schedule of its step size.

Loshchilov & Hutter, "Decoupled weight decay regularization", arXiv 1711.05101, algorithm 2; cosine annealing:
arXiv 1608.03983, equation 5; paged moments: Dettmers et al., arXiv 2305.14314, section 3. The step size is a
pure function of the step: resuming needs no scheduler state.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..models import quantize
from ..recipe.errors import RecipeError
from ..recipe.messages import say
from ..recipe.schema import Train
from .checkpoint import trained


def adamw(
    model: nn.Module,
    train: Train,
    learning_rate: float,
    rate_of: Callable[[str], float] = lambda name: 1.0,
) -> torch.optim.Optimizer:
    """AdamW over the parameters that learn; vectors (norms, biases) are not decayed. ``rate_of`` gives the
    step size of a parameter as a multiple of the run's; its group keeps it as ``rate``.
    """
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in trained(model).items():
        groups.setdefault((parameter.ndim < 2, rate_of(name)), []).append(parameter)
    settings = [
        {
            "params": groups[is_vector, rate],
            "weight_decay": 0.0 if is_vector else train.weight_decay,
            "lr": learning_rate * rate,
            "rate": rate,
        }
        for is_vector, rate in sorted(groups)
    ]
    betas, epsilon = (train.adam_beta1, train.adam_beta2), train.adam_epsilon
    if train.optimizer == "paged_adamw":
        return _paged(settings, betas, epsilon)
    return torch.optim.AdamW(settings, betas=betas, eps=epsilon, fused=True)


def _paged(
    settings: list[dict[str, Any]], betas: tuple[float, float], epsilon: float
) -> torch.optim.Optimizer:
    """bitsandbytes' AdamW with moments of 32 bits in memory that CUDA moves between the GPU and the host."""
    from bitsandbytes.optim import PagedAdamW

    known: set[Any] = set()

    class Paged(PagedAdamW):  # type: ignore[misc, unused-ignore]
        """Its state is made of tensors, so that a checkpoint can keep it; what comes back from one is paged
        again.
        """

        def update_step(self, group: Any, p: Any, gindex: int, pindex: int) -> None:
            state = self.state[p]
            state["step"] = int(state["step"])
            if p.is_cuda and p not in known:
                for name in ("state1", "state2"):
                    state[name] = self.get_state_buffer(p, dtype=torch.float32).copy_(state[name])
            known.add(p)
            super().update_step(group, p, gindex, pindex)
            state["step"] = torch.tensor(float(state["step"]))

    made: torch.optim.Optimizer = Paged(settings, betas=betas, eps=epsilon)
    return made


def must_run_on(device: torch.device, train: Train) -> None:
    """Raises RecipeError for an optimizer that does not run there."""
    if train.optimizer != "paged_adamw":
        return
    if device.type != "cuda":
        raise RecipeError(
            say(
                "train.optimizer=paged_adamw moves moments out of the memory of an NVIDIA GPU, and there is "
                "none here. Use train.optimizer=adamw.",
                "train.optimizer=paged_adamw 用于把矩换出 NVIDIA GPU 的显存，而这里没有 GPU。请用 "
                "train.optimizer=adamw。",
            )
        )
    quantize.need_bitsandbytes("train.optimizer=paged_adamw", "train.optimizer=adamw")


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
