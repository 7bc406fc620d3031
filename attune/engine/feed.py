"""Where the examples of a step come from, and what is measured on the held-out ones: the one place in which
learning from given answers differs from learning from sampled ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..data import pack
from ..data.cache import Store
from . import step
from .events import Bus
from .setup import Setup

_LIKELIHOODS = ("conversation", "text")
"""The examples whose objectives are the mean of -log p over tokens."""

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What was found on the held-out examples. ``loss``: the less, the better; ``perplexity`` where it is a
    likelihood; ``count``: over what the mean is.
    """

    loss: float
    perplexity: float | None
    metrics: dict[str, float]
    count: int


class Feed(Protocol):
    """A source of steps. ``kept`` is what a checkpoint remembers of it: numbers, its own to change."""

    def parts(self, at: int, kept: dict[str, float], bus: Bus) -> Iterator[tuple[Store, Sequence[int]]]:
        """The updates of step ``at`` (from 0), one after another: a store, and which of its examples."""

    def metrics(self) -> dict[str, float]:
        """What is known of the last step besides what its objective measures."""

    def evaluate(self, on_progress: OnProgress) -> HeldOut:
        """Looks at the held-out examples."""


class Stored:
    """Examples that were given: one update a step."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup

    def parts(self, at: int, kept: dict[str, float], bus: Bus) -> Iterator[tuple[Store, Sequence[int]]]:
        """The step's share of the shuffled examples."""
        del kept, bus
        store, settings = self.setup.data.train, self.setup.recipe.train
        yield store, pack.step_examples(at, len(store), settings.global_batch_size, settings.seed)

    def metrics(self) -> dict[str, float]:
        """Nothing more."""
        return {}

    def evaluate(self, on_progress: OnProgress) -> HeldOut:
        """The objective's mean over the held-out examples."""
        setup = self.setup
        with setup.autocast():
            loss, metrics, count = step.held_out_loss(
                setup.policy,
                setup.data.held_out,
                setup.micro,
                setup.objective,
                setup.settled,
                setup.accelerator,
                on_progress,
            )
        is_likelihood = setup.objective.EXAMPLES in _LIKELIHOODS
        return HeldOut(loss, math.exp(min(loss, 700.0)) if is_likelihood else None, metrics, count)
