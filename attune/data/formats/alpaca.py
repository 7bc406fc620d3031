"""Alpaca: ``instruction``, ``input`` (may be missing or empty) and ``output``; ``history`` and ``system`` if
any.

The user's turn is the instruction, and on the next line the input where there is one, as LLaMA-Factory joins
them. ``history`` is a list of ``[question, answer]`` pairs that precede the turn; its answers are learnt too.
"""

from __future__ import annotations

from typing import Any

from ...recipe.messages import say
from ..examples import Conversation, Message, RowError
from ._row import filled, first, is_nothing, kind_of, text
from ._turns import ROW_COLUMNS, conversation

KIND = "conversation"
_INPUT = ("input", "query", "context")
_OUTPUT = ("output", "response")
NEEDS = (("instruction",), _OUTPUT)
ALSO = (_INPUT, ("history",), *ROW_COLUMNS)
SAMPLE = [
    {"instruction": "Translate into Chinese.", "input": "steamed dumplings", "output": "蒸饺"},
    {
        "instruction": "And on Sundays?",
        "input": "",
        "output": "From nine to five.",
        "history": [["When do you open?", "At eight."]],
        "system": "You answer briefly.",
    },
]


def to_example(row: dict[str, Any]) -> Conversation:
    """Raises RowError for preference data (a list of outputs) and for cells that are no text."""
    output_key = first(row, _OUTPUT) or "output"
    if isinstance(row.get(output_key), list):
        raise RowError(
            say(
                "{name} is a list: several answers to one prompt are preference data, which supervised "
                "fine-tuning "
                "does not learn from. Keep one answer, as text.",
                "{name} 是列表：同一提示有多个回答属于偏好数据，监督微调不使用。请只保留一个回答（文本）。",
                name=output_key,
            )
        )
    input_key = first(row, _INPUT) or "input"
    parts = (text(row.get("instruction"), "instruction"), text(row.get(input_key), input_key))
    asked = "\n".join(part for part in parts if part)
    if not asked.strip():
        raise RowError(say("instruction and input are empty.", "instruction 和 input 都为空。"))
    turns = [*_history(row.get("history")), Message("user", asked)]
    return conversation(row, [*turns, Message("assistant", filled(row.get(output_key), output_key))])


def _history(value: Any) -> list[Message]:
    if is_nothing(value) or value == "":
        return []
    pairs = value if isinstance(value, list) else None
    if pairs is None or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise RowError(
            say(
                "history is {kind}; it must be a list of pairs: [[question, answer], …].",
                "history 是{kind}；应为问答对的列表：[[问, 答], …]。",
                kind=kind_of(value),
            )
        )
    turns: list[Message] = []
    for question, answer in pairs:
        turns += [Message("user", text(question, "history")), Message("assistant", text(answer, "history"))]
    return turns
