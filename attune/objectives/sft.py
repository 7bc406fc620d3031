"""Supervised fine-tuning: the mean negative log-likelihood of the learnt tokens.

    L = - (1 / N) * sum over learnt tokens t of log p(t | everything before t)

N counts the learnt tokens of the whole optimizer step, over all packs and processes, so that one batch of 8
equals 8 of 1 to rounding. (A mean of micro-batch means, as several tools have it, weighs short answers more.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ..recipe.schema import Choice

if TYPE_CHECKING:  # a recipe that names this objective must not wait for torch
    import torch

    from ..data.layout import Batch

NEEDS = ("logps",)
EXAMPLES = "conversation"
"""The kind of example that the data room must make."""


class Config(Choice):
    """Supervised fine-tuning. | 监督微调。"""

    name: Literal["sft"] = "sft"


def denominator(batch: Batch) -> int:
    """What this pack adds to N: its learnt tokens."""
    return batch.num_learnt


def loss(logps_n: torch.Tensor, batch: Batch, config: Choice) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The sum of -log p over the learnt tokens; the engine divides by the denominator of the whole step.

    ``logps_n``: float32 ``[N]``, one log-probability a learnt token.
    """
    return -logps_n.sum(), {}
