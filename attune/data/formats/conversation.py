"""``conversation`` (also ``dialog``): a list of exchanges, ``{"system", "input", "output"}`` (XTuner) or
``{"human", "assistant"}`` (Firefly); a list of single turns is read as well.
"""

from __future__ import annotations

from typing import Any

from ..examples import Conversation
from ._others import is_plain
from ._row import first
from ._turns import ROW_COLUMNS, conversation, is_turns, messages_of
from ._written import exchanges, plain_parts

KIND = "conversation"
_TURNS = ("conversation", "dialog", "dialogue")
NEEDS = (_TURNS,)
ALSO = ROW_COLUMNS
SAMPLE = [
    {
        "conversation": [
            {"system": "You are a waiter.", "input": "A table for two?", "output": "By the window?"},
            {"input": "Gladly.", "output": "This way, please."},
        ]
    },
    {"conversation": [{"human": "有素馅的吗？", "assistant": "有，香菇青菜馅。"}]},
]


def fits(row: dict[str, Any]) -> bool:
    """A dialogue written as one text has no turns that a program can tell apart."""
    return is_plain(row) and is_turns(row.get(first(row, _TURNS) or ""))


def to_example(row: dict[str, Any]) -> Conversation:
    """Raises RowError naming the turn that cannot be read."""
    name = first(row, _TURNS) or _TURNS[0]
    return conversation(row, messages_of(row.get(name), name))


def to_row(example: Conversation) -> dict[str, Any]:
    """Firefly's pairs. Raises RowError for what is no pair of question and answer."""
    system, turns, tools = plain_parts(example.messages, example.tools, "conversation")
    pairs = [{"human": asked, "assistant": answer} for asked, answer in exchanges(turns, "conversation")]
    return {"conversation": pairs, **system, **tools}
