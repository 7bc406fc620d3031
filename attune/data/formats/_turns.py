"""Turns in all the spellings that conversations come in, and the conversation that they make.

A turn is ``{"role": …, "content": …}`` or ``{"from": …, "value": …}``; an item may also hold several turns:
``{"system": …, "input": …, "output": …}`` or ``{"human": …, "assistant": …}``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...recipe.messages import join, say
from ..examples import Conversation, Message, Messages, Role, RowError, Tools
from ._others import refuse_other_kinds
from ._row import first, from_json, is_nothing, kind_of, text

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool_call": "assistant",
    "tool": "tool",
    "observation": "tool",
    "function": "tool",
    "function_response": "tool",
    "tool_response": "tool",
}
ROLE_KEYS = ("role", "from", "speaker")
"""The keys under which a turn names its role."""
_CALLS = ("function_call", "tool_call")
_PAIR = (
    ("system", "system"),
    ("input", "user"),
    ("human", "user"),
    ("output", "assistant"),
    ("assistant", "assistant"),
)
_KEPT = ("name", "tool_calls", "tool_call_id", "reasoning_content", "thinking")
_WEIGHTS = ("weight", "loss_weight", "loss", "train")
_MEDIA = ("image", "video", "audio", "input_image", "input_audio")
SYSTEM = ("system", "system_prompt")
ROW_COLUMNS = (SYSTEM, ("tools",))
"""The groups beside the turns that ``conversation`` reads."""


def conversation(row: dict[str, Any], messages: list[Message]) -> Conversation:
    """The conversation, with the row's ``system`` before it and its ``tools``.

    Raises RowError for a row that is about more than text answers: media, preferences, verdicts.
    """
    refuse_other_kinds(row)
    return Conversation((*system_of(row), *messages), tools_of(row))


def system_of(row: dict[str, Any]) -> Messages:
    """The row's system message, if it has one."""
    name = first(row, SYSTEM) or SYSTEM[0]
    said = text(row.get(name), name)
    return (Message("system", said),) if said else ()


def tools_of(row: dict[str, Any]) -> Tools:
    """The row's tools, each as chat templates read it: ``{"type": "function", "function": {…}}``."""
    value = row.get("tools")
    if is_nothing(value) or value in ("", []):
        return ()
    tools = from_json(value)
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise RowError(
            say(
                "tools is {kind}; it must be a list of objects (or the JSON text of one).",
                "tools 是{kind}；应为对象列表（或其 JSON 文本）。",
                kind=kind_of(value),
            ),
            "bad_tools",
        )
    return tuple(tool if "function" in tool else {"type": "function", "function": tool} for tool in tools)


def is_turns(value: Any) -> bool:
    """Whether a cell holds a list of turns, or the JSON text of one; a list may hold nothing else."""
    found = from_json(value)
    return isinstance(found, list) and bool(found) and all(isinstance(item, dict) for item in found)


def messages_of(value: Any, where: str) -> list[Message]:
    """The messages of a list of turns (or of its JSON text, as a CSV cell holds it). Raises RowError."""
    items = from_json(value)
    if not isinstance(items, list):
        raise RowError(
            say(
                "{where} is {kind}; it must be a list of turns.",
                "{where} 是{kind}；应为由各轮组成的列表。",
                where=where,
                kind=kind_of(value),
            ),
            "bad_turn",
        )
    messages: list[Message] = []
    for item in items:
        messages.extend(_messages(item, len(messages) + 1))
    return messages


def _messages(item: Any, number: int) -> Iterator[Message]:
    if not isinstance(item, dict):
        raise RowError(
            say(
                "turn {number} is {kind}; it must be an object with role and content.",
                "第 {number} 轮是{kind}；应为含 role 和 content 的对象。",
                number=number,
                kind=kind_of(item),
            ),
            "bad_turn",
        )
    role_key = first(item, ROLE_KEYS)
    if role_key is not None:
        yield _message(item, role_key, number)
        return
    pairs = [(name, role) for name, role in _PAIR if name in item]
    if not pairs:
        raise RowError(
            say(
                "turn {number} has the keys {keys}; it needs role and content (or from and value).",
                "第 {number} 轮的键是 {keys}；需要 role 和 content（或 from 和 value）。",
                number=number,
                keys=join(item) or "–",
            ),
            "bad_turn",
        )
    for offset, (name, role) in enumerate(pairs):
        content = text(item[name], _where(number + offset, name))
        if content or role != "system":
            yield Message(ROLES[role], content)


