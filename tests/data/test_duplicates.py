"""Exact duplicates: what is asked and answered as numbers, and which numbers occur again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attune.data.duplicates import (
    Places,
    answer_of,
    closed_answer_of,
    closed_number,
    column,
    disagreements,
    fingerprint,
    named,
    plain,
    question_of,
    repeats,
    whole_text,
)
from attune.data.examples import (
    Conversation,
    Example,
    Labelled,
    Message,
    Origin,
    Preference,
    Prompt,
    Text,
    Verdict,
)

U, A = (Message("user", "Which?"),), (Message("assistant", "This one."),)
B = (Message("assistant", "That one."),)


def asked(prompt: str, *answers: str, system: str | None = None) -> Conversation:
    first = [Message("system", system)] if system else []
    turns = [Message("user", prompt)]
    for answer in answers:
        turns += [Message("assistant", answer), Message("user", "And?")]
    return Conversation((*first, *turns[: 2 * len(answers)]))


def numbers(*values: int) -> np.ndarray:
    return np.array(values, np.uint64)


def same(one: Example, other: Example) -> tuple[bool, bool]:
    return question_of(one) == question_of(other), answer_of(one) == answer_of(other)


def test_plain():
    assert plain(" a\t b\r\n\u3000c ") == "a b c"
    assert plain("e\u0301") == "é"


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (asked("a  b", "c"), asked(" a b\n", "c "), (True, True)),
        (asked("a", "c"), asked("a", "C"), (True, False)),
        (asked("a", "c", system="S"), asked("a", "c"), (False, True)),
        (asked("a", "b", "c"), asked("a", "b"), (True, False)),
        (Text("a b"), Text("a  b"), (True, True)),
        (Labelled("x", text="a"), Labelled("y", text="a"), (True, False)),
        (Labelled("x", text="a", pair="b"), Labelled("x", text="b", pair="a"), (False, True)),
        (Labelled("x", text="a"), Labelled("x", image="a"), (False, True)),
        (Labelled(("x", "y"), text="a"), Labelled(("y", "x"), text="a"), (True, True)),
        (Verdict(U, A, True), Verdict(U, A, False), (True, False)),
        (Verdict(U, A, True), Verdict(U, B, True), (False, True)),
        (Preference(U, (A, B)), Preference(U, (B, A)), (True, False)),
        (Prompt(U, "1"), Prompt(U, "2"), (True, False)),
    ],
)
def test_question_and_answer(one: Example, other: Example, expected: tuple[bool, bool]):
    assert same(one, other) == expected


def test_a_call_of_a_tool_is_part_of_the_turn():
    calls = [
        Message("assistant", "", extra={"tool_calls": [{"function": {"name": name}}]}) for name in ("f", "g")
    ]
    one, other = (Conversation((*U, call)) for call in calls)
    assert same(one, other) == (True, False)
    assert "tool_calls" in whole_text(one)


def test_whole_text_leaves_the_system_message_out():
    assert whole_text(asked("a", "b", system="S")) == "a\nb"
    assert whole_text(Preference(U, (A, B))) == "Which?\nThis one.\nThat one."
    assert whole_text(Labelled("x", text="a", pair="b")) == "a\nb"
    assert whole_text(Labelled("x", image="a.png")) == ""


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Yes.", "yes"),
        ("yes", "yes"),
        ("3.5", "3.5"),
        ("-3", "-3"),
        ("3", "3"),
        ("50%", "50%"),
        ("1/2.", "1/2"),
        ("是的。", "是的"),
        ("（B）", "b"),
        ("Paris, France", "paris france"),
        ("This answer has five words", None),
        ("这句话比十二个汉字还要长一些，所以不算", None),
        ("a" * 25, None),
        ("x" * 1000, None),
        ("…", None),
    ],
)
def test_closed_answers(answer: str, expected: str | None):
    assert closed_answer_of(asked("q", answer)) == expected
    assert closed_answer_of(Prompt(U, answer)) == expected


def test_what_is_closed_by_its_kind():
    assert closed_answer_of(Labelled("a label of many words, as long as it likes", text="a")) is not None
    assert closed_answer_of(Verdict(U, A, True)) != closed_answer_of(Verdict(U, A, False))
    assert closed_answer_of(Preference(U, (A, B))) != closed_answer_of(Preference(U, (B, A)))
    assert closed_answer_of(asked("q", "yes", "no")) is None
    assert closed_answer_of(Text("yes")) is None
    assert closed_answer_of(Prompt(U)) is None


def test_closed_numbers():
    assert closed_number(asked("q", "Yes.")) == closed_number(asked("p", "yes")) > 0
    assert closed_number(asked("q", "no")) != closed_number(asked("q", "yes"))
    assert closed_number(Text("yes")) == 0


def test_fingerprints_are_the_same_on_every_machine():
    assert fingerprint("a", "b") == 1710490046219002030
    assert fingerprint("ab") != fingerprint("a", "b")
    assert fingerprint("\ud83d") > 0  # half a character


def test_places_are_named():
    places = Places()
    for path, row in (("a.json", 1), ("a.json", 5), ("b.json", 1), ("a.json", 7)):
        places.add(Origin(path, row))
    assert [places[index] for index in range(len(places))] == [
        Origin("a.json", 1),
        Origin("a.json", 5),
        Origin("b.json", 1),
        Origin("a.json", 7),
    ]
    assert named(places[1], beside=places[3]) == "row 5"
    assert named(places[2], beside=places[3]) == "row 1 of b.json"


def test_repeats_by_hand():
    again, first = repeats(numbers(5, 3, 5, 3, 5, 9))
    assert again.tolist() == [2, 3, 4]
    assert first.tolist() == [0, 1, 0]
    again, first = repeats(numbers(5, 5, 5), numbers(1, 2, 1))
    assert (again.tolist(), first.tolist()) == ([2], [0])
    assert [found.tolist() for found in repeats(column([]))] == [[], []]


def test_disagreements_by_hand():
    questions = numbers(7, 8, 7, 7, 8, 9)
    answers = numbers(1, 1, 1, 2, 1, 3)
    rows, other, num = disagreements(questions, answers)
    assert rows.tolist() == [0, 2, 3]
    assert other.tolist() == [3, 3, 0]
    assert num == 1
    assert disagreements(column([]), column([]))[2] == 0


PAIRS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), max_size=40)


@settings(max_examples=150, deadline=None)
@given(PAIRS)
def test_repeats_against_brute_force(pairs: list[tuple[int, int]]):
    again, first = repeats(column(pair[0] for pair in pairs), column(pair[1] for pair in pairs))
    expected = [(row, pairs.index(pair)) for row, pair in enumerate(pairs) if pairs.index(pair) < row]
    assert list(zip(again.tolist(), first.tolist(), strict=True)) == expected


@settings(max_examples=150, deadline=None)
@given(PAIRS)
def test_disagreements_against_brute_force(pairs: list[tuple[int, int]]):
    rows, other, num = disagreements(column(pair[0] for pair in pairs), column(pair[1] for pair in pairs))
    expected = {}
    for row, (question, answer) in enumerate(pairs):
        against = [at for at, pair in enumerate(pairs) if pair[0] == question and pair[1] != answer]
        if against:
            expected[row] = against[0]
    assert dict(zip(rows.tolist(), other.tolist(), strict=True)) == expected
    assert rows.tolist() == sorted(rows.tolist())
    assert num == len({pairs[row][0] for row in expected})
