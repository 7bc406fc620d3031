"""KTO: an answer and whether it is good: ``label`` (or ``kto_tag``), true or false.

Prompt and answer in any form of a conversation: ``prompt`` and ``completion``, ``instruction``, ``input`` and
``output``, ``messages``, ``conversations``. The last turn is the answer that is judged.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from ...recipe.messages import say
from ..examples import RowError, Verdict
from . import alpaca, conversation, messages, prompt_completion, sharegpt
from ._others import VERDICT, verdict_of
from ._prompt import INPUT, PROMPT
from ._row import columns, first, kind_of
from ._turns import ROW_COLUMNS
from ._written import as_messages, with_tools

KIND = "verdict"
_FORMS: tuple[ModuleType, ...] = (messages, sharegpt, conversation, alpaca, prompt_completion)
NEEDS = (
    VERDICT,
    ("completion", "response", "output", "answer", "messages", "conversations", "conversation"),
)
ALSO = (PROMPT, INPUT, ("history",), *ROW_COLUMNS)
SAMPLE: list[dict[str, Any]] = [
    {"prompt": "Is it spicy?", "completion": "A little.", "label": True},
    {
        "messages": [
            {"role": "user", "content": "几点关门？"},
            {"role": "assistant", "content": "不清楚。"},
        ],
        "kto_tag": False,
    },
    {"instruction": "Translate into Chinese.", "input": "dumplings", "output": "饺子", "label": True},
]


def fits(row: dict[str, Any]) -> bool:
    """A label that is neither true nor false is a class."""
    return verdict_of(row.get(first(row, VERDICT) or "")) is not None


def to_example(row: dict[str, Any]) -> Verdict:
    """Raises RowError for a label that is no verdict, and as the form of the rest does."""
    name = first(row, VERDICT) or VERDICT[0]
    is_good = verdict_of(row.get(name))
    if is_good is None:
        raise RowError(
            say(
                "{name} is {value}; it must be true or false.",
                "{name} 为 {value}；应为 true 或 false。",
                name=name,
                value=kind_of(row.get(name)) if isinstance(row.get(name), dict | list) else row.get(name),
            ),
            "no_label",
        )
    rest = {key: value for key, value in row.items() if key not in VERDICT}
    found = columns(rest)
    form = next((form for form in _FORMS if all(found & {*group} for group in form.NEEDS)), None)
    if form is None:
        raise RowError(
            say(
                "the row has no prompt that the answer belongs to.",
                "该行没有与回答对应的提示。",
            ),
            "missing_column",
        )
    read = form.to_example(rest)
    return Verdict(read.messages[:-1], read.messages[-1:], is_good, read.tools)


def to_row(example: Verdict) -> dict[str, Any]:
    """Holds every verdict."""
    turns = as_messages((*example.prompt, *example.answer))
    return {"messages": turns, "label": example.is_good, **with_tools(example.tools)}
