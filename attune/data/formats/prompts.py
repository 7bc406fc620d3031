"""Prompts whose answers are sampled: ``prompt`` (or ``question``, ``instruction`` with ``input``) and, for
rewards that compare, the right answer: ``reference``, ``ground_truth``, ``solution``, ``answer`` …

A prompt is a text or a list of messages. ``reward_model.ground_truth`` (verl) is read as well. All other
columns are kept for rewards that read them. ``turns`` with one text is a prompt too (MT-bench).
"""

from __future__ import annotations

from typing import Any

from ...recipe.messages import say
from ..examples import Message, Prompt, RowError
from ._others import refuse_media
from ._prompt import INPUT, asked
from ._prompt import PROMPT as _ASKED
from ._row import first, is_nothing, kind_of
from ._turns import ROW_COLUMNS, system_of, tools_of
from ._written import as_messages, with_tools

KIND = "prompt"
_PROMPT = (*_ASKED, "turns")
_REFERENCE = (
    "reference",
    "ground_truth",
    "solution",
    "final_answer",
    "answer",
    "std_answer",
    "target",
    "reward_model",
)
NEEDS = (_PROMPT,)
ALSO = (INPUT, ("history",), _REFERENCE, *ROW_COLUMNS)
SAMPLE: list[dict[str, Any]] = [
    {"prompt": "What is 6 × 7?", "reference": "42"},
    {"problem": "6 × 8 = ?", "solution": "#### 48", "level": 1},
    {
        "prompt": [{"role": "user", "content": "6 × 9 = ?"}],
        "reward_model": {"ground_truth": "54", "style": "rule"},
    },
]


def to_example(row: dict[str, Any]) -> Prompt:
    """Raises RowError for an empty prompt and for a reference that is neither text nor number."""
    refuse_media(row)
    name = first(row, _PROMPT) or _PROMPT[0]
    turns = _turns_of(row[name]) if name == "turns" else asked(row, name)
    key = first(row, _REFERENCE)
    read = {name, key, *(first(row, group) for group in (*ROW_COLUMNS, ("history",)))}
    if name == "instruction":
        read.add(first(row, INPUT))
    extra = {column: value for column, value in row.items() if column not in read}
    reference = None if key is None else _reference(row[key], key)
    return Prompt((*system_of(row), *turns), reference, extra, tools_of(row))


def to_row(example: Prompt) -> dict[str, Any]:
    """Holds every prompt."""
    turns = example.messages
    is_one = len(turns) == 1 and turns[0].role == "user" and not turns[0].extra
    reference = {} if example.reference is None else {"reference": example.reference}
    prompt = turns[0].content if is_one else as_messages(turns)
    return {**example.extra, "prompt": prompt, **reference, **with_tools(example.tools)}


def _turns_of(value: Any) -> list[Message]:
    texts = value if isinstance(value, list) else [value]
    if len(texts) != 1 or not isinstance(texts[0], str):
        raise RowError(
            say(
                "turns holds several questions without the answers between them.",
                "turns 含有多个提问，其间没有回答。",
            ),
            "several_questions",
        )
    return [Message("user", texts[0])]


def _reference(value: Any, name: str) -> str:
    """A list of one answer is that answer; of several, none is the right one alone."""
    if isinstance(value, dict) and not is_nothing(value.get("ground_truth")):
        value, name = value["ground_truth"], f"{name}.ground_truth"
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    raise RowError(
        say(
            "{name} is {kind}; a right answer is text or a number.",
            "{name} 是{kind}；正确答案应为文本或数字。",
            name=name,
            kind=kind_of(value),
        ),
        "not_text",
    )
