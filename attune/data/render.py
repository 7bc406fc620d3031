"""Rendering with a tokenizer's chat template, and what the template can do, found by rendering probes:
which token stops an answer, and which parts of a conversation it leaves out without a word.
"""

from __future__ import annotations

import json
import re
from itertools import dropwhile, takewhile
from typing import Any

from ..recipe.messages import say
from .examples import RowError

PROBE = "\u2603snowman\u2603"
"""Stands for a content that no template writes by itself."""

_THOUGHT = re.compile(r"</?[\w:]*think(?:ing)?>")

_ASK = {"role": "user", "content": "?"}


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
        said = say("the chat template refuses it: {reason}", "对话模板拒绝了它：{reason}", reason=reason)
        raise RowError(said, "template_refuses") from None
    return str(text)


def token_ids(tokenizer: Any, text: str) -> list[int]:
    """Ids of a text that holds its special tokens already."""
    fast = getattr(tokenizer, "backend_tokenizer", None)
    if fast is not None:
        return list(fast.encode(text, add_special_tokens=False).ids)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def find_stop(tokenizer: Any) -> tuple[str, str, int] | str | None:
    """What stands after an answer up to the stop token, the end of that which the template leaves to the next
    turn, and the token's id; or only what it writes, where no special token is in it; or None, where it does
    not write the answer. Found by rendering, not by name. Raises RowError where the template refuses a
    question and an answer.
    """
    answer = {"role": "assistant", "content": PROBE}
    text = render(tokenizer, [_ASK, answer], None, False)
    if PROBE not in text:
        return None
    tail = text.rpartition(PROBE)[2]
    found = _first_special(tokenizer, tail)
    if found is not None:
        return found[0], "", found[1]
    try:
        longer = render(tokenizer, [_ASK, answer, _ASK], None, False).rpartition(PROBE)[2]
    except RowError:
        return tail
    found = _first_special(tokenizer, longer)
    if found is None or not found[0].startswith(tail):
        return tail
    return found[0], found[0][len(tail) :], found[1]


def _first_special(tokenizer: Any, text: str) -> tuple[str, int] | None:
    """The beginning of ``text`` up to and including its first special token, and that token's id. Of several
    in a row it is the tokenizer's end token, if that is among them (Cohere ends the text, then the turn).
    """
    special = _specials(tokenizer)
    ids = dropwhile(lambda token_id: token_id not in special, token_ids(tokenizer, text) if text else [])
    row = list(takewhile(special.__contains__, ids))
    if not row:
        return None
    tokens = tokenizer.convert_ids_to_tokens(row)
    last = row.index(tokenizer.eos_token_id) if tokenizer.eos_token_id in row else 0
    cut = text.find("".join(tokens[: last + 1]))
    return (text[: cut + len("".join(tokens[: last + 1]))], row[last]) if cut >= 0 else None


def _specials(tokenizer: Any) -> set[int]:
    """Ids of the tokens that are marks rather than text."""
    return set(tokenizer.all_special_ids) | {
        token_id
        for token_id, token in tokenizer.added_tokens_decoder.items()
        if token.special or str(token).startswith("<")
    }


def tool_call(name: str, arguments: Any = None) -> dict[str, Any]:
    """A tool call as conversations hold it; without ``arguments`` with none."""
    return {"id": "abcdefghi", "type": "function", "function": {"name": name, "arguments": arguments or {}}}


def wants_text(tokenizer: Any) -> bool:
    """Whether the template takes the arguments of a tool call as JSON text: an object would be refused, or
    written as Python writes it.
    """

    def written(arguments: Any) -> str:
        call = {"role": "assistant", "content": "", "tool_calls": [tool_call("f", arguments)]}
        try:
            return render(tokenizer, [_ASK, call], None, False)
        except RowError:
            return ""

    as_object = written({"key": PROBE})
    return (not as_object or f"'key': '{PROBE}'" in as_object) and PROBE in written(f'{{"key": "{PROBE}"}}')


def with_text(message: dict[str, Any]) -> dict[str, Any]:
    """The message with the arguments of its tool calls as JSON text."""
    calls = []
    for call in message.get("tool_calls") or ():
        function = call["function"]
        arguments = function["arguments"]
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        calls.append({**call, "function": {**function, "arguments": arguments}})
    return {**message, "tool_calls": calls} if calls else message


def find_call_stop(tokenizer: Any, stop: str, closing: str, as_text: bool) -> int | None:
    """The token that ends a turn of tool calls where it is not ``stop`` (gpt-oss: ``<|call|>``)."""
    call = {"role": "assistant", "content": "", "tool_calls": [tool_call(PROBE)]}
    try:
        text = render(tokenizer, [_ASK, with_text(call) if as_text else call], None, False) + closing
    except RowError:
        return None
    tail = text.rpartition(PROBE)[2].rstrip()
    last = token_ids(tokenizer, tail)[-1:]
    return last[0] if stop not in tail and _specials(tokenizer).issuperset(last) and last else None


def find_silent(tokenizer: Any, as_text: bool = False) -> frozenset[str]:
    """Parts of a conversation that the template neither writes nor refuses."""
    function = {"name": PROBE, "description": "?", "parameters": {"type": "object", "properties": {}}}
    calling, plain = (
        {"role": "assistant", "content": "", "tool_calls": [tool_call(name)]} for name in (PROBE, "f")
    )
    if as_text:
        calling, plain = with_text(calling), with_text(plain)
    result = {"role": "tool", "content": PROBE, "name": "f", "tool_call_id": "abcdefghi"}
    probes: dict[str, tuple[list[dict[str, Any]], list[Any] | None]] = {
        "system": ([{"role": "system", "content": PROBE}, _ASK], None),
        "tools": ([_ASK], [{"type": "function", "function": function}]),
        "tool_calls": ([_ASK, calling], None),
        "tool": ([_ASK, plain, result], None),
        "reasoning": ([_ASK, {"role": "assistant", "content": "!", "reasoning_content": PROBE}], None),
    }
    silent = set()
    for part, (messages, tools) in probes.items():
        try:
            text = render(tokenizer, messages, tools, messages[-1]["role"] != "assistant")
        except RowError:
            continue  # refused: a conversation that has such a part is refused in the template's own words
        # A template may write JSON with every character beyond ASCII escaped.
        if PROBE not in text and "snowman" not in text:
            silent.add(part)
    return frozenset(silent)


def holds(answer: str, content: str) -> bool:
    """Whether a content stands in what is learnt; white space may differ at its ends and around a thought."""
    if content.strip() in answer:
        return True
    start = 0
    for part in _THOUGHT.split(content):
        start = answer.find(part.strip(), start)
        if start < 0:
            return False
        start += len(part.strip())
    return True
