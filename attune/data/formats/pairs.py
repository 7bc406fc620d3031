"""A prompt with a ``chosen`` and a ``rejected`` answer; each a text, one turn, or a list of messages.

Where both answers are whole transcripts, as in UltraFeedback, their common beginning is the prompt.
``score_chosen`` and ``score_rejected`` (or ``margin``) say by how much the one is better.
"""

from __future__ import annotations

from typing import Any

from ..examples import Preference
from ._answers import (
    CHOSEN,
    REJECTED,
    SCORES,
    answer_of,
    as_answer,
    is_transcript,
    margin_of,
    parted,
    transcript,
    two_answers,
)
from ._others import refuse_media
from ._prompt import INPUT, PROMPT, asked
from ._row import first
from ._turns import ROW_COLUMNS, system_of, tools_of
from ._written import as_messages, with_tools

KIND = "preference"
NEEDS = (PROMPT, CHOSEN, REJECTED)
ALSO = (INPUT, ("history",), *SCORES, *ROW_COLUMNS)
SAMPLE: list[dict[str, Any]] = [
    {"prompt": "Is it spicy?", "chosen": "A little.", "rejected": "No idea."},
    {
        "instruction": "Translate into Chinese.",
        "input": "steamed dumplings",
        "chosen": "蒸饺",
        "rejected": "包子",
        "score_chosen": 9,
        "score_rejected": 4.5,
    },
    {
        "prompt": "Do you deliver?",
        "chosen": [
            {"role": "user", "content": "Do you deliver?"},
            {"role": "assistant", "content": "Within three kilometres."},
        ],
        "rejected": [
            {"role": "user", "content": "Do you deliver?"},
            {"role": "assistant", "content": "Perhaps."},
        ],
    },
]


def to_example(row: dict[str, Any]) -> Preference:
    """Raises RowError for a cell that is neither text nor turns."""
    refuse_media(row)
    names = [first(row, group) or group[0] for group in (CHOSEN, REJECTED)]
    chosen, rejected = (row.get(name) for name in names)
    if is_transcript(chosen) and is_transcript(rejected):
        prompt, answers = parted(transcript(chosen, names[0]), transcript(rejected, names[1]))
    else:
        prompt = tuple(asked(row, first(row, PROMPT) or PROMPT[0]))
        answers = answer_of(chosen, names[0]), answer_of(rejected, names[1])
    return Preference((*system_of(row), *prompt), answers, tools_of(row), margin_of(row))


def to_row(example: Preference) -> dict[str, Any]:
    """Raises RowError for more than two answers."""
    chosen, rejected = two_answers(example.answers, "pairs")
    turns = example.prompt
    is_one = len(turns) == 1 and turns[0].role == "user" and not turns[0].extra
    margin = {} if example.margin is None else {"margin": example.margin}
    return {
        "prompt": turns[0].content if is_one else as_messages(turns),
        "chosen": as_answer(chosen),
        "rejected": as_answer(rejected),
        **margin,
        **with_tools(example.tools),
    }
