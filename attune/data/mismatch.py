"""Answers that belong to other prompts: what KTO measures its distance from the reference with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..recipe.errors import DataError
from ..recipe.messages import say
from .cache import Store
from .layout import Segments


def mismatched(store: Store, seed: int, max_length: int) -> Store:
    """The examples of ``store``, in order, each with the answer of another prompt; an answer that does not
    fit behind it is cut. Every answer is used once, and the same seed gives the same answers.

    Raises DataError where all examples have one prompt: then no answer is another prompt's.
    """
    partners = other_prompts(prompt_keys(store), seed).tolist()

    def crossed(mine: Segments, theirs: Segments) -> Segments:
        room = max(1, max_length - len(mine.prompt))
        ((ids, learn),) = theirs.branches
        return Segments(mine.prompt, ((ids[:room], learn[:room]),))

    pieces = (crossed(store[index], store[partner]) for index, partner in enumerate(partners))
    made = Store.build(pieces, [(int(file), int(row)) for file, row in store.origins])
    return Store(made.ids, made.learn, made.segments, made.examples, made.origins, store.files)


def prompt_keys(store: Store) -> list[bytes]:
    """A hash of each example's prompt: equal prompts have equal ones."""
    first = store.examples[:-1]
    spans = zip(store.segments[first].tolist(), store.segments[first + 1].tolist(), strict=True)
    return [hashlib.sha256(store.ids[start:end].tobytes()).digest() for start, end in spans]


def other_prompts(keys: Sequence[bytes], seed: int) -> NDArray[np.int64]:
    """For each example another one, ``[examples]``, a permutation. Examples of one prompt lie side by side,
    the prompts in an order drawn by the seed, and each takes the example that lies as many places further as
    the commonest prompt has examples: that is another prompt's, unless one prompt has more than half of all.
    """
    names, group_of, sizes = np.unique(np.array(keys), return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise DataError(
            say(
                "All {n} examples have the same prompt: KTO measures how far the policy has moved by answers "
                "to other prompts, and there are none. Give data with several prompts, or use "
                "objective.loss=apo_zero, which does without.",
                "全部 {n} 个样例的提示相同：KTO 需用其他提示的回答来估计策略的偏离，而这里没有。"
                "请提供含多个提示的数据，或改用不需要它的 objective.loss=apo_zero。",
                n=len(keys),
            )
        )
    generator = np.random.Generator(np.random.Philox(key=[seed, 0]))
    places = generator.permutation(len(names))
    order = np.argsort(places[group_of], kind="stable")
    partners = np.empty(len(keys), np.int64)
    partners[order] = np.roll(order, -int(sizes.max()))
    return partners
