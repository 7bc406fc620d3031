"""Training rows that stand there more than once, exactly or nearly; prompts that are answered in several ways."""

# ruff: noqa: E501 (a sentence holds both languages in one line)
from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from math import inf

from ...recipe.messages import join, say
from ..duplicates import (
    Places,
    answer_of,
    closed_number,
    column,
    fingerprint,
    named,
    question_of,
    repeats,
    whole_text,
)
from ..examples import Conversation
from ..near import Match, Neighbours, Sample
from ._finding import SHOWN_ROWS, Context, Fact, Finding, Row, Seen, Tally
from ._symptom import Symptom, Symptoms, meanings

KINDS = ("text", "conversation", "preference", "verdict", "prompt", "labelled")
_SYMPTOMS = {
    "duplicates": Symptom(
        "the same prompt and answer as in an earlier row: learnt so much more often. | "
        "与前面某行的提示和回答都相同：会被多学几遍。",
        "Take them out: attune dedup FILE --output clean.jsonl | 去除：attune dedup 文件 --output clean.jsonl",
        warning_from=0.01,
    ),
    "near_duplicates": Symptom(
        "nearly the same as an earlier row (80 % of their pieces or more). | "
        "与前面某行几乎相同（80% 以上的片段相同）。",
        "Take them out, unless they are one template with other words in it that is meant: "
        "attune dedup FILE --near 0.8 --output clean.jsonl | "
        "若不是有意填入不同词语的同一模板，请去除：attune dedup 文件 --near 0.8 --output clean.jsonl",
        warning_from=0.05,
    ),
    "repeated_prompts": Symptom(
        "a prompt of an earlier row with another long answer. | 提示与前面某行相同，而（较长的）回答不同。",
        "Nothing to do where several answers are right; a held-out split keeps them on one side. | "
        "若多种回答都对，无需处理；划分留出集时它们在同一侧。",
        warning_from=inf,
    ),
}
NAMES = meanings(_SYMPTOMS)


class Detector:
    """Holds 24 bytes a row, and 256 more for each row of the sample."""

    def __init__(self, context: Context) -> None:
        self._seed, self._salt = context.seed, fingerprint(str(context.seed))
        self._symptoms = Symptoms(_SYMPTOMS)
        self._places = Places()
        self._rows = array("Q")
        self._prompts = array("Q")
        """Of conversations with open answers; 0 for all others."""
        self._answers = array("I")
        """Closed ones: rows that differ in them are no near duplicates; 0 for open ones."""
        self._sample = Sample(context.sample)

    def see(self, seen: Seen) -> None:
        if seen.is_held_out:  # what is in both is a leak
            return
        example = seen.example
        question, closed = fingerprint(*question_of(example)), closed_number(example)
        key = question ^ self._salt
        if self._sample.wants(key):
            self._sample.add(key, len(self._rows), whole_text(example))
        self._places.add(seen.origin)
        self._rows.append(fingerprint(str(question), *answer_of(example)))
        is_open = isinstance(example, Conversation) and not closed
        self._prompts.append(question if is_open else 0)
        self._answers.append(closed)

    def findings(self) -> Iterator[Finding]:
        yield from self._exact()
        yield from self._near()
        yield from self._repeated()

    def facts(self) -> Iterable[Fact]:
        return ()

    def _exact(self) -> Iterator[Finding]:
        found = [
            Match(row, like, 1.0)
            for row, like in _pairs(*repeats(column(self._rows)))
            if self._places[row] != self._places[like]  # a weight of 2 takes a row twice
        ]
        if found:
            yield self._finding("duplicates", found, found, len(self._rows), _groups(found))

    def _near(self) -> Iterator[Finding]:
        numbers, signatures = self._sample.taken()
        again, _ = repeats(column(self._rows[number] for number in numbers))
        answers = column(self._answers[number] for number in numbers)
        signatures[again] = 0  # an exact repeat is no near one: now it is like no other
        found = [
            Match(int(numbers[match.row]), int(numbers[match.like]), match.similarity)
            for match in Neighbours(signatures, answers=answers).leaders()
        ]
        if found:
            detail = _groups(found) + self._sampled(len(numbers))
            yield self._finding("near_duplicates", found, _one_a_group(found), len(numbers), detail)

    def _repeated(self) -> Iterator[Finding]:
        prompts = column(self._prompts)
        exact = set(repeats(prompts, column(self._rows))[0].tolist())
        found = [
            Match(row, like, 1.0)
            for row, like in _pairs(*repeats(prompts))
            if prompts[row] and row not in exact
        ]
        if found:
            yield self._finding("repeated_prompts", found, found, len(self._rows), "")

    def _finding(self, name: str, found: list[Match], shown: list[Match], total: int, detail: str) -> Finding:
        rows = [self._row(match) for match in shown[:SHOWN_ROWS]]
        return self._symptoms.finding(name, Tally(len(found), rows), total, detail)

    def _row(self, match: Match) -> Row:
        origin, like = self._places[match.row], self._places[match.like]
        place = named(like, origin)
        if match.similarity == 1:
            return Row(origin, say("as in {place}", "同{place}", place=place))
        return Row(
            origin,
            say("{share:.0%} as in {place}", "{share:.0%} 同{place}", share=match.similarity, place=place),
        )

    def _sampled(self, num: int) -> str:
        if num == self._sample.num_seen:
            return ""
        return say(
            " Looked at were {num:,} of {all:,} rows, chosen by prompt with seed {seed}; among all there are more.",
            "仅查看了 {all:,} 行中的 {num:,} 行（按提示以种子 {seed} 抽取）；全部数据中会更多。",
            num=num,
            all=self._sample.num_seen,
            seed=self._seed,
        )


def _pairs(again: Iterable[int], first: Iterable[int]) -> Iterator[tuple[int, int]]:
    return ((int(row), int(like)) for row, like in zip(again, first, strict=True))


def _sizes(found: list[Match]) -> Counter[int]:
    """The rows that are like each leader."""
    return Counter(match.like for match in found)


def _groups(found: list[Match]) -> str:
    sizes = sorted(_sizes(found).values(), reverse=True)
    return say(
        " Groups: {num:,}; rows of the largest: {sizes}.",
        "共 {num:,} 组，最大各组的行数：{sizes}。",
        num=len(sizes),
        sizes=join(f"{size + 1:,}" for size in sizes[:SHOWN_ROWS]),
    )


def _one_a_group(found: list[Match]) -> list[Match]:
    """Of each of the largest groups its first match, in the order of the rows: a large one hides no other."""
    sizes = _sizes(found)
    largest = sorted(sizes, key=lambda like: (-sizes[like], like))[:SHOWN_ROWS]
    first = {match.like: match for match in reversed(found)}
    return sorted(first[like] for like in largest)
