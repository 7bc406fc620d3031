"""Pairs that teach something else than what is better: length, a word, a margin of the wrong sign."""

# ruff: noqa: E501 (a sentence holds both languages in one line)
from __future__ import annotations

from array import array
from collections.abc import Iterable
from math import inf

import numpy as np
from numpy.typing import NDArray

from ...recipe.messages import say
from ..examples import Messages, Preference
from ._finding import Context, Fact, Finding, Seen, Table, Tally, excerpt
from ._refusal import refusal
from ._symptom import Symptom, Symptoms, meanings

KINDS = ("preference",)
_LENGTH_CURE = (
    "A model learns length from such pairs, not what is better: add pairs of equal length, or use a loss that takes length out "
    "(SimPO, or DPO with length normalisation). | "
    "模型从中学到的是长度而非好坏：请加入长度相近的对，或用消除长度影响的损失（SimPO，或带长度归一化的 DPO）。"
)
_SYMPTOMS = {
    "chosen_always_longer": Symptom(
        "the chosen answer is the longer one. | 选中的回答更长。", _LENGTH_CURE, 0.9, 0.99
    ),
    "rejected_always_longer": Symptom(
        "the rejected answer is the longer one. | 被拒的回答更长。", _LENGTH_CURE, 0.9, 0.99
    ),
    "nearly_equal_answers": Symptom(
        "chosen and rejected differ in next to nothing (case, spaces, a few letters). | "
        "选中与被拒的回答几乎相同（仅大小写、空格或几个字之差）。",
        "Right where that difference matters (a number in a solution); else take the pairs out. | "
        "若差异确有意义（如解题中的数字）则无妨；否则请删除。",
        warning_from=0.01,
    ),
    "chosen_refuses": Symptom(
        "the chosen answer refuses and the rejected one does not. | 选中的回答是拒绝，而被拒的不是。",
        "Wanted for harmful requests; else look whether the columns are swapped. | 对有害请求属正常；否则请检查两列是否颠倒。",
        warning_from=0.5,
    ),
    "negative_margin": Symptom(
        "the rejected answer has the better score. | 被拒的回答得分更高。",
        "Swap chosen and rejected in these rows, or take them out. | 请在这些行中交换 chosen 与 rejected，或删除。",
        warning_from=0,
        stop_from=0.5,
    ),
    "some_margins": Symptom(
        "there is no score, while others have one. | 没有分数，而其他行有。",
        "Objectives that use the margin take these rows as equally certain; add the scores or leave out the column. | "
        "使用分差的目标会把这些行当作同等确定；请补全分数或去掉该列。",
        warning_from=inf,
    ),
}
NAMES = meanings(_SYMPTOMS)
_FEWEST = 20
_LONG = 100
"""Characters below which a letter may be all the difference."""


class Detector:
    """Lengths are those of the assistant's turns, in characters: four bytes an answer are kept."""

    def __init__(self, context: Context) -> None:
        self._symptoms = Symptoms(_SYMPTOMS)
        self._chosen, self._rejected = array("i"), array("i")
        self._longer = {"chosen_always_longer": Tally(), "rejected_always_longer": Tally()}
        self._no_margin, self._num_margins = Tally(), 0

    def see(self, seen: Seen) -> None:
        pair = seen.example
        assert isinstance(pair, Preference)
        chosen, rejected = _said(pair.chosen), _said(pair.rejected)
        self._chosen.append(len(chosen))
        self._rejected.append(len(rejected))
        if len(chosen) != len(rejected):
            name = "chosen_always_longer" if len(chosen) > len(rejected) else "rejected_always_longer"
            self._longer[name].add(seen.origin, _lengths(len(chosen), len(rejected)))
        hits = []
        if _nearly_equal(chosen, rejected):
            hits.append(("nearly_equal_answers", _difference(chosen, rejected)))
        if (span := refusal(chosen)) and not refusal(rejected):
            hits.append(("chosen_refuses", excerpt(chosen, *span)))
        if pair.margin is None:
            self._no_margin.add(seen.origin, excerpt(chosen, 0, 40))
        else:
            self._num_margins += 1
            if pair.margin < 0:
                hits.append(("negative_margin", f"{pair.margin:g}"))
        self._symptoms.row(seen.origin, hits)

    def findings(self) -> Iterable[Finding]:
        total = self._symptoms.total
        for name, tally in self._longer.items():
            if total >= _FEWEST and tally.num >= _SYMPTOMS[name].warning_from * total:
                yield self._symptoms.finding(name, tally, total)
        yield from self._symptoms.findings()
        if self._num_margins and self._no_margin.num:
            yield self._symptoms.finding("some_margins", self._no_margin, total)

    def facts(self) -> Iterable[Fact]:
        if not self._chosen:
            return
        sides = (
            (say("chosen", "选中"), np.asarray(self._chosen)),
            (say("rejected", "被拒"), np.asarray(self._rejected)),
        )
        columns = (
            "",
            say("mean", "均值"),
            say("median", "中位数"),
            say("longest", "最长"),
            say("longer in", "更长的比例"),
        )
        tallies = self._longer.values()
        rows = tuple(
            (name, *_summary(lengths), f"{tally.num / len(lengths):.1%}")
            for (name, lengths), tally in zip(sides, tallies, strict=True)
        )
        yield Table(say("Answers in characters", "回答字符数"), columns, rows)


def _said(messages: Messages) -> str:
    return "\n".join(turn.content for turn in messages if turn.role == "assistant")


def _lengths(chosen: int, rejected: int) -> str:
    return say("{a:,} against {b:,} characters", "{a:,} 对 {b:,} 个字符", a=chosen, b=rejected)


def _nearly_equal(one: str, other: str) -> bool:
    """All but a fiftieth stands in both, at the beginning and the end; or they differ in case and spaces only."""
    if "".join(one.split()).casefold() == "".join(other.split()).casefold():
        return True
    longest, shortest = max(len(one), len(other)), min(len(one), len(other))
    return 50 * shortest >= 49 * longest >= 49 * _LONG and 50 * sum(_same_ends(one, other)) >= 49 * longest


def _same_ends(one: str, other: str) -> tuple[int, int]:
    """Letters that both begin with, and letters of the rest that both end with."""
    start = _same_start(one, other)
    return start, _same_start(one[start:][::-1], other[start:][::-1])


def _same_start(one: str, other: str) -> int:
    shorter = min(len(one), len(other))
    return next((at for at in range(shorter) if one[at] != other[at]), shorter)


def _difference(one: str, other: str) -> str:
    start, end = _same_ends(one, other)
    pieces = (repr(text[start : len(text) - end][:24]) for text in (one, other))
    return " / ".join(pieces)


def _summary(lengths: NDArray[np.int32]) -> tuple[int, int, int]:
    return round(float(lengths.mean())), round(float(np.median(lengths))), int(lengths.max())
