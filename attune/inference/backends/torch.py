"""attune's own decoder as the generator: it reads the policy's weights where they lie, on any device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...models.policy import Policy
from ...recipe.schema import Generation, Recipe
from .. import decode
from ..sampling import Sample
from ._generator import Generator


@dataclass(frozen=True, slots=True)
class Decoder:
    """``decode.generate`` of the policy's model."""

    policy: Policy
    is_exact: bool = True

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
        return decode.generate(
            self.policy.model,
            prompts,
            generation,
            stop_ids,
            num_samples=num_samples,
            places=places,
            on_progress=on_progress,
        )


def start(policy: Policy, recipe: Recipe, *, precision: str, longest: int) -> Generator:
    """The decoder; it needs nothing but the policy."""
    del recipe, precision, longest
    return Decoder(policy)
