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
    return split_keys([prompt_key(example) for example in examples], share, seed, limit)


def split_keys(
    keys: Sequence[str], share: float, seed: int, limit: int | None = None, enough: int = _ENOUGH
) -> tuple[list[int], list[int]]:
    """``split`` of rows that have these keys: rows of one key stay together. At least one key is held out
    where there are ``enough``.
    """
    groups = _groups(keys)
    if share <= 0 or len(groups) < 2:
        return list(range(len(keys))), []
    most = math.ceil(2 * share * len(keys))
    limit = most if limit is None else min(limit, most)
    ordered = sorted((_place(seed, key), indices) for key, indices in groups.items())
    held_out: list[int] = []
    for place, indices in ordered[:-1]:  # the last group always stays: never everything
        if place < share and len(held_out) + len(indices) <= limit:
            held_out.extend(indices)
    if not held_out and len(groups) >= enough:
        held_out = min(ordered[:-1], key=lambda group: (len(group[1]) > limit, group[0]))[1]
    return _sides(held_out, len(keys))


def split_strata(
    keys: Sequence[str], strata: Sequence[str], share: float, seed: int
) -> tuple[list[int], list[int]]:
    """As ``split_keys``, of each stratum for itself: the groups of the lowest places, as many as come nearest
    to ``share`` of its rows, but at least one of two and never all. A group is of its first row's stratum.
    """
    members: dict[str, list[tuple[float, list[int]]]] = {}
    for key, indices in _groups(keys).items():
        members.setdefault(strata[indices[0]], []).append((_place(seed, key), indices))
    held_out: list[int] = []
    for groups in members.values():
        wanted = share * sum(len(indices) for _, indices in groups)
        taken: list[int] = []
        for _, indices in sorted(groups)[:-1]:
            # Half of the group beyond the share is nearer to it than none of the group.
            if not taken or len(taken) + len(indices) / 2 <= wanted:
                taken.extend(indices)
        held_out.extend(taken)
    return _sides(held_out if share > 0 else [], len(keys))


def _groups(keys: Sequence[str]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(key, []).append(index)
    return groups


def _sides(held_out: Sequence[int], num: int) -> tuple[list[int], list[int]]:
    held = set(held_out)
    return [index for index in range(num) if index not in held], sorted(held)


def _place(seed: int, key: str) -> float:
    """Uniform in [0, 1); the first 8 bytes of a hash, so that it is the same on every machine and in every
    version.
    """
    digest = hashlib.blake2b(f"{seed}\x1f{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
