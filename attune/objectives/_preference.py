"""What the objectives over ranked answers have in common: the pairs of a batch, their weights and measures.

Legend: ``n`` learnt tokens, ``b`` branches, ``e`` examples, ``p`` pairs.

An example has its answers in order, the best first. Each answer is compared with every answer after it, as in
InstructGPT (Ouyang et al., arXiv 2203.02155, equation 1): K answers make K (K - 1) / 2 pairs, of which each
weighs as much as makes the example count once. Two answers are the usual chosen and rejected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a recipe that names an objective must not wait for torch
    import torch

    from ..data.layout import Batch

METRICS = ("accuracy", "margin", "chosen_reward", "rejected_reward", "chosen_logps", "rejected_logps")
"""Sums over examples, of means over an example's pairs. ``accuracy``: the better answer has the higher reward
(a tie is half right); ``margin``: by how much; logps in nats an answer.
"""


@dataclass(frozen=True, slots=True)
class Pairs:
    """``better`` [p] and ``worse`` [p]: branches, counted over the pack; ``weights`` [p] add up to one for
    each example.
    """

    better: torch.Tensor
    worse: torch.Tensor
    weights: torch.Tensor

    def mean(self, values_p: torch.Tensor) -> torch.Tensor:
        """The sum over examples of the mean of ``values_p`` over the example's pairs, a scalar."""
        return (self.weights * values_p).sum()

    def measures(self, rewards_b: torch.Tensor, sequence_logps_b: torch.Tensor) -> dict[str, torch.Tensor]:
        """The metrics of a pack, without a graph."""
        rewards, logps = rewards_b.detach(), sequence_logps_b.detach()
        margins = rewards[self.better] - rewards[self.worse]
        return {
            "accuracy": self.mean((margins.sign() + 1) / 2),
            "margin": self.mean(margins),
            "chosen_reward": self.mean(rewards[self.better]),
            "rejected_reward": self.mean(rewards[self.worse]),
            "chosen_logps": self.mean(logps[self.better]),
            "rejected_logps": self.mean(logps[self.worse]),
        }


def pairs_of(batch: Batch, like: torch.Tensor) -> Pairs:
    """All pairs of the pack, on the device of ``like``."""
    examples = batch.examples.to(like.device)
    is_pair = (examples[:, None] == examples[None, :]).triu(1)
    better, worse = is_pair.nonzero(as_tuple=True)
    num_pairs = is_pair.sum(1).new_zeros(batch.num_examples).index_add_(0, examples, is_pair.sum(1))
    return Pairs(better, worse, 1.0 / num_pairs[examples[better]])


def denominator(batch: Batch) -> int:
    """What this pack adds to N: its examples, however many answers they have."""
    return batch.num_examples


def lengths(batch: Batch, like: torch.Tensor) -> torch.Tensor:
    """Learnt tokens of each branch, float ``[b]``, at least 1."""
    return batch.per_branch(like.new_ones(batch.num_learnt)).clamp(min=1)


def average_logps(logps_n: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The mean log-probability of each answer's tokens, ``[b]``."""
    return batch.per_branch(logps_n) / lengths(batch, logps_n)


def log_ratios(logps_n: torch.Tensor, batch: Batch) -> torch.Tensor:
    """log pi(y|x) - log pi_ref(y|x) of each answer, ``[b]``; subtracted token by token, where the numbers are
    small and round little.
    """
    assert batch.reference is not None, "the engine computes the reference's log-probabilities"
    return batch.per_branch(logps_n - batch.reference.to(logps_n.device))


def best_nll(logps_n: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The sum over examples of -log pi(y|x) / |y| of the best answer, a scalar."""
    examples = batch.examples.to(logps_n.device)
    is_best = examples != examples.roll(1)
    is_best[:1] = True
    return -average_logps(logps_n, batch)[is_best].sum()


Margin = Callable[["torch.Tensor", "torch.Tensor", float, float], "torch.Tensor"]
"""A loss of the better and the worse answer's log-ratios ``[p]``, beta and the label smoothing: ``[p]``."""
