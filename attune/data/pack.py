"""Which examples make a step, and how a step's examples are packed into rows of limited size.

Both are pure functions of the seed and the numbers, so that a resumed run needs nothing but its step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from .cache import Store
from .layout import Batch, lay


@lru_cache(maxsize=2)
def order(num_examples: int, epoch: int, seed: int) -> tuple[int, ...]:
    """The shuffled examples of an epoch; depends on the three numbers only, on every platform."""
    generator = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    return tuple(generator.permutation(num_examples).tolist())


def steps_per_epoch(num_examples: int, global_batch_size: int) -> int:
    """The last step of an epoch takes what is left."""
    return math.ceil(num_examples / global_batch_size)


def step_examples(step: int, num_examples: int, global_batch_size: int, seed: int) -> list[int]:
    """The examples of step ``step`` (from 0). Epochs do not mix within a step."""
    epoch, place = divmod(step, steps_per_epoch(num_examples, global_batch_size))
    start = place * global_batch_size
    return list(order(num_examples, epoch, seed)[start : start + global_batch_size])


def packs(
    examples: Sequence[int],
    lengths: Sequence[int],
    micro_tokens: int,
    num_parts: int = 1,
    *,
    padded: bool = False,
) -> list[list[int]]:
    """Splits a step's examples into rows of at most ``micro_tokens`` tokens, the fewest that
    first-fit-decreasing finds, their number a multiple of ``num_parts`` where there are examples enough. An
    example that is longer than a row by itself makes its own row.

    ``lengths`` gives the tokens of each entry of ``examples``. The order of equal lengths is the given one.
    With ``padded`` every example of a row costs as much as its longest, which is its first.
    """
    by_length = sorted(range(len(examples)), key=lambda place: -lengths[place])
    rows: list[list[int]] = []
    room: list[int] = []
    for place in by_length:
        length = lengths[place]
        costs = [lengths[row[0]] if padded else length for row in rows]
        fit = next((row for row, left in enumerate(room) if left >= costs[row]), None)
        if fit is None:
            rows.append([])
            room.append(micro_tokens)
            fit = len(rows) - 1
        rows[fit].append(place)
        room[fit] -= lengths[rows[fit][0]] if padded else length
    while len(rows) % num_parts and any(len(row) > 1 for row in rows):
        # Processes take rows in turn; the heaviest row that can be split gives its lighter half away.
        heaviest = max(
            (row for row in rows if len(row) > 1), key=lambda row: sum(lengths[place] for place in row)
        )
        rows.append(heaviest[1::2])
        heaviest[:] = heaviest[0::2]
    return [[examples[place] for place in row] for row in rows]


def batch(store: Store, indices: Sequence[int]) -> Batch:
    """The examples of one row, laid."""
    return lay([(index, store[index]) for index in indices])
