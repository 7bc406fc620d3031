"""The rules that every example keeps, whatever format it came in.

A conversation: system messages first; then user and assistant take turns, with tools' turns after an
assistant's call; no turn of the user or the assistant is empty; some answer is learnt. What follows the last
answer cannot be learnt: it is cut, and that is told.
"""

from __future__ import annotations

from dataclasses import replace

from ..recipe.messages import say
from .examples import Conversation, Example, Message, Role, RowError, Text

_MAY_FOLLOW: dict[Role, tuple[Role | None, ...]] = {
    "system": (None, "system"),
    "user": (None, "system", "assistant"),
    "assistant": ("user", "tool"),
    "tool": ("assistant", "tool"),
}


def check(example: Example) -> tuple[Example, str | None]:
    """The example, and what was changed in it (a sentence for the person, or None).

    Raises RowError with the number of the turn, counted from 1 with the system message, that breaks a rule.
    """
    if isinstance(example, Text):
        _must_encode(example.text)
        return example, None
    kept, change = _cut_end(example)
    before: Role | None = None
    for number, message in enumerate(kept.messages, start=1):
        _must_encode(message.content)
        if before not in _MAY_FOLLOW[message.role]:
            raise RowError(_out_of_order(number, before, message))
        if not message.content.strip() and not _may_be_empty(message):
            raise RowError(_empty(number, message))
        before = message.role
    if not any(message.role == "assistant" and message.learn for message in kept.messages):
        raise RowError(say("no answer is learnt: the weight of each is 0.", "没有要学习的回答：权重都是 0。"))
    return kept, change


def _cut_end(example: Conversation) -> tuple[Conversation, str | None]:
    end = len(example.messages)
    while end and example.messages[end - 1].role != "assistant":
        end -= 1
    if not end:
        raise RowError(say("no assistant turn: nothing to learn.", "没有助手的回答，无可学习。"))
    if end == len(example.messages):
        return example, None
    change = say(
        "cut after the last answer; what followed cannot be learnt: {roles}.",
        "已在最后一个回答处截断；其后的内容无可学习：{roles}。",
        roles=", ".join(message.role for message in example.messages[end:]),
    )
    return replace(example, messages=example.messages[:end]), change


def _may_be_empty(message: Message) -> bool:
    return message.role in ("system", "tool") or bool(message.extra.get("tool_calls"))


def _must_encode(text: str) -> None:
    """``"\\ud83d"`` is valid JSON, but half of a character: no tokenizer takes it."""
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RowError(
            say(
                "the text holds half of a character (\\u{code:04x} without its other half).",
                "文本含有半个字符（\\u{code:04x}，缺少另一半）。",
                code=ord(text[error.start]),
            )
        ) from None


def _out_of_order(number: int, before: Role | None, message: Message) -> str:
    if before == message.role:
        return say(
            "turns {before} and {number} are both from {role} (“{start}”); user and assistant must take "
            "turns.",
            "第 {before} 轮和第 {number} 轮都来自 {role}（“{start}”）；user 与 assistant 应交替。",
            before=number - 1,
            number=number,
            role=message.role,
            start=_start(message),
        )
    if before is None:
        return say(
            "turn 1 is from {role} (“{start}”); a conversation begins with user (or system).",
            "第 1 轮来自 {role}（“{start}”）；对话应由 user（或 system）开始。",
            role=message.role,
            start=_start(message),
        )
    return say(
        "turn {number}, from {role} (“{start}”), follows a turn from {before}; it may follow {allowed}.",
        "第 {number} 轮来自 {role}（“{start}”），其前是 {before}；它只能跟在 {allowed} 之后。",
        number=number,
        role=message.role,
        start=_start(message),
        before=before,
        allowed=" / ".join(role for role in _MAY_FOLLOW[message.role] if role),
    )


def _empty(number: int, message: Message) -> str:
    if message.role == "assistant":
        return say("turn {number}: the answer is empty.", "第 {number} 轮：回答为空。", number=number)
    return say("turn {number}: the user's turn is empty.", "第 {number} 轮：用户的话为空。", number=number)


def _start(message: Message) -> str:
    flat = " ".join(message.content.split())
    return flat if len(flat) <= 24 else flat[:24] + "…"
