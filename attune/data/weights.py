"""How often each example of a source is taken: its ``num_samples`` and its ``weight``.

The choices rest on ``random()`` alone, which Python keeps the same for ever.
"""

from __future__ import annotations

import random

from ..recipe.messages import say
from ..recipe.schema import Source


def weighed(num: int, source: Source, seed: str) -> list[int]:
    """Which of a source's ``num`` examples are taken, as places from 0: at most ``num_samples``, drawn by the
    seed; each as often as the weight's whole part says, and a seeded choice of them once more for its
    fraction.
    """
    whole, chance = int(source.weight), random.Random(seed)
    kept = list(range(num))
    if source.num_samples is not None and source.num_samples < num:
        kept = _drawn(num, source.num_samples, chance)
    extra = round((source.weight - whole) * len(kept))
    return (
        [*kept * whole, *(kept[place] for place in _drawn(len(kept), extra, chance))]
        if extra
        else kept * whole
    )


def _drawn(num: int, wanted: int, chance: random.Random) -> list[int]:
    """So many of the numbers below ``num``, ascending."""
    draws = [chance.random() for _ in range(num)]
    return sorted(sorted(range(num), key=draws.__getitem__)[:wanted])


def none_taken(source: Source, num: int) -> str:
    """What to say where a source's weight leaves nothing of it."""
    return say(
        "{path}: with weight {weight} none of its examples is taken (it has {num}). Raise the weight.",
        "{path}：权重 {weight} 下一个样例也没有取（共 {num} 个）。请提高权重。",
        path=source.path,
        weight=source.weight,
        num=num,
    )
