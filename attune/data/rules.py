"""The rules that every example keeps, whatever format it came in.

Turns: system messages first; then user and assistant take turns, with tools' turns after an assistant's call;
no turn of the user or the assistant is empty. A conversation learns some answer; what follows its last answer
cannot be learnt: it is cut, and that is told. Answers that are compared differ. A label is there, and is a
number only where it is one.
"""

from __future__ import annotations

import math
from dataclasses import replace

from ..recipe.messages import say
from .examples import (
    Conversation,
    Example,
    Labelled,
    Message,
    Messages,
    Preference,
    Prompt,
    Role,
    RowError,
    Text,
    Verdict,
    texts,
)

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
    if isinstance(example, Conversation):
        return _conversation(example)
    if isinstance(example, Text):
        _must_encode(example.text)
    elif isinstance(example, Preference):
        _preference(example)
    elif isinstance(example, Verdict):
        _turns((*example.prompt, *example.answer))
        _must_answer(example.answer, len(example.prompt))
    elif isinstance(example, Prompt):
        _turns(example.messages)
        if not example.messages or example.messages[-1].role not in ("user", "tool"):
            raise RowError(
                say("the prompt does not end with a question.", "提示没有以提问结束。"), "no_question"
            )
    elif isinstance(example, Labelled):
        _labelled(example)
    return example, None


def merge_turns(messages: Messages, roles: tuple[Role, ...] = ("user", "assistant")) -> Messages:
    """Runs of one role made one turn, its texts joined by a line break; only turns of ``roles`` that hold
    nothing but text are joined.
    """
    merged: list[Message] = []
    for message in messages:
        last = merged[-1] if merged else None
        if last and last.role == message.role in roles and not (last.extra or message.extra):
            text = "\n".join(part for part in (last.content, message.content) if part)
            merged[-1] = replace(last, content=text, learn=last.learn and message.learn)
        else:
            merged.append(message)
    return tuple(merged)


def _conversation(example: Conversation) -> tuple[Conversation, str | None]:
    kept, change = _cut_end(example)
    _turns(kept.messages)
    if not any(message.role == "assistant" and message.learn for message in kept.messages):
        raise RowError(
            say("no answer is learnt: the weight of each is 0.", "没有要学习的回答：权重都是 0。"),
            "nothing_learnt",
        )
    return kept, change


def _preference(example: Preference) -> None:
    if len(example.answers) < 2:
        raise RowError(
            say("one answer only: nothing to compare it with.", "只有一个回答，无可比较。"), "one_answer"
        )
    for answer in example.answers:
        _turns((*example.prompt, *answer))
        _must_answer(answer, len(example.prompt))
    written = [[(turn.role, turn.content, turn.extra) for turn in answer] for answer in example.answers]
    for place, said in enumerate(written):
        if said in written[:place]:
            raise RowError(
                say(
                    "the answers compared are the same (“{start}”): there is no preference in it.",
                    "所比较的回答相同（“{start}”）：没有偏好可学。",
                    start=_start(example.answers[place][-1]),
                ),
                "equal_answers",
            )


def _must_answer(answer: Messages, before: int) -> None:
    if not answer or answer[-1].role != "assistant":
        raise RowError(
            say(
                "turn {number}: the answer does not end with an assistant's turn.",
                "第 {number} 轮：回答没有以助手的话结束。",
                number=before + max(1, len(answer)),
            ),
            "no_answer",
        )


def _labelled(example: Labelled) -> None:
    for text in texts(example):
        _must_encode(text)
    if example.image is None and not (example.text or "").strip():
        raise RowError(say("the text is empty.", "文本为空。"), "empty_text")
    if isinstance(example.label, float) and not math.isfinite(example.label):
        raise RowError(
            say("the label is {label}: no number.", "标签是 {label}，不是数。", label=example.label),
            "no_label",
        )
    if isinstance(example.label, str) and not example.label.strip():
        raise RowError(say("the label is empty.", "标签为空。"), "no_label")


def _turns(messages: Messages) -> None:
    before: Role | None = None
    for number, message in enumerate(messages, start=1):
        _must_encode(message.content)
        if before not in _MAY_FOLLOW[message.role]:
            raise RowError(_out_of_order(number, before, message), "turns_out_of_order")
        if not message.content.strip() and not _may_be_empty(message):
            raise RowError(_empty(number, message), f"empty_{_SIDE[message.role]}")
        before = message.role


_SIDE = {"assistant": "answer", "user": "prompt"}


def _cut_end(example: Conversation) -> tuple[Conversation, str | None]:
    end = len(example.messages)
    while end and example.messages[end - 1].role != "assistant":
        end -= 1
    if not end:
        raise RowError(say("no assistant turn: nothing to learn.", "没有助手的回答，无可学习。"), "no_answer")
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
            ),
            "half_character",
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
