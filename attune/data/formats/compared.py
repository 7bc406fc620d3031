"""Two answers side by side and which is preferred: ``output_1``, ``output_2`` and ``preference`` (1 or 2).

Also ``response_1``/``response_2``, ``response_a``/``response_b`` with ``winner``, and ``response_0``/
``response_1`` with ``better_response_id`` (0 or 1). The first is preferred by 1, "a" or its own name, the
second by 2, -1, "b" or its own name; where the answers count from 0, by 0 and 1. Anything else is a tie,
which teaches nothing.
"""

from __future__ import annotations

from typing import Any

from ...recipe.messages import say
from ..examples import Preference, RowError
from ._answers import answer_of, as_answer, two_answers
from ._others import refuse_media
from ._prompt import INPUT, PROMPT, asked
from ._row import first
from ._turns import ROW_COLUMNS, system_of, tools_of
from ._written import as_messages, refusal, with_tools

KIND = "preference"
_ONE = ("output_1", "response_0", "response_1", "answer_1", "response_a", "output_a", "answer_a")
_OTHER = ("output_2", "response_2", "response_1", "answer_2", "response_b", "output_b", "answer_b")
_CHOICE = ("preference", "winner", "better_response_id", "choice", "preferred")
NEEDS = (PROMPT, _ONE, _OTHER, _CHOICE)
ALSO = (INPUT, ("history",), *ROW_COLUMNS)
SAMPLE: list[dict[str, Any]] = [
    {
        "instruction": "Recommend a dish.",
        "input": "",
        "output_1": "Anything.",
        "output_2": "The soup dumplings.",
        "preference": 2,
    },
    {"prompt": "Is it spicy?", "response_a": "A little.", "response_b": "No idea.", "winner": "a"},
]
_FIRST = {"1", "a", "model_a", "first"}
_SECOND = {"2", "-1", "b", "model_b", "second"}


def to_example(row: dict[str, Any]) -> Preference:
    """Raises RowError for a tie."""
    refuse_media(row)
    one, other, choice = (first(row, group) or group[0] for group in (_ONE, _OTHER, _CHOICE))
    answers = answer_of(row.get(one), one), answer_of(row.get(other), other)
    said = row.get(choice)
    word = str(int(said) if isinstance(said, float) and said.is_integer() else said).strip().lower()
    from_zero = one.endswith("_0")
    if word == one or word in ({"0"} if from_zero else _FIRST):
        best_first = answers
    elif word == other or word in ({"1"} if from_zero else _SECOND):
        best_first = answers[::-1]
    else:
        raise RowError(
            say(
                "{name} is {value}: neither answer is preferred.",
                "{name} 为 {value}：两个回答没有优劣之分。",
                name=choice,
                value=said,
            ),
            "tie",
        )
    prompt = asked(row, first(row, PROMPT) or PROMPT[0])
    return Preference((*system_of(row), *prompt), best_first, tools_of(row))


def to_row(example: Preference) -> dict[str, Any]:
    """The better answer stands first. Raises RowError for more than two answers and for a margin."""
    if example.margin is not None:
        raise refusal("compared", say("a margin", "margin"))
    better, worse = two_answers(example.answers, "compared")
    turns = example.prompt
    is_one = len(turns) == 1 and turns[0].role == "user" and not turns[0].extra
    return {
        "prompt": turns[0].content if is_one else as_messages(turns),
        "output_1": as_answer(better),
        "output_2": as_answer(worse),
        "preference": 1,
        **with_tools(example.tools),
    }
