"""Rendering with a tokenizer's chat template, and what the template can do, found by rendering probes:
which token stops an answer, and which parts of a conversation it leaves out without a word.
"""

from __future__ import annotations

from typing import Any

from ..recipe.messages import say
from .examples import RowError

PROBE = "\u2603snowman\u2603"
"""Stands for a content that no template writes by itself."""


def render(
    tokenizer: Any, messages: list[dict[str, Any]], tools: list[Any] | None, generation_prompt: bool
) -> str:
    """The text of a conversation. Raises RowError where the template cannot render it, with its reason."""
    import jinja2

    # A template is a program that somebody else wrote: what it stumbles over is this row's shape.
    stumbles = (
        jinja2.exceptions.TemplateError,
        TypeError,
        LookupError,
        ValueError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    )
    try:
        text = tokenizer.apply_chat_template(
            messages, tools=tools, tokenize=False, add_generation_prompt=generation_prompt
        )
    except stumbles as error:
        reason = str(error).strip() or type(error).__name__
        raise RowError(
            say("the chat template refuses it: {reason}", "对话模板拒绝了它：{reason}", reason=reason)
        ) from None
    return str(text)


def token_ids(tokenizer: Any, text: str) -> list[int]:
    """Ids of a text that holds its special tokens already."""
    fast = getattr(tokenizer, "backend_tokenizer", None)
    if fast is not None:
        return list(fast.encode(text, add_special_tokens=False).ids)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def find_stop(tokenizer: Any) -> tuple[str, str, int] | str:
    """What stands after an answer up to the stop token, the end of that which the template leaves to the next
    turn, and the token's id; or only what it writes, where no special token is in it. Found by rendering, not
    by name. Raises RowError where the template refuses a question and an answer.
    """
    ask, answer = {"role": "user", "content": "?"}, {"role": "assistant", "content": PROBE}
    text = render(tokenizer, [ask, answer], None, False)
    if PROBE not in text:
        raise RowError(say("it does not write the answer as it stands", "没有原样写出回答"))
    tail = text.rpartition(PROBE)[2]
    found = _first_special(tokenizer, tail)
    if found is not None:
        return found[0], "", found[1]
    try:
        longer = render(tokenizer, [ask, answer, ask], None, False).rpartition(PROBE)[2]
    except RowError:
        return tail
    found = _first_special(tokenizer, longer)
    if found is None or not found[0].startswith(tail):
        return tail
    return found[0], found[0][len(tail) :], found[1]


def _first_special(tokenizer: Any, text: str) -> tuple[str, int] | None:
    """The beginning of ``text`` up to and including its first special token, and that token's id."""
    special = set(tokenizer.all_special_ids) | {
        token_id
        for token_id, token in tokenizer.added_tokens_decoder.items()
        if token.special or str(token).startswith("<")
    }
    for token_id in token_ids(tokenizer, text) if text else []:
        if token_id in special:
            token = tokenizer.convert_ids_to_tokens(token_id)
            cut = text.find(token)
            if cut >= 0:
                return text[: cut + len(token)], token_id
    return None


def find_silent(tokenizer: Any) -> frozenset[str]:
    """Parts of a conversation that the template neither writes nor refuses."""
    ask = {"role": "user", "content": "?"}
    function = {"name": PROBE, "description": "?", "parameters": {"type": "object", "properties": {}}}
    call = {"id": "abcdefghi", "type": "function", "function": {"name": PROBE, "arguments": {}}}
    plain_call = {**call, "function": {"name": "f", "arguments": {}}}
    calling = {"role": "assistant", "content": "", "tool_calls": [call]}
    answer = {"role": "tool", "content": PROBE, "name": "f", "tool_call_id": "abcdefghi"}
    probes: dict[str, tuple[list[dict[str, Any]], list[Any] | None]] = {
        "system": ([{"role": "system", "content": PROBE}, ask], None),
        "tools": ([ask], [{"type": "function", "function": function}]),
        "tool_calls": ([ask, calling], None),
        "tool": ([ask, {**calling, "tool_calls": [plain_call]}, answer], None),
    }
    silent = set()
    for part, (messages, tools) in probes.items():
        try:
            text = render(tokenizer, messages, tools, part != "tool_calls")
        except RowError:
            continue  # refused: a conversation that has such a part is refused in the template's own words
        # A template may write JSON with every character beyond ASCII escaped.
        if PROBE not in text and "snowman" not in text:
            silent.add(part)
    return frozenset(silent)