def _message(item: dict[str, Any], role_key: str, number: int) -> Message:
    spelled = str(item[role_key]).strip().lower()
    role = ROLES.get(spelled)
    if role is None:
        raise RowError(
            say(
                "turn {number}: unknown role '{role}'. Allowed: {allowed}. Say what it is with "
                "roles: {{{role}: user}}.",
                "第 {number} 轮：未知角色“{role}”。可用：{allowed}。请说明其含义：roles: {{{role}: user}}。",
                number=number,
                role=item[role_key],
                allowed=join(ROLES),
            ),
            "unknown_role",
        )
    content_key = first(item, ("content", "value", "text"))
    content, extra = _content(item[content_key] if content_key else None, number)
    extra = {**{key: item[key] for key in _KEPT if item.get(key) not in (None, "", [])}, **extra}
    if spelled in _CALLS:
        content, extra = "", {**extra, "tool_calls": [*_calls(content, number)]}
    elif "tool_calls" in extra:
        extra["tool_calls"] = _calls(extra["tool_calls"], number)
    return Message(role, content, learn=_is_learnt(item, number), extra=extra)


def _content(value: Any, number: int) -> tuple[str, dict[str, Any]]:
    """The text of a message, and what its parts hold besides text."""
    if not isinstance(value, list):
        return text(value, _where(number, "content")), {}
    texts: list[str] = []
    extra: dict[str, Any] = {}
    for part in value:
        part = {"type": "text", "text": part} if isinstance(part, str) else part
        kind = part.get("type") if isinstance(part, dict) else None
        inside = part.get("text", part.get("value")) if kind else None
        if kind == "text":
            texts.append(text(inside, _where(number, "content")))
        elif kind in ("reasoning", "thinking"):
            reasoning = text(part.get("thinking", inside), _where(number, kind))
            extra["reasoning_content"] = extra.get("reasoning_content", "") + reasoning
        elif kind in _CALLS:
            extra["tool_calls"] = [*extra.get("tool_calls", ()), *_calls(inside, number)]
        else:
            raise RowError(
                say(
                    "turn {number}: the content holds a part of type {kind}; a text model takes text parts "
                    "only.",
                    "第 {number} 轮：内容中有类型为 {kind} 的部分；纯文本模型只接受 text。",
                    number=number,
                    kind=kind or kind_of(part),
                ),
                "media" if str(kind).removesuffix("_url") in _MEDIA else "bad_turn",
            )
    return "".join(texts), extra


def _calls(value: Any, number: int) -> list[dict[str, Any]]:
    """Tool calls as chat templates read them: ``{"type": "function", "function": {"name", "arguments"}}``."""
    found = from_json(value)
    calls = []
    for call in found if isinstance(found, list) else [found]:
        function = call.get("function", call) if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise RowError(
                say(
                    'turn {number}: a tool call must be JSON with a name and arguments: {{"name": …, '
                    '"arguments": …}}.',
                    '第 {number} 轮：工具调用应为含名称和参数的 JSON：{{"name": …, "arguments": …}}。',
                    number=number,
                ),
                "bad_tool_call",
            )
        # Templates print arguments as JSON themselves: as text they would be quoted twice.
        function = {**function, "arguments": from_json(function.get("arguments", {}))}
        outer = (
            {key: content for key, content in call.items() if key != "function"} if "function" in call else {}
        )
        calls.append({"type": "function", **outer, "function": function})
    return calls


def _is_learnt(item: dict[str, Any], number: int) -> bool:
    name = first(item, _WEIGHTS)
    if name is None:
        return True
    if item[name] not in (0, 1):
        raise RowError(
            say(
                "turn {number}: {name} is {value}; allowed are 0 (context only) and 1 (learnt).",
                "第 {number} 轮：{name} 为 {value}；只能是 0（仅作上下文）或 1（学习）。",
                number=number,
                name=name,
                value=item[name],
            ),
            "bad_weight",
        )
    return bool(item[name])


def _where(number: int, name: str) -> str:
    return say("turn {number}: {name}", "第 {number} 轮：{name}", number=number, name=name)
