"""``conversation``: a list of exchanges, ``{"system", "input", "output"}`` (XTuner) or ``{"human",
"assistant"}`` (Firefly); a list of single turns is read as well.
"""

from __future__ import annotations

from typing import Any

from ..examples import Conversation
from ._turns import ROW_COLUMNS, conversation, messages_of

KIND = "conversation"
NEEDS = (("conversation",),)
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


def to_example(row: dict[str, Any]) -> Conversation:
    """Raises RowError naming the turn that cannot be read."""
    return conversation(row, messages_of(row.get("conversation"), "conversation"))
