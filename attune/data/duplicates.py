"""Exact duplicates: what an example asks and what it answers as numbers, and which numbers occur again.

Two rows are the same where question and answer are, after NFC and with any white space counted as one space.
What is held of a row are hashes (8 bytes of BLAKE2) and its place in 4 bytes, so that millions of rows fit in
memory; which of them repeat is found by one sort at the end.

What each kind asks and answers, so that a question with two answers is a contradiction:

- conversation: the turns before the first answer, system message included; the rest;
- labelled: text, pair and the image's content; the label;
- verdict: prompt and answer; whether it is good;
- preference: prompt and the answers in any order; their order;
- prompt: the turns; the reference;
- text: the text; nothing.
"""

from __future__ import annotations

import json
import unicodedata
from array import array
from bisect import bisect_right
from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from ..recipe.messages import say
from .examples import (
    Conversation,
    Example,
    Labelled,
    Message,
    Origin,
    Preference,
    Prompt,
    Text,
    Verdict,
    answers_of,
    image_key,
    prompt_of,
)

Indices = npt.NDArray[np.intp]
_CLOSED_WIDTH = 24
_CLOSED_WORDS = 4


def plain(text: str) -> str:
    """NFC, and any white space as one space: what exact comparisons look at."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def fingerprint(*parts: str) -> int:
    """8 bytes of a hash, the same on every machine; parts do not run into each other."""
    joined = "\x1e".join(parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(joined, digest_size=8).digest(), "big")


def question_of(example: Example) -> list[str]:
    """What is asked, in parts that are ``plain``."""
    if isinstance(example, Text):
        return [plain(example.text)]
    if isinstance(example, Labelled):
        return [plain(part or "") for part in (example.text, example.pair, image_key(example))]
    asked = _turns(prompt_of(example))
    if isinstance(example, Verdict):
        return [*asked, "", *_turns(example.answer)]
    if isinstance(example, Preference):
        return [*asked, "", *sorted("\x1f".join(_turns(answer)) for answer in example.answers)]
    return asked


def answer_of(example: Example) -> list[str]:
    """What is answered to it, in parts that are ``plain``; none for a text."""
    if isinstance(example, Labelled):
        label = example.label
        return sorted(label) if isinstance(label, tuple) else [plain(str(label))]
    if isinstance(example, Verdict):
        return [str(example.is_good)]
    if isinstance(example, Preference):
        return ["\x1f".join(_turns(answer)) for answer in example.answers]
    if isinstance(example, Prompt):
        return [plain(example.reference or "")]
    return [part for answer in answers_of(example) for part in _turns(answer)]


def closed_answer_of(example: Example) -> str | None:
    """The answer where two different ones cannot both be right, without case and punctuation; else None.

    Labels, verdicts and orders are closed. A written answer is where it is the only turn and short: at most 4
    words and 24 columns (12 Chinese signs).
    """
    if isinstance(example, Labelled | Verdict | Preference):
        return "\x1e".join(answer_of(example))
    written = ""
    if isinstance(example, Conversation) and len(example.messages) == len(prompt_of(example)) + 1:
        written = example.messages[-1].content
    elif isinstance(example, Prompt):
        written = example.reference or ""
    if len(written) > 4 * _CLOSED_WIDTH:
        return None
    words = "".join(sign if sign.isalnum() or sign in "+-./%" else " " for sign in written).casefold().split()
    loose = " ".join(word for word in (word.rstrip(".-/") for word in words) if word)
    width = len(loose) + sum(unicodedata.east_asian_width(sign) in "WF" for sign in loose)
    return loose if 0 < width <= _CLOSED_WIDTH and len(words) <= _CLOSED_WORDS else None


def closed_number(example: Example) -> int:
    """A number of its closed answer, in 4 bytes; 0 for an open one."""
    answer = closed_answer_of(example)
    return 0 if answer is None else fingerprint(answer) % (2**32 - 1) + 1


def whole_text(example: Example) -> str:
    """All that is written in it but system messages: what near duplicates are compared by."""
    if isinstance(example, Text):
        return example.text
    if isinstance(example, Labelled):
        return "\n".join(part for part in (example.text, example.pair) if part)
    turns = [*prompt_of(example), *(turn for answer in answers_of(example) for turn in answer)]
    return "\n".join(_said(turn) for turn in turns if turn.role != "system")


class Places:
    """Where examples come from, in 4 bytes an example; a path is held once for each run of its rows."""

    def __init__(self) -> None:
        self._rows = array("I")
        self._starts: list[int] = []
        self._paths: list[str] = []

    def add(self, origin: Origin) -> None:
        if not self._paths or self._paths[-1] != origin.path:
            self._starts.append(len(self._rows))
            self._paths.append(origin.path)
        self._rows.append(origin.row)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Origin:
        """Of the example that was added as number ``index``, counted from 0."""
        return Origin(self._paths[bisect_right(self._starts, index) - 1], self._rows[index])


def named(origin: Origin, beside: Origin) -> str:
    """``row 3``; with its file where ``beside`` is of another one."""
    if origin.path == beside.path:
        return say("row {row}", "第 {row} 行", row=origin.row)
    return say("row {row} of {path}", "{path} 第 {row} 行", row=origin.row, path=origin.path)


def column(numbers: Iterable[int]) -> npt.NDArray[np.uint64]:
    """Fingerprints as an array; one in ``array("Q")`` is not copied."""
    if isinstance(numbers, array):
        return np.frombuffer(numbers, np.uint64) if numbers else np.empty(0, np.uint64)
    return np.fromiter(numbers, np.uint64)


def repeats(*columns: npt.NDArray[np.uint64]) -> tuple[Indices, Indices]:
    """``(again, first)``: the rows that equal an earlier one in all columns, ascending, and for each the
    first that it equals.
    """
    order, is_new = _runs(*columns)
    first = order[np.maximum.accumulate(np.where(is_new, np.arange(len(order)), 0))]
    again, first = order[~is_new], first[~is_new]
    ascending = np.argsort(again)
    return again[ascending], first[ascending]


def disagreements(
    questions: npt.NDArray[np.uint64], answers: npt.NDArray[np.uint64]
) -> tuple[Indices, Indices, int]:
    """``(rows, other, num)``: the rows whose question also has another answer, ascending; for each the first
    row of its question with another answer; and how many questions that are.
    """
    order, is_new = _runs(questions, answers)
    if not len(order):
        return order, order, 0
    asked = questions[order]
    starts = np.flatnonzero(np.concatenate([[True], asked[1:] != asked[:-1]]))
    question = np.repeat(np.arange(len(starts)), np.diff([*starts, len(order)]))
    is_split = np.add.reduceat(is_new, starts, dtype=np.intp) > 1
    # Of each question the answer of its first row, and the first row that has another one.
    first = np.minimum.reduceat(order, starts)
    is_other = answers[order] != answers[first][question]
    another = np.minimum.reduceat(np.where(is_other, order, len(order)), starts)
    chosen = is_split[question]
    rows, other = order[chosen], np.where(is_other, first[question], another[question])[chosen]
    ascending = np.argsort(rows)
    return rows[ascending], other[ascending], int(is_split.sum())


def _runs(*columns: npt.NDArray[np.uint64]) -> tuple[Indices, npt.NDArray[np.bool_]]:
    """The rows sorted by all columns, equal ones in their order, and which of them begin a run of equals."""
    order = np.lexsort(columns[::-1])
    is_new = np.ones(len(order), bool)
    if len(order):
        is_new[1:] = False
        for values in columns:
            is_new[1:] |= values[order[1:]] != values[order[:-1]]
    return order, is_new


def _turns(turns: Iterable[Message]) -> list[str]:
    return [f"{turn.role}\x1f{plain(_said(turn))}" for turn in turns]


def _said(turn: Message) -> str:
    """What a turn says, calls of tools included."""
    if not turn.extra:
        return turn.content
    return turn.content + json.dumps(turn.extra, ensure_ascii=False, sort_keys=True, default=str)
