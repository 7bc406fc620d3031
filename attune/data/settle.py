"""What is added to a chat template so that training and inference see the same tokens, in any tool, any day.

A template may write the day's date, or end the prompt of inference otherwise than it writes an answer (with
an opened thought that answers do not have). The cure is Jinja before or behind the template, saved with it:
never an option of a call, of which another tool would not know.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from typing import Any, NamedTuple

from ..recipe.messages import say
from .examples import RowError
from .render import PROBE, render, token_ids, tool_call

DATE = date(2024, 7, 26)
"""Stands for today: the day that the templates of Llama 3.1 and 3.3 write without being told one."""

_THINKING = ("enable_thinking", "thinking", "reasoning", "open_thinking")
_NO_THOUGHT = [(name, f"{name} | default(false)") for name in _THINKING]
_THOUGHT = [(name, f"{name} | default(true)") for name in _THINKING]
_NO_TOOLS = [("tools", "tools or []")]
"""Variables that families define, and what each is set to, in the order in which they are tried. The last one
is for templates that fail where no tool is given.
"""

_TODAY = re.compile(r"""strftime_now\(\s*(["'])(.+?)\1\s*\)""")
_ASK = {"role": "user", "content": "?"}
_PLAIN = {"role": "assistant", "content": PROBE}
_THOUGHTS = "\u2602umbrella\u2602"
_REASONED = {**_PLAIN, "reasoning_content": _THOUGHTS}
_RESULT = {"role": "tool", "content": "?", "name": "f", "tool_call_id": "abcdefghi"}


def _calling(name: str) -> dict[str, Any]:
    return {"role": "assistant", "content": "", "tool_calls": [tool_call(name)]}


class _Change(NamedTuple):
    source: str
    notice: str | None = None


def settle(tokenizer: Any, reasoning: bool | None = None) -> list[str]:
    """Writes into ``tokenizer.chat_template`` what makes it exact, and returns what a person must know of it.
    A template that nothing makes exact keeps its prompt; the checks that follow say what is wrong.

    ``reasoning``: whether the answers carry reasoning. Where they do, the prompt leaves it to the model
    whether to think; where they do not, the prompt closes the thought if the template can. None: what the
    template does by itself, if that is exact.
    """
    source, dates = _without_today(tokenizer.chat_template)
    chosen = _choose(tokenizer, source, reasoning)
    if chosen is None and reasoning:
        chosen = _choose(tokenizer, source, None)  # it writes no reasoning: a row that has some is refused
    chosen = chosen or _Change(source)
    tokenizer.chat_template = chosen.source
    return [notice for notice in (dates, chosen.notice, _trimmed(tokenizer)) if notice]


def is_dated(source: str) -> bool:
    """Whether the template still asks for the day."""
    return "strftime_now(" in source


def _without_today(source: str) -> tuple[str, str | None]:
    """The template with each date that it asks for written out, and what to say about it."""
    fixed = _TODAY.sub(lambda asked: repr(DATE.strftime(asked[2])), source)
    if fixed == source:
        return source, None
    return fixed, say(
        "The chat template writes the day's date: it is fixed at {date}, in training, in inference and where "
        "it is saved, so that every day sees the same prompt.",
        "对话模板会写入当天日期：现固定为 {date}，训练、推理与保存的模板一致，使每天的提示都相同。",
        date=DATE.isoformat(),
    )


def _trimmed(tokenizer: Any) -> str | None:
    """What to say of a template that takes away white space at the ends of an answer: nothing cures that."""
    content = f"\n {PROBE} \n"
    try:
        text = render(tokenizer, [_ASK, {"role": "assistant", "content": content}], None, False)
    except RowError:
        return None
    if content in text:
        return None
    return say(
        "The chat template takes away white space at the ends of an answer: it is not learnt.",
        "对话模板会去掉回答首尾的空白：这些空白不会被学习。",
    )


def _choose(tokenizer: Any, source: str, reasoning: bool | None) -> _Change | None:
    """The first change with which every answer follows the prompt: of switches, then of the prompt's end."""
    answers = [_PLAIN, _REASONED] if reasoning else [_PLAIN]
    first, last = (_THOUGHT, _NO_THOUGHT) if reasoning else (_NO_THOUGHT, _THOUGHT)
    stages = (
        [_Change(source), *_switched(source, [*first, *_NO_TOOLS])],
        _ended(tokenizer, source, answers),
        _switched(source, last),
    )
    picked = (_pick(tokenizer, stage, answers, reasoning) for stage in stages)
    return next(filter(None, picked), None)


def _pick(
    tokenizer: Any, changes: Iterable[_Change], answers: Sequence[dict[str, Any]], reasoning: bool | None
) -> _Change | None:
    """The first of them that is exact. Where answers have no reasoning, one with which no mark stands between
    prompt and answer is better.
    """
    found = None
    for change in changes:
        tokenizer.chat_template = change.source
        between = [_between(tokenizer, answer) for answer in answers]
        if None in between or (reasoning and _THOUGHTS not in str(between[-1])):
            continue
        if reasoning is not False or not str(between[0]).strip():
            return change
        found = found or change
    return found


def _switched(source: str, switches: Iterable[tuple[str, str]]) -> Iterator[_Change]:
    """The template with each of the switches that it knows."""
    for name, value in switches:
        if re.search(rf"\b{name}\b", source):
            line = f"{{% set {name} = {value} %}}"
            notice = say(
                "The chat template now begins with {line}, in training, in inference and where it is saved: "
                "without it the prompt would end otherwise than an answer begins.",
                "对话模板开头加上了 {line}（训练、推理与保存的模板一致）：否则提示的结尾与回答的开头不一致。",
                line=line,
            )
            # The line end is part of it: transformers takes away the first one after a block, and the white
            # space before a block that begins a line.
            yield _Change(f"{line}\n{source}", notice)


def _ended(tokenizer: Any, source: str, answers: Sequence[dict[str, Any]]) -> Iterator[_Change]:
    """The template with another end of the prompt: what it writes itself before each kind of answer."""
    tokenizer.chat_template = source
    kinds = (*answers, _calling(PROBE))
    header = _header(tokenizer, [_ASK], kinds)
    if not header:
        return
    # After the result of a tool a template may write another header, or none.
    later = _header(tokenizer, [_ASK, _calling("f"), _RESULT], answers)
    end = _literal(header)
    if later not in (None, header):
        end = f"({_literal(str(later))} if messages[-1]['role'] == 'tool' else {end})"
    body = source.removesuffix("\n")  # which Jinja takes away at the end of a template
    first = "{% set attune_asks = add_generation_prompt %}\n{% set add_generation_prompt = false %}\n"
    notice = say(
        "The chat template ends the prompt otherwise than it begins an answer: the prompt now ends with "
        "{header!r}, in training, in inference and where it is saved.",
        "对话模板的提示结尾与回答开头不一致：提示现以 {header!r} 结尾，训练、推理与保存的模板一致。",
        header=header,
    )
    yield _Change(f"{first}{body}{{{{ {end} if attune_asks }}}}", notice)


def _literal(text: str) -> str:
    """The text as Jinja writes a string."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"


def _header(tokenizer: Any, asked: Sequence[dict[str, Any]], answers: Sequence[dict[str, Any]]) -> str | None:
    """What the template writes before every one of the answers that it takes; None where it takes none."""
    texts = (_between(tokenizer, answer, asked, is_prompt=False) for answer in answers)
    written = [text for text in texts if text is not None]
    return _shared(tokenizer, written) if written else None


def _between(
    tokenizer: Any,
    answer: dict[str, Any],
    asked: Sequence[dict[str, Any]] = (_ASK,),
    *,
    is_prompt: bool = True,
) -> str | None:
    """What stands between the prompt (else: the conversation without it) and an answer; None where the answer
    does not follow it.
    """
    try:
        before = render(tokenizer, [*asked], None, is_prompt)
        full = render(tokenizer, [*asked, answer], None, False)
    except RowError:
        return None
    between, is_written, _ = full[len(before) :].partition(PROBE)
    return between if full.startswith(before) and is_written else None


def _shared(tokenizer: Any, texts: Sequence[str]) -> str:
    """The longest common beginning that ends where a token of each text ends."""
    ids = [token_ids(tokenizer, text) for text in texts]
    shortest = min(texts, key=len)
    for end in range(len(shortest), 0, -1):
        start = shortest[:end]
        tokens = token_ids(tokenizer, start)
        if all(text.startswith(start) for text in texts) and all(
            whole[: len(tokens)] == tokens for whole in ids
        ):
            return start
    return ""
