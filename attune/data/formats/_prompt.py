"""What is asked, in all the forms in which a row gives it beside its answer or answers."""

from __future__ import annotations

from typing import Any

from ...recipe.messages import say
from ..examples import Message, RowError
from ._row import filled, first, from_json, is_nothing, kind_of, text
from ._transcript import messages_of_transcript
from ._turns import is_turns, messages_of

INPUT = ("input", "query", "context")
PROMPT = ("prompt", "instruction", "question", "query", "input", "problem", "问题", "提问")
"""The names of a column that asks; ``instruction`` is joined with its ``input``."""


def asked(row: dict[str, Any], name: str) -> list[Message]:
    """The turns up to the question in column ``name``, without the row's system message.

    A text, a list of messages, or a transcript ("\\n\\nHuman: …"); with an ``instruction`` comes its input,
    and a ``history`` precedes it. Raises RowError.
    """
    value = row.get(name)
    if name == "instruction":
        return [*_history(row.get("history")), Message("user", _instruction(row))]
    if is_turns(value):
        return messages_of(value, name)
    if isinstance(value, str) and (turns := messages_of_transcript(value, is_prompt=True)):
        return turns
    return [*_history(row.get("history")), Message("user", filled(value, name, "empty_prompt"))]


def _instruction(row: dict[str, Any]) -> str:
    """The instruction and, on the next line, its input."""
    name = first(row, INPUT)
    question = text(row.get("instruction"), "instruction")
    beside = text(row[name], name) if name else ""
    if question and beside:
        question = f"{question}\n{beside}"
    question = question or beside
    if not question.strip():
        raise RowError(
            say("instruction and input are empty.", "instruction 和 input 都为空。"), "empty_prompt"
        )
    return question


def _history(value: Any) -> list[Message]:
    if is_nothing(value) or value == "":
        return []
    found = from_json(value)
    pairs = found if isinstance(found, list) else None
    if pairs is None or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise RowError(
            say(
                "history is {kind}; it must be a list of pairs: [[question, answer], …].",
                "history 是{kind}；应为问答对的列表：[[问, 答], …]。",
                kind=kind_of(value),
            ),
            "bad_history",
        )
    turns: list[Message] = []
    for question, answer in pairs:
        turns += [Message("user", text(question, "history")), Message("assistant", text(answer, "history"))]
    return turns
