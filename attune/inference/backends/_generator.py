"""What a rollout asks of whatever samples its answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ...recipe.schema import Generation
from ..sampling import Sample


class Generator(Protocol):
    """Samples answers of a policy that learns.

    ``is_exact``: it draws from the very probabilities that are learnt, so that a run which goes on after an
    interruption samples the same answers bit for bit. Where it does not, ``Sample.logps`` are those that it
    drew with, temperature included, and the engine weighs each answer by the ratio.
    """

    @property
    def is_exact(self) -> bool: ...

    def generate(
        self,
        prompts: list[list[int]],
        generation: Generation,
        stop_ids: frozenset[int],
        *,
        num_samples: int = 1,
        places: Sequence[int] | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[list[Sample]]:
        """``num_samples`` answers to each prompt, in their order, of the weights that the policy has now.

        Chosen with ``generation``'s temperature, top-k, top-p and repetition penalty, each until a token of
        ``stop_ids``, its ``max_new_tokens`` or the window. ``places``: the number of each prompt by which,
        with ``generation.seed`` and the sample's number, its samples are drawn; by default its place in the
        list. ``on_progress(done, total)`` counts answers.
        """
        ...
