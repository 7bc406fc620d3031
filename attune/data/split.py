"""The held-out split, by prompt: no prompt is on both sides.

Each prompt has a place in [0, 1) that is a hash of (seed, prompt); those below ``share`` are held out. So the
same prompt goes to the same side whatever else is in the file, in whatever order, on every machine. Four
bounds may move a prompt, and only these: at most ``limit`` rows are held out (the prompts of the lowest
places); at most twice ``share`` of the rows, so that one prompt with a third of them stays in training; at
least one prompt is, where there are 20 or more; never all are.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

from .examples import Example, prompt_key

_ENOUGH = 20
"""Prompts from which on an evaluation on one of them is worth having."""


def split(
    examples: Sequence[Example], share: float, seed: int, limit: int = 500
) -> tuple[list[int], list[int]]:
    """``(train, held out)``: the indices of ``examples``, each in exactly one of them, in ascending order."""
    groups: dict[str, list[int]] = {}
    for index, example in enumerate(examples):
        groups.setdefault(prompt_key(example), []).append(index)
    if share <= 0 or len(groups) < 2:
        return list(range(len(examples))), []
    limit = min(limit, math.ceil(2 * share * len(examples)))
    ordered = sorted((_place(seed, key), indices) for key, indices in groups.items())
    held_out: list[int] = []
    for place, indices in ordered[:-1]:  # the last group always stays: never everything
        if place < share and len(held_out) + len(indices) <= limit:
            held_out.extend(indices)
    if not held_out and len(groups) >= _ENOUGH:
        held_out = min(ordered[:-1], key=lambda group: (len(group[1]) > limit, group[0]))[1]
    held = set(held_out)
    return [index for index in range(len(examples)) if index not in held], sorted(held)


def leaks(train: Sequence[Example], held_out: Sequence[Example]) -> list[int]:
    """The indices of the held-out examples whose prompt is in the training data too."""
    known = {prompt_key(example) for example in train}
    return [index for index, example in enumerate(held_out) if prompt_key(example) in known]


def _place(seed: int, key: str) -> float:
    """Uniform in [0, 1); the first 8 bytes of a hash, so that it is the same on every machine and in every
    version.
    """
    digest = hashlib.blake2b(f"{seed}\x1f{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
