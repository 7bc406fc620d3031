"""A column of questions and a column of answers: ``input`` and ``output`` are lists, turn by turn."""

from __future__ import annotations

from typing import Any

from ...recipe.messages import say
from ..examples import Conversation, Message, RowError
from ._others import is_plain
from ._row import first, from_json, text
from ._turns import ROW_COLUMNS, conversation
from ._written import exchanges, plain_parts

KIND = "conversation"
_INPUT = ("input", "inputs", "questions")
_OUTPUT = ("output", "outputs", "answers")
NEEDS = (_INPUT, _OUTPUT)
ALSO = ROW_COLUMNS
SAMPLE = [{"input": ["Do you deliver?", "And on Sundays?"], "output": ["Yes.", "From ten on."]}]


def fits(row: dict[str, Any]) -> bool:
    """Both are lists; where only the outputs are one, they answer one prompt."""
    return is_plain(row) and all(isinstance(from_json(side), list) for side in _sides(row))


def to_example(row: dict[str, Any]) -> Conversation:
    """Raises RowError where the lists are not of one length, or hold other things than texts."""
    asked, answered = (from_json(side) for side in _sides(row))
    if not isinstance(asked, list) or not isinstance(answered, list) or len(asked) != len(answered):
        raise RowError(
            say(
                "questions and answers must be two lists of one length.",
                "提问与回答应为两个等长的列表。",
            ),
            "bad_turn",
        )
    messages: list[Message] = []
    for number, (question, answer) in enumerate(zip(asked, answered, strict=True), start=1):
        messages.append(Message("user", text(question, f"{first(row, _INPUT)} {number}")))
        messages.append(Message("assistant", text(answer, f"{first(row, _OUTPUT)} {number}")))
    return conversation(row, messages)


def to_row(example: Conversation) -> dict[str, Any]:
    """Raises RowError for what is no pair of question and answer."""
    system, turns, tools = plain_parts(example.messages, example.tools, "turn_columns")
    pairs = exchanges(turns, "turn_columns")
    return {
        "input": [question for question, _ in pairs],
        "output": [answer for _, answer in pairs],
        **system,
        **tools,
    }


def _sides(row: dict[str, Any]) -> tuple[Any, Any]:
    return row.get(first(row, _INPUT) or ""), row.get(first(row, _OUTPUT) or "")
