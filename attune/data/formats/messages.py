"""OpenAI messages: ``messages``, a list of ``{"role", "content"}``; or the row itself is that list.

Text parts of a content are joined; ``weight`` 0 (also ``loss_weight``) makes an assistant's turn context
only; ``tool_calls``, ``reasoning_content`` and ``tools`` are kept for the chat template.
"""

from __future__ import annotations

from typing import Any

from ..examples import Conversation
from ._others import is_plain
from ._row import BARE_LIST
from ._turns import ROW_COLUMNS, conversation, messages_of
from ._written import as_messages, with_tools

KIND = "conversation"
NEEDS = (("messages", BARE_LIST),)
ALSO = ROW_COLUMNS
SAMPLE = [
    {
        "messages": [
            {"role": "system", "content": "You are a waiter."},
            {"role": "user", "content": [{"type": "text", "text": "Is there vinegar?"}]},
            {"role": "assistant", "content": "Of course.", "weight": 0},
            {"role": "user", "content": "And ginger?"},
            {"role": "assistant", "content": "That too."},
        ]
    },
    [{"role": "user", "content": "Is it spicy?"}, {"role": "assistant", "content": "A little."}],
]


def fits(row: Any) -> bool:
    """Not what is compared or judged."""
    return is_plain(row)


def to_example(row: dict[str, Any] | list[Any]) -> Conversation:
    """Raises RowError naming the turn that cannot be read."""
    if isinstance(row, list):
        return conversation({}, messages_of(row, "the row"))
    return conversation(row, messages_of(row.get("messages"), "messages"))


def to_row(example: Conversation) -> dict[str, Any]:
    """Holds every conversation."""
    return {"messages": as_messages(example.messages), **with_tools(example.tools)}
