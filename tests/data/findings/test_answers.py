"""Answers as a whole."""

from __future__ import annotations

import pytest

from attune.data.findings import answers
from attune.data.findings._refusal import refusal
from attune.data.findings.contract import DetectorContract

from .rows import CLEAN, chat, findings, numbers, pair, seen, verdict

WHOLE = (
    "Bring the water to a boil, set the basket over it, cover it well, and let the buns steam "
    "for twelve minutes."
)
PROSE = [chat(f"How, {number}?", f"{WHOLE} ({number}.)") for number in range(30)]


class TestContract(DetectorContract):
    @pytest.fixture
    def detector_module(self):
        return answers

    @pytest.fixture
    def seen(self):
        cut = chat("How?", WHOLE[:90] + " and")
        same = [chat(f"How, {number}?", WHOLE) for number in range(30)]
        return seen([*PROSE, cut, chat("Who?", "As an AI language model, I cannot say."), *same])


@pytest.mark.parametrize(
    "answer",
    [
        "First bring the water to a boil, then set the basket over it, cover it, and",
        "Bring the water to a boil and set the basket over it; what you need then is the",
        "You need flour, yeast, sugar, a little salt, some lukewarm water, cabbage, ginger,",
        "和面，调馅，包好以后先用小火煎，再加入少量清水，盖上锅盖，以及",
        "主要的做法有这样几种：蒸、煮、煎、炸，还有烤、",
        "Here is the code:\n```python\nfor bun in basket:\n    steam(bun)\n",
        WHOLE[:-30] + "let the buns ste",
    ],
)
def test_breaks_off(answer: str) -> None:
    finding = findings(answers, [*PROSE, chat("How?", answer)])["answer_seems_cut"]
    assert (finding.num, numbers(finding), finding.level) == (1, [31], "warning")


@pytest.mark.parametrize(
    "answer",
    [
        WHOLE,
        "A bun and a",  # short answers end as they like
        "Flour, yeast, sugar, salt, water, cabbage, ginger, garlic, vinegar, soy sauce, sesame oil, pepper",
        "Come and eat with us tonight, the whole family will be there! #buns #dumplings #steamed #family",
        "1. Flour\n2. Water\n3. A little salt, and whatever else is in the house",
        "```python\nfor bun in basket:\n    steam(bun)\n```",
        "Dear Ann, we would be glad to see you and all of yours here on Sunday evening.\nYours,\nBert",
        '"The proof of the pudding is in the eating, as all who ate one know." - Miguel de Cervantes',
        "更多做法见 https://example.org/buns/steamed/with/cabbage/and/ginger/and/everything/else/that/one/needs",
    ],
)
def test_ends(answer: str) -> None:
    assert findings(answers, [*PROSE, chat("How?", answer)]) == {}


def test_a_habit_is_no_damage() -> None:
    """Where many answers end without a full stop, none of them seems cut."""
    bare = [chat(f"How, {number}?", WHOLE[:-1]) for number in range(10)]
    assert findings(answers, [*PROSE, *bare]) == {}


def test_one_answer_for_many_rows() -> None:
    same = [chat(f"Why, {number}?", "I do not know.") for number in range(20)]
    finding = findings(answers, [*PROSE, *same])["identical_answers"]
    assert (finding.num, finding.total, finding.level) == (20, 50, "warning")
    assert numbers(finding) == [31, 32, 33, 34, 35]
    assert finding.rows[0].excerpt == "I do not know."


def test_one_answer_for_all_rows_stops() -> None:
    same = [chat(f"Why, {number}?", "I do not know.") for number in range(20)]
    assert findings(answers, same)["identical_answers"].level == "stop"
    assert findings(answers, same[:19]) == {}, "so few rows may well agree"


def test_answers_that_are_labels_may_be_frequent() -> None:
    rows = [chat(f"Is {number} even?", "no" if number % 2 else "yes") for number in range(100)]
    assert findings(answers, rows) == {}


def test_a_frequent_answer_among_many_is_counted_in_bounded_memory() -> None:
    other = (chat(str(number), f"Answer {number}.") for number in range(5000))
    rows = [row for pair in zip(other, [chat("Why?", "The same.")] * 5000, strict=True) for row in pair]
    finding = findings(answers, rows)["identical_answers"]
    assert 0.499 * 10_000 <= finding.num <= 5000


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't assist with that.",
        "As an AI language model, I have no opinions.",
        "Sorry — I cannot provide medical advice.",
        "I'm unable to generate pictures.",
        "作为一个人工智能语言模型，我没有情感。",
        "很抱歉，我无法回答这个问题。",
        "我不能提供这样的信息。",
    ],
)
def test_refusals(answer: str) -> None:
    assert refusal(answer) is not None
    finding = findings(answers, [*CLEAN, chat("Who won?", answer)])["refusals"]
    assert (finding.level, numbers(finding)) == ("info", [9])


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry to hear that! Let us see what can be done.",
        "Dear Ann, I am sorry, I had a few last minute calls.",
        "I can't wait to see you.",
        "作为一名教师，她每天很早起床。",
        "抱歉让您久等了，马上就来。",
        WHOLE * 3 + " As an AI language model I say so.",
    ],
)
def test_no_refusals(answer: str) -> None:
    assert refusal(answer) is None


def test_of_a_pair_the_chosen_answer_counts() -> None:
    no = "I'm sorry, but I can't assist with that."
    assert set(findings(answers, [pair(no, WHOLE)], "preference")) == {"refusals"}
    assert findings(answers, [pair(WHOLE, no)], "preference") == {}
    assert set(findings(answers, [verdict(no, True)], "verdict")) == {"refusals"}
