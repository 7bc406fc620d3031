"""MOSS: ``chat``, an object ``{"turn_1": {"Human": …, "MOSS": …}, "turn_2": …}``.

The marks around each text (``<|Human|>: … <eoh>``) are taken off. ``Inner Thoughts`` are the turn's
reasoning. A turn that runs a command is refused: commands are in a language of their own, no tool call that
a chat template could write. ``meta_instruction`` describes MOSS itself and is not read.
"""

from __future__ import annotations

import re
from typing import Any

from ...recipe.messages import say
from ..examples import Conversation, Message, RowError
from ._others import is_plain
from ._row import filled, from_json, kind_of, text
from ._turns import ROW_COLUMNS, conversation

KIND = "conversation"
NEEDS = (("chat",),)
ALSO = ROW_COLUMNS
SAMPLE = [
    {
        "chat": {
            "turn_1": {
                "Human": "<|Human|>: 小笼包怎么吃？<eoh>\n",
                "Inner Thoughts": "<|Inner Thoughts|>: None<eot>\n",
                "Commands": "<|Commands|>: None<eoc>\n",
                "Tool Responses": "<|Results|>: None<eor>\n",
                "MOSS": "<|MOSS|>: 先咬一小口，喝汤，再吃。<eom>\n",
            },
            "turn_2": {"Human": "<|Human|>: 蘸什么？<eoh>\n", "MOSS": "<|MOSS|>: 姜丝和醋。<eom>\n"},
        }
    }
]

_MARKS = re.compile(r"^\s*<\|[^|<>]*\|>:? ?|\s*<eo[a-z]>\s*$")
_TURN = re.compile(r"turn_(\d+)")


def fits(row: dict[str, Any]) -> bool:
    """Not what is compared or judged; other data sets call other things a chat."""
    return is_plain(row) and isinstance(from_json(row.get("chat")), dict)


def to_example(row: dict[str, Any]) -> Conversation:
    """Raises RowError naming the turn that cannot be read."""
    chat = from_json(row.get("chat"))
    if not isinstance(chat, dict) or not all(_TURN.fullmatch(str(key)) for key in chat):
        raise RowError(
            say(
                "chat is {kind}; it must be an object of turns: turn_1, turn_2 …",
                "chat 是{kind}；应为由 turn_1、turn_2 等组成的对象。",
                kind=kind_of(chat),
            ),
            "bad_turn",
        )
    messages: list[Message] = []
    for name in sorted(chat, key=lambda key: int(key.removeprefix("turn_"))):
        messages += _exchange(chat[name], name)
    return conversation(row, messages)


def _exchange(turn: Any, name: str) -> list[Message]:
    if not isinstance(turn, dict):
        raise RowError(
            say(
                "{name} is {kind}; it must be an object with Human and MOSS.",
                "{name} 是{kind}；应为含 Human 和 MOSS 的对象。",
                name=name,
                kind=kind_of(turn),
            ),
            "bad_turn",
        )
    if _said(turn, "Commands", name):
        raise RowError(
            say(
                "{name} runs a command, in MOSS's own language; there is no tool call for it.",
                "{name} 执行了 MOSS 自有语言的命令，无法表示为工具调用。",
                name=name,
            ),
            "bad_tool_call",
        )
    thoughts = _said(turn, "Inner Thoughts", name)
    extra = {"reasoning_content": thoughts} if thoughts else {}
    return [
        Message("user", filled(_said(turn, "Human", name), f"{name}: Human", "empty_prompt")),
        Message("assistant", filled(_said(turn, "MOSS", name), f"{name}: MOSS", "empty_answer"), extra=extra),
    ]


def _said(turn: dict[str, Any], key: str, name: str) -> str:
    """The text between its marks; "None" of a thought or a command is none."""
    found = _MARKS.sub("", text(turn.get(key), f"{name}: {key}"))
    return "" if found == "None" and key not in ("Human", "MOSS") else found
