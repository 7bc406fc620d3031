"""How a reward model ranks pairs: pure functions of rewards and lengths.

Legend: ``e`` examples, each with its answers the best first; ``p`` pairs, an answer with each one after it.

Intervals resample examples, not pairs: the pairs of one ranking are not independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .classification import reliability
from .metrics import Interval, bootstrap, paired_bootstrap

Floats = NDArray[np.float64]

METRICS = ("pair_accuracy", "reward_margin", "pair_calibration", "longer_chosen", "longer_preferred")


@dataclass(frozen=True, slots=True)
class Ranked:
    """Pairs and what they say: ``example`` [p], ``gap`` [p] (the better answer's reward less the worse
    one's), ``longer`` [p] (1 the better answer is longer, 0 shorter, one half as long).
    """

    example: NDArray[np.int64]
    gap: Floats
    longer: Floats
    num_examples: int

    @property
    def is_right(self) -> Floats:
        """A tie is half right."""
        return (np.sign(self.gap) + 1) / 2

    @property
    def takes_longer(self) -> Floats:
        """1 where the model prefers the longer answer."""
        same = self.longer == 0.5
        return np.where(same, 0.5, np.where(self.longer == 1, self.is_right, 1 - self.is_right))

    def per_example(self, values: Floats) -> Floats:
        """The mean over each example's pairs, ``[e]``."""
        counts = np.bincount(self.example, minlength=self.num_examples)
        sums = np.bincount(self.example, weights=values, minlength=self.num_examples)
        means: Floats = sums / np.maximum(counts, 1)
        return means

    def columns(self) -> dict[str, Floats]:
        """What each example adds to each mean, ``[e]``."""
        return {
            "pair_accuracy": self.per_example(self.is_right),
            "reward_margin": self.per_example(self.gap),
            "longer_chosen": self.per_example(self.longer),
            "longer_preferred": self.per_example(self.takes_longer),
        }

    def intervals(self) -> dict[str, Interval]:
        """Means with 95% intervals. Length bias shows in ``longer_preferred`` above ``longer_chosen``: the
        model takes the longer answer more often than people did.
        """
        found = {name: bootstrap(values) for name, values in self.columns().items()}
        found["pair_calibration"] = self._calibration()
        return found

    def of_row(self, place: int) -> dict[str, float]:
        """The numbers of one example."""
        mine = self.example == place
        return {
            "pair_accuracy": float(self.is_right[mine].mean()),
            "reward_margin": float(self.gap[mine].mean()),
        }

    def reliability(self) -> list[tuple[float, float, int]]:
        """Bins of sigma(|gap|), the probability that the model gives to its own preference: mean, share
        right, pairs.
        """
        return reliability(_sigma(np.abs(self.gap)), self.is_right)

    def _calibration(self, num_resamples: int = 1000, seed: int = 0) -> Interval:
        """The expected calibration error of sigma(|gap|)."""
        sure, right = _sigma(np.abs(self.gap)), self.is_right
        pairs_of = [np.flatnonzero(self.example == at) for at in range(self.num_examples)]
        random = np.random.default_rng(seed)
        drawn = []
        for _ in range(num_resamples):
            rows = np.concatenate([pairs_of[at] for at in random.integers(len(pairs_of), size=len(pairs_of))])
            drawn.append(_error(sure[rows], right[rows]))
        low, high = np.quantile(drawn, [0.025, 0.975])
        return Interval(_error(sure, right), float(low), float(high), self.num_examples)


def of_examples(rewards: Sequence[Sequence[float]], lengths: Sequence[Sequence[int]]) -> Ranked:
    """All pairs of all examples; ``lengths`` of the answers, in any unit."""
    pairs = [
        (at, mine[i] - mine[j], _longer(sizes[i], sizes[j]))
        for at, (mine, sizes) in enumerate(zip(rewards, lengths, strict=True))
        for i in range(len(mine))
        for j in range(i + 1, len(mine))
    ]
    example, gap, longer = zip(*pairs, strict=True)
    return Ranked(np.array(example), np.array(gap), np.array(longer), len(rewards))


def differences(first: Ranked, second: Ranked) -> dict[str, Interval]:
    """The first model less the second, on the same examples."""
    ours, theirs = first.columns(), second.columns()
    return {name: paired_bootstrap(ours[name], theirs[name]) for name in ours if name != "longer_chosen"}


def _longer(better: int, worse: int) -> float:
    return 0.5 if better == worse else float(better > worse)


def _sigma(values: Floats) -> Floats:
    found: Floats = 1 / (1 + np.exp(-values))
    return found


def _error(sure: Floats, right: Floats) -> float:
    bins = reliability(sure, right)
    return sum(num * abs(mean - share) for mean, share, num in bins) / max(1, len(sure))
