"""A prompt and a list of answers: ``output``, the best first; or ``responses`` (``answers``, ``completions``)
with ``scores`` (higher is better) or ``ranks`` (1 is best), beside the list or inside of its items.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from ...recipe.messages import say
from ..examples import Message, Messages, Preference, RowError
from ._others import refuse_media
from ._prompt import INPUT, PROMPT, asked
from ._row import filled, first, from_json, kind_of, number
from ._turns import ROW_COLUMNS, system_of, tools_of
from ._written import exchanges, plain_parts, refusal

KIND = "preference"
_ANSWERS = ("output", "outputs", "responses", "answers", "completions", "candidates")
_SCORES = ("scores", "score", "ratings", "overall_score")
_RANKS = ("ranks", "rank", "ranking")
_TEXTS = ("text", "answer", "response", "content", "completion", "output")
NEEDS = (PROMPT, _ANSWERS)
ALSO = (INPUT, ("history",), _SCORES, _RANKS, *ROW_COLUMNS)
SAMPLE: list[dict[str, Any]] = [
    {
        "instruction": "Recommend a dish.",
        "input": "",
        "output": ["The soup dumplings.", "Anything.", "No."],
    },
    {"prompt": "几点关门？", "responses": ["不清楚。", "晚上九点。"], "scores": [2, 9]},
    {
        "prompt": "Is it spicy?",
        "answers": [{"answer": "A little.", "rank": 1}, {"answer": "Who knows.", "rank": 2}],
    },
]


def fits(row: dict[str, Any]) -> bool:
    """Only ``output`` says by its order alone which answer is better; other lists may hold answers that are
    all right.
    """
    name = first(row, _ANSWERS) or ""
    answers = from_json(row.get(name))
    if not isinstance(answers, list) or not answers or isinstance(from_json(row.get(_prompt(row))), list):
        return False
    return name == "output" or _order(row, answers) is not None


def to_example(row: dict[str, Any]) -> Preference:
    """Raises RowError for answers that are no texts, and for two of the same score or rank."""
    refuse_media(row)
    name = first(row, _ANSWERS) or _ANSWERS[0]
    answers = from_json(row.get(name))
    if not isinstance(answers, list) or not answers:
        raise RowError(
            say(
                "{name} is {kind}; it must be a list of answers.",
                "{name} 是{kind}；应为回答的列表。",
                name=name,
                kind=kind_of(answers),
            ),
            "not_ranked",
        )
    ranks = _order(row, answers)
    if ranks is None and name != "output":
        raise RowError(
            say(
                "{name} has neither scores nor ranks, one number an answer: which is better is not said.",
                "{name} 没有为每个回答给出 scores 或 ranks：无法知道哪个更好。",
                name=name,
            ),
            "not_ranked",
        )
    said = [_answer(answer, f"{name} {place}") for place, answer in enumerate(answers, start=1)]
    best_first = said if ranks is None else [said[place] for place in _sorted(ranks)]
    prompt = (*system_of(row), *asked(row, _prompt(row)))
    return Preference(prompt, tuple(best_first), tools_of(row))


def to_row(example: Preference) -> dict[str, Any]:
    """Raises RowError for answers of several turns and for a margin."""
    system, turns, tools = plain_parts(example.prompt, example.tools, "ranked")
    if not turns or example.margin is not None or any(len(answer) != 1 for answer in example.answers):
        raise refusal("ranked", say("answers of several turns, or a margin", "由多轮组成的回答或 margin"))
    for answer in example.answers:
        plain_parts(answer, (), "ranked")
    row: dict[str, Any] = {"instruction": turns[-1].content, "input": ""}
    row["output"] = [answer[0].content for answer in example.answers]
    if turns[:-1]:
        row["history"] = [list(pair) for pair in exchanges(turns[:-1], "ranked")]
    return {**row, **system, **tools}


def _prompt(row: dict[str, Any]) -> str:
    return first(row, PROMPT) or PROMPT[0]


def _answer(value: Any, where: str) -> Messages:
    if isinstance(value, dict):
        value = value.get(first(value, _TEXTS) or "")
    return (Message("assistant", filled(value, where, "empty_answer")),)


def _order(row: dict[str, Any], answers: list[Any]) -> list[float] | None:
    """A number for each answer, the lower the better; None where there are none."""
    for names, sign in ((_RANKS, 1.0), (_SCORES, -1.0)):
        found: Iterable[Any]
        if all(isinstance(answer, dict) and first(answer, names) for answer in answers):
            found = [answer[first(answer, names)] for answer in answers]
        else:
            beside = from_json(row.get(first(row, names) or ""))
            found = beside if isinstance(beside, list) else []
        numbers = [number(one) for one in found]
        known = [sign * one for one in numbers if one is not None]
        if len(known) == len(numbers) == len(answers):
            return known
    return None


def _sorted(ranks: list[float]) -> list[int]:
    order = sorted(range(len(ranks)), key=ranks.__getitem__)
    for better, worse in pairwise(order):
        if ranks[better] == ranks[worse]:
            raise RowError(
                say(
                    "answers {one} and {other} have the same score: which is better is not said.",
                    "第 {one} 个与第 {other} 个回答分数相同：无法知道哪个更好。",
                    one=better + 1,
                    other=worse + 1,
                ),
                "tie",
            )
    return order
