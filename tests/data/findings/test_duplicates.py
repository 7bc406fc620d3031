"""Repeated rows: exact ones, near ones, and prompts with several answers."""

from __future__ import annotations

import random
from types import ModuleType

import pytest

from attune.data.examples import Conversation, Example, Labelled, Message, Origin, Text
from attune.data.findings import duplicates
from attune.data.findings._finding import Context, Finding, Seen
from attune.data.findings.contract import DetectorContract

WORDS = [f"w{number}x" for number in range(400)]


def written(seed: int, length: int = 40) -> str:
    chance = random.Random(seed)
    return " ".join(chance.choice(WORDS) for _ in range(length))


def asked(prompt: str, answer: str) -> Conversation:
    return Conversation((Message("user", prompt), Message("assistant", answer)))


def seen(examples: list[Example], path: str = "a.jsonl") -> list[Seen]:
    return [Seen(example, Origin(path, row)) for row, example in enumerate(examples, start=1)]


def found(rows: list[Seen], **context: object) -> dict[str, Finding]:
    detector = duplicates.Detector(Context("conversation", **context))  # type: ignore[arg-type]
    for row in rows:
        detector.see(row)
    return {finding.name: finding for finding in detector.findings()}


def told(finding: Finding) -> list[tuple[int, str]]:
    return [(row.origin.row, row.excerpt) for row in finding.rows]


CLEAN: list[Example] = [asked(written(number), written(1000 + number)) for number in range(200)]


class TestDuplicates(DetectorContract):
    @pytest.fixture
    def detector_module(self) -> ModuleType:
        return duplicates

    @pytest.fixture
    def seen(self) -> list[Seen]:
        near = asked(written(4), written(1004) + " end")
        other = asked(written(5), written(77))
        return seen([*CLEAN, CLEAN[3], near, other, CLEAN[3]])


def test_clean_data_is_silent() -> None:
    assert found(seen(CLEAN)) == {}


def test_exact_repeats_with_their_first_row() -> None:
    spaced = asked(f" {written(2)}\n", written(1002).replace(" ", "  "))
    finding = found(seen([*CLEAN, CLEAN[4], spaced, CLEAN[4]]))["duplicates"]
    assert (finding.num, finding.total, finding.level) == (3, 203, "warning")
    assert told(finding) == [(201, "as in row 5"), (202, "as in row 3"), (203, "as in row 5")]
    assert finding.text == (
        "3 of 203 rows (1.48%): the same prompt and answer as in an earlier row: learnt so much more often. "
        "Groups: 2; rows of the largest: 3, 2."
    )
    assert "attune dedup" in finding.cure


def test_one_repeat_among_many_is_only_good_to_know() -> None:
    assert found(seen([*CLEAN, CLEAN[4]]))["duplicates"].level == "info"


def test_a_repeat_in_another_file_names_it() -> None:
    rows = [*seen(CLEAN[:3], "a.jsonl"), *seen(CLEAN[2:4], "b.jsonl")]
    assert told(found(rows)["duplicates"]) == [(1, "as in row 3 of a.jsonl")]


def test_a_row_that_is_taken_twice_by_its_weight_repeats_nothing() -> None:
    assert found([*seen(CLEAN[:5]), *seen(CLEAN[:5])]) == {}


def test_near_repeats_are_no_exact_ones() -> None:
    near = asked(written(6), written(1006) + " and more")
    finding = found(seen([*CLEAN, CLEAN[6], near]))["near_duplicates"]
    assert (finding.num, finding.total) == (1, 202)
    ((row, excerpt),) = told(finding)
    assert row == 202
    assert excerpt.endswith("% as in row 7")


def test_a_large_group_hides_no_other() -> None:
    """Of a template with 30 rows and of two pairs one row each is shown."""
    template = [asked(f"{written(500, 60)} {number} {number}", written(501)) for number in range(30)]
    pairs = [asked(written(number), written(1000 + number) + " end") for number in (8, 9)]
    finding = found(seen([*CLEAN, *template, *pairs]))["near_duplicates"]
    assert (finding.num, finding.level) == (31, "warning")
    assert [row.origin.row for row in finding.rows] == [202, 231, 232]
    assert "Groups: 3; rows of the largest: 30, 2, 2." in finding.text


def test_other_labels_are_no_near_repeats() -> None:
    rows = seen([Labelled("good", text=written(1)), Labelled("bad", text=written(1) + " end")])
    assert found(rows) == {}
    rows = seen([Labelled("good", text=written(1)), Labelled("good", text=written(1) + " end")])
    assert list(found(rows)) == ["near_duplicates"]


def test_several_long_answers_to_one_prompt_are_normal() -> None:
    again = [asked(written(9), written(seed)) for seed in (60, 61)]
    finding = found(seen([*CLEAN, *again]))["repeated_prompts"]
    assert (finding.num, finding.level) == (2, "info")
    assert told(finding) == [(201, "as in row 10"), (202, "as in row 10")]


def test_short_answers_are_left_to_contradictions() -> None:
    assert found(seen([asked("Is it?", "yes"), asked("Is it?", "no")])) == {}


def test_held_out_rows_are_left_to_leaks() -> None:
    assert found([*seen(CLEAN), Seen(CLEAN[0], Origin("b.jsonl", 1), is_held_out=True)]) == {}


def test_a_sample_is_said() -> None:
    """A fifth of the prompts is compared; the same ones each time, others with another seed."""
    texts: list[Example] = [Text(written(number)) for number in range(50)]
    rows = seen([*texts, *(Text(written(number) + " end") for number in range(50))])
    finding = found(rows, sample=60, seed=7)["near_duplicates"]
    assert (finding.total, found(rows)["near_duplicates"].num) == (60, 50)
    assert finding.text.endswith(
        "Looked at were 60 of 100 rows, chosen by prompt with seed 7; among all there are more."
    )
    assert found(rows, sample=60, seed=7)["near_duplicates"] == finding
    assert found(rows, sample=60, seed=8)["near_duplicates"].rows != finding.rows
