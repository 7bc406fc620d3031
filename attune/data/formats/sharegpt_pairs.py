"""Turns in ``conversations`` (or ``messages``) and the two turns that could follow, ``chosen`` and
``rejected``, as LLaMA-Factory writes preferences.
"""

from __future__ import annotations

from typing import Any

from ...recipe.messages import say
from ..examples import Preference
from ._answers import CHOSEN, REJECTED, SCORES, answer_of, is_transcript, margin_of, two_answers
from ._others import refuse_media
from ._row import first, from_json
from ._turns import ROW_COLUMNS, messages_of, system_of, tools_of
from ._written import as_sharegpt, refusal, with_tools

KIND = "preference"
_TURNS = ("conversations", "messages")
NEEDS = (_TURNS, CHOSEN, REJECTED)
ALSO = (*SCORES, *ROW_COLUMNS)
SAMPLE: list[dict[str, Any]] = [
    {
        "conversations": [{"from": "human", "value": "几点关门？"}],
        "chosen": {"from": "gpt", "value": "晚上九点。"},
        "rejected": {"from": "gpt", "value": "不清楚。"},
    }
]


def fits(row: dict[str, Any]) -> bool:
    """Not where the answers are whole transcripts: then the turns beside them are a copy of one."""
    return isinstance(from_json(row.get(first(row, _TURNS) or "")), list) and not any(
        is_transcript(row.get(first(row, group) or "")) for group in (CHOSEN, REJECTED)
    )


def to_example(row: dict[str, Any]) -> Preference:
    """Raises RowError naming the turn that cannot be read."""
    refuse_media(row)
    turns = first(row, _TURNS) or _TURNS[0]
    names = [first(row, group) or group[0] for group in (CHOSEN, REJECTED)]
    chosen, rejected = (answer_of(row.get(name), name) for name in names)
    prompt = (*system_of(row), *messages_of(row.get(turns), turns))
    return Preference(prompt, (chosen, rejected), tools_of(row), margin_of(row))


def to_row(example: Preference) -> dict[str, Any]:
    """Raises RowError for more than two answers and for answers of several turns."""
    answers = two_answers(example.answers, "sharegpt_pairs")
    if any(len(answer) != 1 for answer in answers):
        raise refusal("sharegpt_pairs", say("answers of several turns", "由多轮组成的回答"))
    chosen, rejected = (as_sharegpt(answer)[0] for answer in answers)
    margin = {} if example.margin is None else {"margin": example.margin}
    return {
        "conversations": as_sharegpt(example.prompt),
        "chosen": chosen,
        "rejected": rejected,
        **margin,
        **with_tools(example.tools),
    }
