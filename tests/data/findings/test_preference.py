"""Pairs that teach something else than what is better."""

from __future__ import annotations

import pytest

from attune.data.findings import preference
from attune.data.findings.contract import DetectorContract

from .rows import detector, findings, numbers, pair, seen

LONG, SHORT = "Twelve minutes over boiling water.", "Twelve."
BALANCED = [pair(LONG, SHORT), pair(SHORT, LONG)] * 50


class TestContract(DetectorContract):
    @pytest.fixture
    def detector_module(self):
        return preference

    @pytest.fixture
    def seen(self):
        return seen(
            [pair(LONG, SHORT, margin=1.0)] * 30
            + [pair("Yes, sir", "yes, Sir"), pair(LONG, SHORT, margin=-1.0)]
        )


def of(rows: list, name: str):
    return findings(preference, rows, "preference").get(name)


def test_balanced_pairs() -> None:
    assert findings(preference, BALANCED, "preference") == {}


@pytest.mark.parametrize(
    ("num_longer", "level"), [(100, "stop"), (99, "stop"), (98, "warning"), (90, "warning"), (89, None)]
)
@pytest.mark.parametrize("is_chosen", [True, False])
def test_one_side_is_the_longer(num_longer: int, level: str | None, is_chosen: bool) -> None:
    more, less = (LONG, SHORT) if is_chosen else (SHORT, LONG)
    rows = [pair(more, less)] * num_longer + [pair(less, more)] * (100 - num_longer)
    finding = of(rows, "chosen_always_longer" if is_chosen else "rejected_always_longer")
    assert (finding and finding.level) == level
    if finding:
        assert (finding.num, finding.total) == (num_longer, 100)
    assert of(rows, "rejected_always_longer" if is_chosen else "chosen_always_longer") is None


def test_the_excerpt_gives_both_lengths() -> None:
    finding = of([pair(LONG, SHORT)] * 20, "chosen_always_longer")
    assert finding.rows[0].excerpt == "34 against 7 characters"


def test_few_pairs_prove_nothing() -> None:
    assert findings(preference, [pair(LONG, SHORT)] * 19, "preference") == {}


@pytest.mark.parametrize(
    ("chosen", "rejected"),
    [
        ("Yes, sir", "yes,  Sir "),
        ("a" * 99 + "b", "a" * 99 + "c"),
        ("Buns are " * 20 + "good.", "Buns are " * 20 + "bad."),
    ],
)
def test_nearly_equal_answers(chosen: str, rejected: str) -> None:
    finding = of([*BALANCED, pair(chosen, rejected), pair(chosen, rejected)], "nearly_equal_answers")
    assert (finding.level, numbers(finding)) == ("warning", [101, 102])


@pytest.mark.parametrize(
    ("chosen", "rejected"),
    [("A", "B"), ("It is 12.", "It is 13."), ("a" * 100, "a" * 50 + "b" * 50), ("a" * 100, "a" * 120)],
)
def test_answers_that_differ(chosen: str, rejected: str) -> None:
    assert of([pair(chosen, rejected)], "nearly_equal_answers") is None


def test_the_difference_is_shown() -> None:
    finding = of([pair("Buns are " * 20 + "good.", "Buns are " * 20 + "bad.")], "nearly_equal_answers")
    assert finding.rows[0].excerpt == "'goo' / 'ba'"


def test_the_chosen_answer_refuses() -> None:
    no = "I'm sorry, but I can't assist with that."
    finding = of([*BALANCED, pair(no, LONG), pair(LONG, no), pair(no, no + "!")], "chosen_refuses")
    assert (finding.level, numbers(finding)) == ("info", [101])


@pytest.mark.parametrize(("num", "level"), [(1, "warning"), (49, "warning"), (50, "stop")])
def test_negative_margins(num: int, level: str) -> None:
    rows = [pair(LONG, SHORT, margin=-0.5)] * num + [pair(SHORT, LONG, margin=2.0)] * (100 - num)
    finding = of(rows, "negative_margin")
    assert (finding.level, finding.num, finding.rows[0].excerpt) == (level, num, "-0.5")


def test_margins_of_some_rows_only() -> None:
    finding = of([pair(LONG, SHORT, margin=1.0), pair(SHORT, LONG)], "some_margins")
    assert (finding.level, numbers(finding)) == ("info", [2])
    assert of([pair(LONG, SHORT, margin=0.0)], "some_margins") is None


def test_lengths_are_told() -> None:
    rows = [pair("abcd", "ab"), pair("abcdefgh", "ab"), pair("a", "abcde")]
    (table,) = detector(preference, rows, "preference").facts()
    assert table.rows == (("chosen", 4, 4, 8, "66.7%"), ("rejected", 3, 2, 5, "33.3%"))
