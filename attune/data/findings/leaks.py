"""Held-out rows whose prompt is in the training data too, exactly or nearly: they measure memory.

A near leak is a prompt that is similar to a training prompt at 0.8 in what is its own: what is a template's
does not count (``near.Neighbours``), so that two texts under one long instruction are no leak of each other.

Above 5 % exact leaks stop a training. Near ones do from 90 % on, where the held-out file is a copy with a few
words changed: of sets that many people use, 56 % (phrases of SST-2) and 22 % (a demo of tool calls) of the
prompts that a split by prompt holds out are nearly in training.
"""

# ruff: noqa: E501 (a sentence holds both languages in one line)
from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from ...recipe.messages import say
from ..duplicates import Places, column, fingerprint, named, plain
from ..examples import Example, Labelled, prompt_key
from ..near import Neighbours, Sample
from ._finding import SHOWN_ROWS, Context, Fact, Finding, Row, Seen, Tally
from ._symptom import Symptom, Symptoms, meanings

KINDS = ("text", "conversation", "preference", "verdict", "prompt", "labelled")
_SYMPTOMS = {
    "leak_into_held_out": Symptom(
        "the prompt of a held-out row is in the training data too: its score says how well it was learnt by heart. | "
        "留出行的提示也在训练数据中：其得分反映的是死记硬背。",
        "Take them out of one side, or split by prompt: attune split FILE --output DIR | "
        "请从一侧去除，或按提示划分：attune split 文件 --output 目录",
        warning_from=0.0,
        stop_from=0.05,
    ),
    "near_leak_into_held_out": Symptom(
        "the prompt of a held-out row is nearly that of a training row. | 留出行的提示与某训练行几乎相同。",
        "Keep what is alike on one side: attune split FILE --near --output DIR | "
        "请让相似的行在同一侧：attune split 文件 --near --output 目录",
        warning_from=0.0,
        stop_from=0.9,
    ),
}
NAMES = meanings(_SYMPTOMS)

_FEW = 3
"""Fewer near leaks than that stop nobody: of ten held-out rows one is above any share."""


class Detector:
    """Holds 12 bytes a row, and 256 more for each row of the samples of the two sides."""

    def __init__(self, context: Context) -> None:
        self._symptoms = Symptoms(_SYMPTOMS)
        self._seed = context.seed
        self._sides = (_Side(context), _Side(context))

    def see(self, seen: Seen) -> None:
        self._sides[seen.is_held_out].add(seen)

    def findings(self) -> Iterator[Finding]:
        train, held_out = self._sides
        if not len(train.places) or not len(held_out.places):
            return
        exact = self._exact()
        if exact:
            yield self._finding("leak_into_held_out", exact, len(held_out.places), "")
        near, num_seen, detail = self._near(exact)
        if near:
            finding = self._finding("near_leak_into_held_out", near, num_seen, detail)
            yield replace(finding, level="warning") if len(near) < _FEW else finding

    def facts(self) -> Iterable[Fact]:
        return ()

    def _exact(self) -> dict[int, tuple[int, float]]:
        """Held-out rows with the first training row of the same prompt."""
        train, held_out = (column(side.prompts) for side in self._sides)
        prompts, first = np.unique(train, return_index=True)
        place = np.minimum(np.searchsorted(prompts, held_out), len(prompts) - 1)
        leaked = np.flatnonzero(prompts[place] == held_out)
        return {int(row): (int(first[place[row]]), 1.0) for row in leaked}

    def _near(self, exact: dict[int, tuple[int, float]]) -> tuple[dict[int, tuple[int, float]], int, str]:
        """Held-out rows with the training row that is most like them; how many were looked at; a sentence about
        that.
        """
        (train, ours), (held_out, theirs) = (side.sample.taken() for side in self._sides)
        theirs[np.isin(held_out, list(exact))] = 0
        signatures = np.concatenate([ours, theirs])
        found: dict[int, tuple[int, float]] = {}
        for match in Neighbours(signatures, own_only=True).across(len(ours)):
            row = int(held_out[match.row - len(ours)])
            if match.similarity > found.get(row, (0, 0.0))[1]:
                found[row] = int(train[match.like]), match.similarity
        return dict(sorted(found.items())), len(held_out), self._sampled(len(train), len(held_out))

    def _sampled(self, num_train: int, num_held_out: int) -> str:
        if (num_train, num_held_out) == tuple(len(side.places) for side in self._sides):
            return ""
        return say(
            " Compared were {held_out:,} held-out rows with {train:,} training rows, chosen by prompt with seed {seed}; "
            "among all there are more.",
            "仅比较了 {held_out:,} 个留出行与 {train:,} 个训练行（按提示以种子 {seed} 抽取）；全部数据中会更多。",
            held_out=num_held_out,
            train=num_train,
            seed=self._seed,
        )

    def _finding(self, name: str, found: dict[int, tuple[int, float]], total: int, detail: str) -> Finding:
        shown = [self._row(row, like, share) for row, (like, share) in list(found.items())[:SHOWN_ROWS]]
        return self._symptoms.finding(name, Tally(len(found), shown), total, detail)

    def _row(self, row: int, like: int, share: float) -> Row:
        train, held_out = self._sides
        origin = held_out.places[row]
        place = named(train.places[like], origin)
        if share == 1:
            return Row(origin, say("as in {place}", "同{place}", place=place))
        return Row(
            origin, say("{share:.0%} as in {place}", "{share:.0%} 同{place}", share=share, place=place)
        )


class _Side:
    """The prompts of the training rows, or of the held-out ones."""

    def __init__(self, context: Context) -> None:
        self.places = Places()
        self.prompts = array("Q")
        self.sample = Sample(context.sample)
        self._salt = fingerprint(str(context.seed))

    def add(self, seen: Seen) -> None:
        prompt = plain(prompt_key(seen.example))
        number = fingerprint(prompt)
        key = number ^ self._salt
        if self.sample.wants(key):
            self.sample.add(key, len(self.prompts), _written(seen.example, prompt))
        self.places.add(seen.origin)
        self.prompts.append(number)


def _written(example: Example, prompt: str) -> str:
    """The path of an image is no text: two of them are always alike."""
    return "" if isinstance(example, Labelled) and example.image is not None else prompt
