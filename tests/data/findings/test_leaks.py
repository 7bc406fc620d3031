"""Held-out rows that training has seen."""

from __future__ import annotations

import random
from types import ModuleType

import pytest

from attune.data.examples import Conversation, Example, Labelled, Message, Origin
from attune.data.findings import leaks
from attune.data.findings._finding import Context, Finding, Seen
from attune.data.findings.contract import DetectorContract

WORDS = [f"w{number}x" for number in range(400)]


def written(seed: int, length: int = 40) -> str:
    chance = random.Random(seed)
    return " ".join(chance.choice(WORDS) for _ in range(length))


def asked(prompt: str, answer: str = "yes", system: str | None = None) -> Conversation:
    first = (Message("system", system),) if system else ()
    return Conversation((*first, Message("user", prompt), Message("assistant", answer)))


def seen(train: list[Example], held_out: list[Example]) -> list[Seen]:
    return [
        *(Seen(example, Origin("a.jsonl", row)) for row, example in enumerate(train, 1)),
        *(
            Seen(example, Origin("test.jsonl", row), is_held_out=True)
            for row, example in enumerate(held_out, 1)
        ),
    ]


def found(train: list[Example], held_out: list[Example], **context: object) -> dict[str, Finding]:
    detector = leaks.Detector(Context("conversation", **context))  # type: ignore[arg-type]
    for row in seen(train, held_out):
        detector.see(row)
    return {finding.name: finding for finding in detector.findings()}


TRAIN: list[Example] = [asked(written(number)) for number in range(100)]
HELD_OUT: list[Example] = [asked(written(1000 + number)) for number in range(40)]


class TestLeaks(DetectorContract):
    @pytest.fixture
    def detector_module(self) -> ModuleType:
        return leaks

    @pytest.fixture
    def seen(self) -> list[Seen]:
        return seen(TRAIN, [*HELD_OUT, TRAIN[3], asked(written(5) + " end")])


def test_two_sides_that_share_nothing_are_silent() -> None:
    assert found(TRAIN, HELD_OUT) == {}
    assert found(TRAIN, []) == {}
    assert found([], HELD_OUT) == {}


def test_a_prompt_of_both_sides() -> None:
    """Whatever the answer and the system message, and however it is spaced."""
    other = asked(f" {written(7)}\n", "no", system="Be kind")
    finding = found(TRAIN, [*HELD_OUT, other, TRAIN[2]])["leak_into_held_out"]
    assert (finding.num, finding.total, finding.level) == (2, 42, "warning")
    assert [(row.origin, row.excerpt) for row in finding.rows] == [
        (Origin("test.jsonl", 41), "as in row 8 of a.jsonl"),
        (Origin("test.jsonl", 42), "as in row 3 of a.jsonl"),
    ]
    assert "near_leak_into_held_out" not in found(TRAIN, [*HELD_OUT, TRAIN[2]])


def test_more_than_a_twentieth_stops_training() -> None:
    assert found(TRAIN, [*HELD_OUT, *TRAIN[:2]])["leak_into_held_out"].level == "warning"
    assert found(TRAIN, [*HELD_OUT, *TRAIN[:3]])["leak_into_held_out"].level == "stop"


def test_a_prompt_that_is_nearly_the_same() -> None:
    finding = found(TRAIN, [*HELD_OUT, asked(written(5) + " end")])["near_leak_into_held_out"]
    assert (finding.num, finding.total, finding.level) == (1, 41, "warning")
    ((origin, excerpt),) = [(row.origin, row.excerpt) for row in finding.rows]
    assert origin == Origin("test.jsonl", 41)
    assert excerpt.endswith("% as in row 6 of a.jsonl")
    assert "--near" in finding.cure


def test_a_held_out_file_that_is_training_with_a_word_changed_stops() -> None:
    nearly: list[Example] = [asked(written(number) + " end") for number in range(10)]
    assert found(TRAIN, nearly)["near_leak_into_held_out"].level == "stop"
    assert found(TRAIN, nearly[:2])["near_leak_into_held_out"].level == "warning"


def test_one_template_is_no_leak() -> None:
    """Prompts that differ in a few words under a long instruction; only one of them is really there."""
    instruction = written(9999, 60)
    train: list[Example] = [asked(f"{instruction} {written(number, 6)}") for number in range(100)]
    held_out: list[Example] = [asked(f"{instruction} {written(1000 + number, 6)}") for number in range(20)]
    assert found(train, held_out) == {}
    leaked = asked(f"{instruction} {written(8, 6)} e")
    finding = found(train, [*held_out, leaked])["near_leak_into_held_out"]
    ((origin, excerpt),) = [(row.origin, row.excerpt) for row in finding.rows]
    assert origin == Origin("test.jsonl", 21)
    assert excerpt.endswith("as in row 9 of a.jsonl")


def test_images_leak_by_their_path_only() -> None:
    train: list[Example] = [
        Labelled("x", image=f"photos/picture-number-{number:04}.jpg") for number in range(30)
    ]
    held_out: list[Example] = [
        Labelled("x", image=f"photos/picture-number-{number:04}.jpg") for number in (40, 3)
    ]
    assert {name: finding.num for name, finding in found(train, held_out).items()} == {
        "leak_into_held_out": 1
    }


def test_a_sample_is_said() -> None:
    nearly: list[Example] = [asked(written(number) + " end") for number in range(60)]
    finding = found(TRAIN, nearly, sample=50, seed=3)["near_leak_into_held_out"]
    assert finding.total == 50
    assert finding.text.endswith(
        "Compared were 50 held-out rows with 50 training rows, chosen by prompt with seed 3; "
        "among all there are more."
    )
