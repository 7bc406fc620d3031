"""Answers that are compared: one answer in all its forms, transcripts, and by how much one is better."""

from __future__ import annotations

from typing import Any

from ...recipe.messages import say
from ..examples import Message, Messages, RowError
from ._row import filled, first, from_json, number
from ._transcript import messages_of_transcript
from ._turns import is_turns, messages_of
from ._written import as_messages, refusal

CHOSEN = ("chosen", "chosen_messages", "response_j")
REJECTED = ("rejected", "rejected_messages", "response_k")
_MARGIN = ("margin",)
_SCORE_CHOSEN = ("score_chosen", "chosen_score", "chosen_rating")
_SCORE_REJECTED = ("score_rejected", "rejected_score", "rejected_rating")
SCORES = (_MARGIN, _SCORE_CHOSEN, _SCORE_REJECTED)
"""The groups that ``margin_of`` reads."""


def answer_of(value: Any, name: str) -> Messages:
    """An answer as a text, one turn, or a list of turns."""
    found = from_json(value)
    if isinstance(found, dict):
        return tuple(messages_of([found], name))
    if is_turns(found):
        return tuple(messages_of(found, name))
    return (Message("assistant", filled(value, name, "empty_answer")),)


def transcript(value: Any, name: str) -> Messages:
    """Turns from the first on: a list of them, or one text with marks."""
    if isinstance(value, str) and (turns := messages_of_transcript(value)):
        return tuple(turns)
    return tuple(messages_of(value, name))


def is_transcript(value: Any) -> bool:
    """Whether a cell holds turns from the first on, and not an answer alone."""
    found = from_json(value)
    if isinstance(found, str):
        return bool(messages_of_transcript(found))
    return is_turns(found) and _answers_nothing(found)


def _answers_nothing(turns: list[dict[str, Any]]) -> bool:
    """Whether a list of turns begins with another role than the assistant's."""
    try:
        return messages_of(turns[:1], "")[0].role != "assistant"
    except RowError:
        return False


def parted(chosen: Messages, rejected: Messages) -> tuple[Messages, tuple[Messages, Messages]]:
    """The prompt that two transcripts begin with, and the answers in which they differ.

    Raises RowError where they part in a turn that is no answer: then they answer different prompts.
    """
    limit = min(len(chosen), len(rejected)) - 1  # of two that are equal, the last turns are the answers
    same = 0
    while same < limit and _written(chosen[same]) == _written(rejected[same]):
        same += 1
    if not chosen or not rejected or {chosen[same].role, rejected[same].role} != {"assistant"}:
        raise RowError(
            say(
                "chosen and rejected part in turn {number}, which is no answer in both: they do not answer "
                "one prompt.",
                "chosen 与 rejected 在第 {number} 轮开始不同，而该轮并非都是回答：它们回答的不是同一个提示。",
                number=same + 1,
            ),
            "prompts_differ",
        )
    return chosen[:same], (chosen[same:], rejected[same:])


def margin_of(row: dict[str, Any]) -> float | None:
    """By how much the chosen answer was rated higher, where both ratings (or the difference) are there."""
    if name := first(row, _MARGIN):
        return number(row[name])
    good, bad = (number(row.get(first(row, group) or "")) for group in (_SCORE_CHOSEN, _SCORE_REJECTED))
    return None if good is None or bad is None else good - bad


def as_answer(answer: Messages) -> Any:
    """A text where the answer is one plain turn, else its turns."""
    plain = len(answer) == 1 and not answer[0].extra and answer[0].learn
    return answer[0].content if plain else as_messages(answer)


def two_answers(answers: tuple[Messages, ...], form: str) -> tuple[Messages, Messages]:
    """Chosen and rejected; raises RowError for more."""
    if len(answers) != 2:
        raise refusal(form, say("more than two answers to a prompt", "同一提示的两个以上回答"))
    return answers[0], answers[1]


def _written(turn: Message) -> tuple[str, str, dict[str, Any]]:
    return turn.role, turn.content, turn.extra
