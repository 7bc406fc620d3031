"""ShareGPT: ``conversations``, a list of ``{"from": "human" | "gpt" | …, "value": …}``; ``system``, ``tools``
if any.

A turn from ``function_call`` is an assistant's tool call, one from ``observation`` the tool's result.
"""

from __future__ import annotations

from typing import Any

from ..examples import Conversation
from ._others import is_plain
from ._turns import ROW_COLUMNS, conversation, messages_of
from ._written import as_sharegpt, with_tools

KIND = "conversation"
NEEDS = (("conversations",),)
ALSO = ROW_COLUMNS
SAMPLE = [
    {
        "conversations": [
            {"from": "human", "value": "Do you deliver?"},
            {"from": "gpt", "value": "Within three kilometres."},
        ]
    },
    {
        "system": "You may use tools.",
        "tools": '[{"name": "stock", "description": "How many are left", "parameters": {}}]',
        "conversations": [
            {"from": "human", "value": "How many baskets are left?"},
            {"from": "function_call", "value": '{"name": "stock", "arguments": {"item": "basket"}}'},
            {"from": "observation", "value": "12"},
            {"from": "gpt", "value": "Twelve."},
        ],
    },
]


def fits(row: dict[str, Any]) -> bool:
    """Not what is compared or judged."""
    return is_plain(row)


def to_example(row: dict[str, Any]) -> Conversation:
    """Raises RowError naming the turn that cannot be read."""
    return conversation(row, messages_of(row.get("conversations"), "conversations"))


def to_row(example: Conversation) -> dict[str, Any]:
    """Raises RowError for a turn with both text and tool calls."""
    return {"conversations": as_sharegpt(example.messages), **with_tools(example.tools)}
