"""From one kind of example to another, where that makes sense; every such change has a sentence for people.

The one place that knows what of a preference is learnt by fine-tuning, and what of a conversation is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..recipe.messages import say
from .examples import Conversation, Example, Message, Preference, Prompt, RowError, Verdict


def as_kind(example: Example, source: str, target: str) -> list[Example]:
    """The example of kind ``source`` as one or more of kind ``target``.

    Raises RowError (``does_not_fit``) where this example has nothing that the target is made of; KeyError
    where no example of the source has (``can_become`` is False).
    """
    return [example] if source == target else _WAYS[source, target](example)


def can_become(source: str, target: str) -> bool:
    """Whether examples of one kind can be turned into another."""
    return source == target or (source, target) in _WAYS


def is_served(source: str, target: str) -> bool:
    """Whether a command that learns from ``target`` takes files of ``source`` as they are, and says so."""
    return source == target or (source, target) in _SERVED


def told(source: str, target: str) -> str | None:
    """What is kept and what is left, as a sentence; None where nothing changes."""
    return _SENTENCES[source, target]() if source != target else None


def to_prompt(example: Conversation) -> Prompt:
    """The turns before the last answer, and that answer as the reference, where it has text."""
    turns = example.messages
    last = next((at for at in reversed(range(len(turns))) if turns[at].role == "assistant"), len(turns))
    reference = turns[last].content if last < len(turns) else ""
    return Prompt(turns[:last], reference or None, tools=example.tools)


def _chosen(example: Preference) -> list[Example]:
    return [Conversation((*example.prompt, *example.chosen), example.tools)]


def _verdicts(example: Preference) -> list[Example]:
    sides = ((example.chosen, True), (example.rejected, False))
    return [Verdict(example.prompt, answer, is_good, example.tools) for answer, is_good in sides]


def _good(example: Verdict) -> list[Example]:
    if not example.is_good:
        raise RowError(
            say("the answer was called bad: it is not to be learnt.", "该回答被评为差，不应学习。"),
            "called_bad",
        )
    return [Conversation((*example.prompt, *example.answer), example.tools)]


def _answered(example: Prompt) -> list[Example]:
    if example.reference is None:
        raise RowError(say("the prompt has no reference answer.", "该提示没有参考答案。"), "no_answer")
    return [Conversation((*example.messages, Message("assistant", example.reference)), example.tools)]


_WAYS: dict[tuple[str, str], Callable[[Any], list[Example]]] = {
    ("preference", "conversation"): _chosen,
    ("preference", "verdict"): _verdicts,
    ("preference", "prompt"): lambda example: [Prompt(example.prompt, tools=example.tools)],
    ("verdict", "conversation"): _good,
    ("verdict", "prompt"): lambda example: [Prompt(example.prompt, tools=example.tools)],
    ("conversation", "prompt"): lambda example: [to_prompt(example)],
    ("prompt", "conversation"): _answered,
}
_SERVED = {("conversation", "prompt"), ("preference", "verdict")}
"""The rest needs a decision (which of the answers is to be learnt?), which ``attune convert`` asks for."""
_SENTENCES: dict[tuple[str, str], Callable[[], str]] = {
    ("preference", "conversation"): lambda: say(
        "preferences became conversations: the best answers are kept, the others left out",
        "偏好数据转为对话：保留最好的回答，其余不保留",
    ),
    ("preference", "verdict"): lambda: say(
        "each preference became two verdicts: its best answer is good, its worst bad",
        "每条偏好转为两条评判：最好的回答为好，最差的为差",
    ),
    ("preference", "prompt"): lambda: say(
        "preferences became prompts: all answers are left out", "偏好数据转为提示：不保留回答"
    ),
    ("verdict", "conversation"): lambda: say(
        "verdicts became conversations: only answers called good are kept",
        "评判数据转为对话：只保留评为好的回答",
    ),
    ("verdict", "prompt"): lambda: say(
        "verdicts became prompts: all answers are left out", "评判数据转为提示：不保留回答"
    ),
    ("conversation", "prompt"): lambda: say(
        "conversations became prompts: the last answer of each is its reference",
        "对话转为提示：最后一个回答作为参考答案",
    ),
    ("prompt", "conversation"): lambda: say(
        "prompts became conversations: the reference is the answer; other columns are left out",
        "提示转为对话：以参考答案为回答，其他列不保留",
    ),
}
