"""One question, two short answers."""

from __future__ import annotations

from types import ModuleType

import pytest

from attune.data.examples import Conversation, Example, Labelled, Message, Origin, Preference, Verdict
from attune.data.findings import contradictions
from attune.data.findings._finding import Context, Finding, Seen
from attune.data.findings.contract import DetectorContract

U = (Message("user", "Which?"),)
A, B = (Message("assistant", "This one is long."),), (Message("assistant", "That one."),)


def asked(prompt: str, answer: str, system: str | None = None) -> Conversation:
    first = (Message("system", system),) if system else ()
    return Conversation((*first, Message("user", prompt), Message("assistant", answer)))


def seen(examples: list[Example]) -> list[Seen]:
    return [Seen(example, Origin("a.jsonl", row)) for row, example in enumerate(examples, start=1)]


def found(examples: list[Example]) -> list[Finding]:
    detector = contradictions.Detector(Context("conversation"))
    for row in seen(examples):
        detector.see(row)
    return list(detector.findings())


class TestContradictions(DetectorContract):
    @pytest.fixture
    def detector_module(self) -> ModuleType:
        return contradictions

    @pytest.fixture
    def seen(self) -> list[Seen]:
        return seen([asked("Is it?", "yes"), asked("Was it?", "no"), asked("Is it?", "no")])


def test_rows_name_the_other_answer() -> None:
    rows = [asked("Is it?", "yes"), asked("Was it?", "no"), asked("Is  it?", "No."), asked("Is it?", "Yes!")]
    (finding,) = found([*rows, *(asked(f"Question {number}", "yes") for number in range(6))])
    assert (finding.name, finding.level, finding.num, finding.total) == (
        "contradictory_answers",
        "warning",
        3,
        10,
    )
    assert [(row.origin.row, row.excerpt) for row in finding.rows] == [
        (1, "another answer: row 3"),
        (3, "another answer: row 1"),
        (4, "another answer: row 3"),
    ]
    assert finding.text.endswith("one of them is wrong. Such questions: 1.")


@pytest.mark.parametrize(
    "pair",
    [
        [Labelled("good", text="a"), Labelled("bad", text="a")],
        [Labelled("good", image="a.png"), Labelled("bad", image="a.png")],
        [Verdict(U, A, True), Verdict(U, A, False)],
        [Preference(U, (A, B)), Preference(U, (B, A))],
    ],
)
def test_labels_verdicts_and_orders(pair: list[Example]) -> None:
    (finding,) = found(pair)
    assert finding.num == 2


@pytest.mark.parametrize(
    "pair",
    [
        [asked("Is it?", "yes"), asked("Is it?", "YES.")],
        [
            asked("Tell me", "One long story of many words"),
            asked("Tell me", "Another long story of many words"),
        ],
        [asked("Is it?", "yes", system="Be kind"), asked("Is it?", "no", system="Be strict")],
        [Labelled("good", text="a"), Labelled("bad", text="b")],
        [Verdict(U, A, True), Verdict(U, B, False)],
    ],
)
def test_what_is_no_contradiction(pair: list[Example]) -> None:
    assert found(pair) == []


def test_few_among_thousands_are_only_good_to_know() -> None:
    many: list[Example] = [asked(f"Question {number}", "yes") for number in range(3000)]
    (finding,) = found([*many, asked("Question 5", "no")])
    assert (finding.num, finding.level) == (2, "info")
