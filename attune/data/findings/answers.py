"""Answers as a whole: cut off before their end, one and the same for many rows, refusals."""

# ruff: noqa: E501 (a sentence holds both languages in one line)
from __future__ import annotations

import re
from collections.abc import Iterable
from math import inf

from ...recipe.messages import say
from ..examples import Example, Preference, outputs_of
from ._finding import SHOWN_ROWS, Context, Fact, Finding, Row, Seen, Tally, excerpt
from ._refusal import refusal
from ._symptom import Symptom, Symptoms, meanings

KINDS = ("conversation", "preference", "verdict")
_SYMPTOMS = {
    "answer_seems_cut": Symptom(
        "the answer breaks off before its end. | 回答未写完即中断。",
        "Complete the answers or take the rows out (often they were generated with too low a limit of tokens). | "
        "请补全回答或删除这些行（常因生成时的 token 上限过低）。",
        warning_from=0.01,
    ),
    "refusals": Symptom(
        "the answer refuses or begins with “As an AI language model”. | 回答是拒绝，或以“作为AI语言模型”开头。",
        "Wanted? Then nothing needs doing; else take the rows out. | 若是有意为之则无需处理；否则请删除这些行。",
        warning_from=inf,
    ),
    "identical_answers": Symptom(
        "the answer is one and the same text. | 回答是同一段文字。",
        "Look whether the answer's column was filled by mistake; else take most of these rows out. | "
        "请检查回答列是否填错；否则请删除其中大部分行。",
        warning_from=0.3,
        stop_from=0.95,
    ),
}
NAMES = meanings(_SYMPTOMS)

_SHORT = 60
"""Letters up to which an answer may end as it likes; a Chinese sign counts as three."""
_BREAKS_OFF = re.compile(
    r"(?:\b(?:the|a|an|of|and|or|such as|because|your|their|its|his)|[,、，；(（\[“‘]|和|与|以及|并且|因为|例如|比如)\Z"
)
_LINE = 20
"""Letters of a last line below which it may be the “Best,” of a letter."""
_PROSE = 80
"""Letters of a last line from which on it is a sentence, which ends with a sign."""
_NO_PROSE = re.compile(r"[#{}=<>|/\\;→–—]|\d\.|, \w+(?: \w+)?, |- [A-Z]")
_UNFINISHED_AT_MOST = 0.05
"""A greater share of last lines without a sign is a habit of the data, no damage."""
_CANDIDATES = 1000
_FEWEST = 20
_CLASSES = 20
"""Different answers up to which the answers are labels, of which one may well be frequent."""


class Detector:
    def __init__(self, context: Context) -> None:
        self._symptoms = Symptoms(_SYMPTOMS)
        self._ends = _Ends()
        self._same = _Frequent()

    def see(self, seen: Seen) -> None:
        answers = _learnt(seen.example)
        self._symptoms.row(
            seen.origin,
            (("refusals", excerpt(text, *span)) for text in answers if (span := refusal(text))),
        )
        if answers:
            self._ends.see(seen, answers[-1])
            self._same.see(seen, answers[-1])

    def findings(self) -> Iterable[Finding]:
        yield from self._symptoms.findings()
        if (cut := self._ends.tally()).num:
            yield self._symptoms.finding("answer_seems_cut", cut, self._symptoms.total)
        same, total = self._same.tally(), self._symptoms.total
        share = same.num / max(1, total)
        is_label = self._same.num_different <= _CLASSES and share < _SYMPTOMS["identical_answers"].stop_from
        if total >= _FEWEST and not is_label and share >= _SYMPTOMS["identical_answers"].warning_from:
            yield self._symptoms.finding("identical_answers", same, total)

    def facts(self) -> Iterable[Fact]:
        return ()


def _learnt(example: Example) -> list[str]:
    """The answers that the model is to give."""
    if isinstance(example, Preference):
        return [turn.content for turn in example.chosen if turn.role == "assistant" and turn.content]
    return outputs_of(example)


class _Ends:
    """Answers that break off: surely (after “and”, in a list of code), or likely (a long last line without a
    sign at its end, where nearly all others have one).
    """

    def __init__(self) -> None:
        self._surely, self._maybe = Tally(), Tally()
        self._num_prose = self._num_unfinished = 0

    def see(self, seen: Seen, answer: str) -> None:
        text = answer.rstrip()
        end = text[-200:]
        if len(text) * (1 if end.isascii() else 3) < _SHORT:
            return
        last = end.rpartition("\n")[2]
        if text.count("```") % 2:
            piece = say("code block not closed: {end}", "代码块未闭合：{end}", end=_tail(end))
        elif len(last) >= _LINE and _BREAKS_OFF.search(last, max(0, len(last) - 12)):
            piece = _tail(end)
        elif len(last) * (1 if last.isascii() else 2) >= _PROSE:
            self._num_prose += 1
            if last[-1].isalpha() and _is_sentence(last):
                self._num_unfinished += 1
                self._maybe.add(seen.origin, _tail(end))
            return
        else:
            return
        self._surely.add(seen.origin, piece)
        self._maybe.add(seen.origin, piece)

    def tally(self) -> Tally:
        is_habit = self._num_unfinished > _UNFINISHED_AT_MOST * self._num_prose
        return self._surely if is_habit else self._maybe


def _is_sentence(line: str) -> bool:
    """Whether the end of a line is prose: no hashtags, no code or link, no list, no name under a quotation."""
    last = re.split(r"[.!?] |[。！？]", line)[-1]
    if _NO_PROSE.search(last):
        return False
    if not last.isascii():
        return len(last) >= 10
    words = last.split()
    lower = sum(map(str.islower, words))
    return len(words) >= 6 and 3 * lower >= 2 * len(words)


def _tail(text: str) -> str:
    return "…" + " ".join(text[-40:].split())


class _Frequent:
    """The most frequent answer in bounded memory (Misra and Gries, 1982): a count may fall short by one in a
    thousand of the rows, never exceed.
    """

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._first: dict[int, Tally] = {}
        self._is_full = False

    def see(self, seen: Seen, answer: str) -> None:
        key = hash(answer)
        if key in self._counts:
            self._counts[key] += 1
            if len(self._first[key].rows) < SHOWN_ROWS:
                self._first[key].add(seen.origin, excerpt(answer, 0, 60))
        elif len(self._counts) < _CANDIDATES:
            self._counts[key] = 1
            self._first[key] = Tally(1, [Row(seen.origin, excerpt(answer, 0, 60))])
        else:
            self._is_full = True
            self._counts = {known: num - 1 for known, num in self._counts.items() if num > 1}
            self._first = {known: self._first[known] for known in self._counts}

    @property
    def num_different(self) -> int:
        return _CANDIDATES + 1 if self._is_full else len(self._counts)

    def tally(self) -> Tally:
        if not self._counts:
            return Tally()
        key = max(self._counts, key=self._counts.__getitem__)
        return Tally(self._counts[key], self._first[key].rows)
