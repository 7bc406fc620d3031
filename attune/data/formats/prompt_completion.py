"""A prompt and its completion under any of their usual names; each is a text or a list of messages."""

from __future__ import annotations

from typing import Any

from ..examples import Conversation, Message
from ._row import filled, first
from ._turns import ROW_COLUMNS, conversation, messages_of

KIND = "conversation"
_PROMPT = ("prompt", "question", "query", "input", "问题", "提问")
_COMPLETION = ("completion", "response", "answer", "output", "回答", "答案")
NEEDS = (_PROMPT, _COMPLETION)
ALSO = ROW_COLUMNS
SAMPLE = [
    {"prompt": "What is a baozi?", "completion": "A steamed, filled bun."},
    {"question": "几点关门？", "answer": "晚上九点。"},
    {
        "prompt": [{"role": "user", "content": "Hello."}],
        "completion": [{"role": "assistant", "content": "Good evening!"}],
    },
]


def to_example(row: dict[str, Any]) -> Conversation:
    """Raises RowError for a side that is neither text nor a list of messages."""
    prompt, completion = first(row, _PROMPT) or _PROMPT[0], first(row, _COMPLETION) or _COMPLETION[0]
    return conversation(row, [*_side(row, prompt, "user"), *_side(row, completion, "assistant")])


def _side(row: dict[str, Any], name: str, role: Any) -> list[Message]:
    value = row.get(name)
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return messages_of(value, name)
    return [Message(role, filled(value, name))]
