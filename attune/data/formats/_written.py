"""From messages back to the cells of a row; what a form has no place for is refused by name."""

from __future__ import annotations

import json
from typing import Any

from ...recipe.messages import say
from ..examples import Message, Messages, RowError, Tools

_FROM = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}


def refusal(form: str, what: str) -> RowError:
    """The error for an example that the form cannot hold, because ``what`` is in it."""
    return RowError(
        say(
            "the form {form} cannot hold {what}.",
            "{form} 格式无法容纳{what}。",
            form=form,
            what=what,
        ),
        "does_not_fit",
    )


def as_messages(messages: Messages) -> list[dict[str, Any]]:
    """``{"role", "content"}`` with what else a turn holds; ``weight`` 0 where an answer is not learnt."""
    return [turn.as_dict() | ({} if turn.learn else {"weight": 0}) for turn in messages]


def as_sharegpt(messages: Messages) -> list[dict[str, Any]]:
    """``{"from", "value"}``; an assistant's turn that only calls tools is one from ``function_call``."""
    return [_sharegpt_turn(turn) for turn in messages]


def with_tools(tools: Tools) -> dict[str, Any]:
    """The column ``tools``, where there are any."""
    return {"tools": list(tools)} if tools else {}


def plain_parts(
    messages: Messages, tools: Tools, form: str
) -> tuple[dict[str, str], Messages, dict[str, Any]]:
    """The columns ``system`` and ``tools``, and the turns of the user and the assistant between them."""
    system = {"system": messages[0].content} if messages and messages[0].role == "system" else {}
    turns = messages[len(system) :]
    if any(turn.role not in ("user", "assistant") for turn in turns):
        raise refusal(form, say("turns of tools or a second system message", "工具的回合或第二条系统消息"))
    if any(turn.extra for turn in turns):
        raise refusal(form, say("tool calls, reasoning or names", "工具调用、思考过程或名称"))
    if not all(turn.learn for turn in turns):
        raise refusal(form, say("answers that are not learnt (weight 0)", "不学习的回答（权重 0）"))
    return system, turns, with_tools(tools)


def exchanges(turns: Messages, form: str) -> list[tuple[str, str]]:
    """The turns as pairs of question and answer."""
    roles = [turn.role for turn in turns]
    if not turns or roles != ["user", "assistant"] * (len(turns) // 2):
        raise refusal(form, say("turns that are no pairs of question and answer", "不成“一问一答”的回合"))
    return [(asked.content, answer.content) for asked, answer in zip(turns[::2], turns[1::2], strict=True)]


def one_exchange(messages: Messages, tools: Tools, form: str) -> tuple[str, str]:
    """Question and answer of a conversation that is nothing but these."""
    system, turns, _ = plain_parts(messages, tools, form)
    pairs = exchanges(turns, form)
    if system or tools or len(pairs) > 1:
        raise refusal(form, say("several turns, a system message or tools", "多轮对话、系统消息或工具"))
    return pairs[0]


def _sharegpt_turn(turn: Message) -> dict[str, Any]:
    rest = dict(turn.extra)
    said, value = _FROM[turn.role], turn.content
    if calls := rest.pop("tool_calls", None):
        if value:
            raise refusal("sharegpt", say("both text and tool calls in a turn", "一轮中同时有文本与工具调用"))
        functions = [call["function"] for call in calls]
        said, value = (
            "function_call",
            json.dumps(functions[0] if len(functions) == 1 else functions, ensure_ascii=False),
        )
    weight = {} if turn.learn else {"weight": 0}
    return {"from": said, "value": value, **rest, **weight}
