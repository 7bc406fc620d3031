"""Alpaca: ``instruction``, ``input`` (may be missing or empty) and ``output``; ``history`` and ``system`` if
any.

The user's turn is the instruction, and on the next line the input where there is one, as LLaMA-Factory joins
them. ``history`` is a list of ``[question, answer]`` pairs that precede the turn; its answers are learnt too.
"""

from __future__ import annotations

from typing import Any

from ...recipe.messages import say
from ..examples import Conversation, Message, RowError
from ._others import is_plain
from ._prompt import INPUT, asked
from ._row import filled, first
from ._turns import ROW_COLUMNS, conversation
from ._written import exchanges, plain_parts

KIND = "conversation"
_OUTPUT = ("output", "response")
NEEDS = (("instruction",), _OUTPUT)
ALSO = (INPUT, ("history",), *ROW_COLUMNS)
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


def fits(row: dict[str, Any]) -> bool:
    """A list of outputs is ranked answers, not one."""
    return is_plain(row) and not isinstance(row.get(first(row, _OUTPUT) or ""), list)


def to_example(row: dict[str, Any]) -> Conversation:
    """Raises RowError for preference data (a list of outputs) and for cells that are no text."""
    name = first(row, _OUTPUT) or "output"
    if isinstance(row.get(name), list):
        raise RowError(
            say(
                "{name} is a list: several answers to one prompt are preference data, which supervised "
                "fine-tuning does not learn from. To learn the best of them: attune convert FILE --to "
                "messages --output best.jsonl",
                "{name} 是列表：同一提示有多个回答属于偏好数据，监督微调不使用。若要学习其中最好的回答："
                "attune convert 文件 --to messages --output best.jsonl",
                name=name,
            ),
            "wrong_kind",
        )
    turns = asked(row, "instruction")
    return conversation(row, [*turns, Message("assistant", filled(row.get(name), name, "empty_answer"))])


def to_row(example: Conversation) -> dict[str, Any]:
    """Raises RowError for what has no place here: turns of tools, weights, an end without an answer."""
    system, turns, tools = plain_parts(example.messages, example.tools, "alpaca")
    *history, (question, answer) = exchanges(turns, "alpaca")
    row: dict[str, Any] = {"instruction": question, "input": "", "output": answer}
    if history:
        row["history"] = [list(pair) for pair in history]
    return {**row, **system, **tools}
