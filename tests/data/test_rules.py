"""The rules of a conversation, one by one."""

from __future__ import annotations

import pytest

from attune.data.examples import Conversation, Message, RowError, Text
from attune.data.rules import check


def talk(*turns: str) -> Conversation:
    """``talk("u:Hi", "a:Hello")``."""
    roles = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
    return Conversation(tuple(Message(roles[turn[0]], turn[2:]) for turn in turns))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "good",
    [
        talk("u:1", "a:2"),
        talk("s:0", "u:1", "a:2", "u:3", "a:4"),
        talk("s:0", "s:0", "u:1", "a:2"),
        talk("u:1", "a:2", "t:3", "t:4", "a:5"),
        talk("s:", "u:1", "a:2", "t:", "a:5"),
        Text("anything"),
    ],
)
def test_good_examples_pass_as_they_are(good):
    assert check(good) == (good, None)


def test_what_follows_the_last_answer_is_cut_and_told():
    kept, change = check(talk("u:1", "a:2", "u:3"))
    assert kept == talk("u:1", "a:2")
    assert change == "cut after the last answer; what followed cannot be learnt: user."


def test_a_call_without_text_is_no_empty_answer():
    call = Message("assistant", "", extra={"tool_calls": [{"type": "function", "function": {"name": "f"}}]})
    example = Conversation((Message("user", "a"), call, Message("tool", "1"), Message("assistant", "b")))
    assert check(example) == (example, None)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (talk("u:1"), "no assistant turn: nothing to learn."),
        (talk(), "no assistant turn: nothing to learn."),
        (
            talk("s:0", "u:Hello there", "u:Still here?", "a:2"),
            "turns 2 and 3 are both from user (“Still here?”)",
        ),
        (talk("u:1", "a:2", "a:3"), "turns 2 and 3 are both from assistant"),
        (
            talk("a:Welcome", "u:1", "a:2"),
            "turn 1 is from assistant (“Welcome”); a conversation begins with user",
        ),
        (
            talk("u:1", "s:0", "a:2"),
            "turn 2, from system (“0”), follows a turn from user; it may follow system.",
        ),
        (
            talk("u:1", "t:0", "a:2"),
            "turn 2, from tool (“0”), follows a turn from user; it may follow assistant",
        ),
        (talk("u:1", "a: \n"), "turn 2: the answer is empty."),
        (talk("u:", "a:1"), "turn 1: the user's turn is empty."),
        (talk("u:1", "a:\ud83d"), r"the text holds half of a character (\ud83d without its other half)."),
        (Text("a\udc00"), "half of a character"),
        (
            Conversation((Message("user", "1"), Message("assistant", "2", learn=False))),
            "no answer is learnt: the weight of each is 0.",
        ),
    ],
)
def test_each_rule_has_its_reason(bad, says):
    with pytest.raises(RowError) as error:
        check(bad)
    assert says in str(error.value)
