"""A prompt and its completion under any of their usual names; each is a text or a list of messages."""

from __future__ import annotations

from typing import Any

from ...recipe.messages import say
from ..examples import Conversation, Message
from ._others import is_plain
from ._prompt import asked
from ._row import filled, first
from ._turns import ROW_COLUMNS, conversation, is_turns, messages_of
from ._written import one_exchange

KIND = "conversation"
_PROMPT = ("prompt", "question", "query", "input", "问题", "提问")
_COMPLETION = ("completion", "response", "answer", "output", "target", "回答", "答案")
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


def fits(row: dict[str, Any]) -> bool:
    """Answers in a list that are no turns are several answers to one prompt."""
    completion = row.get(first(row, _COMPLETION) or "")
    return is_plain(row) and (not isinstance(completion, list) or is_turns(completion))


def to_example(row: dict[str, Any]) -> Conversation:
    """Raises RowError for a side that is neither text nor a list of messages."""
    turns = asked(row, first(row, _PROMPT) or _PROMPT[0])
    name = first(row, _COMPLETION) or _COMPLETION[0]
    completion = row.get(name)
    if isinstance(completion, list) and is_turns(completion):
        answer = messages_of(completion, name)
    else:
        text = ", ".join(part[0] for part in completion or ()) if _has_spellings(completion) else completion
        answer = [Message("assistant", filled(text, name, "empty_answer"))]
    return conversation(row, [*turns, *answer])


def told(row: dict[str, Any]) -> str | None:
    """What is read otherwise than it stands: of an answer in several spellings the first is learnt."""
    if not _has_spellings(row.get(first(row, _COMPLETION) or "")):
        return None
    return say("of an answer in several spellings the first is taken.", "回答有多种写法时取第一种。")


def _has_spellings(completion: Any) -> bool:
    """``[["July 21", "21 July"], …]``: parts of the answer, each in several spellings."""
    return (
        isinstance(completion, list)
        and bool(completion)
        and all(isinstance(part, list) and part and isinstance(part[0], str) for part in completion)
    )


def to_row(example: Conversation) -> dict[str, Any]:
    """Raises RowError for more than one question and its answer."""
    prompt, completion = one_exchange(example.messages, example.tools, "prompt_completion")
    return {"prompt": prompt, "completion": completion}
