"""Rules that say how right an answer is, from 0 to 1: one object scores an evaluation and rewards a rollout.

A verifier is asked for by name, with an argument behind a colon where it takes one: ``exact_number``,
``contains``, ``regex:^yes``, ``format:<think>…</think><answer>…</answer>``, ``json_schema:person.json``,
``length:200``. None of them runs code that the answer holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from ..recipe.errors import RecipeError
from ..recipe.messages import join, say
from ..recipe.plugs import unknown
from . import schema
from .metrics import exact_match, normalise, words

_NUMBER = re.compile(r"[-+−]?\$?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)(?:\s*/\s*\d+)?%?")
_ANY = "…"
"""Stands for any text in a demanded format."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """``judge(answer, reference)`` gives 0 to 1; the reference is read where ``needs_reference`` says so."""

    name: str
    judge: Callable[[str, str], float]
    needs_reference: bool = False

    def __call__(self, answer: str, reference: str | None = None) -> float:
        assert reference is not None or not self.needs_reference, "checked when the data was read"
        return self.judge(answer, reference or "")


def verifier(spec: str) -> Verifier:
    """The verifier that ``NAME`` or ``NAME:ARGUMENT`` asks for. Raises RecipeError for an unknown name and
    for an argument that is missing or wrong.
    """
    name, has_argument, argument = spec.partition(":")
    if name not in _MAKERS:
        raise RecipeError(unknown(say("no such verifier", "没有这个校验器"), name, sorted(_MAKERS)))
    make, needs_reference, example = _MAKERS[name]
    if example and not has_argument:
        raise RecipeError(
            say(
                "{name} needs an argument. Write for example {name}:{example}.",
                "{name} 需要一个参数。例如 {name}:{example}。",
                name=name,
                example=example,
            )
        )
    if has_argument and not example and name != "format":
        raise RecipeError(
            say(
                "{name} takes no argument, got '{argument}'. Write {name}.",
                "{name} 不接受参数（得到“{argument}”）。请写 {name}。",
                name=name,
                argument=argument,
            )
        )
    return Verifier(spec, make(argument), needs_reference)


def number_in(text: str) -> Decimal | None:
    """The number that a text gives as its answer: what stands behind the last ``####`` (GSM8K), else in the
    last ``\\boxed{…}``, else the last number of all. ``1,200``, ``$3.50``, ``25%`` (0.25), ``3/4`` are some.
    """
    marked = re.findall(r"####\s*([^\n]*)", text) or re.findall(r"\\boxed\{([^{}]*)\}", text)
    found = [_decimal(part) for part in _NUMBER.findall(marked[-1] if marked else text)]
    numbers = [number for number in found if number is not None]
    return (numbers[0] if marked else numbers[-1]) if numbers else None


def _decimal(text: str) -> Decimal | None:
    bare = text.replace(",", "").replace("$", "").replace("−", "-").replace(" ", "")
    percent, bare = bare.endswith("%"), bare.rstrip("%")
    try:
        above, _, below = bare.partition("/")
        number = Decimal(above) / Decimal(below) if below else Decimal(above)
    except (InvalidOperation, ZeroDivisionError):
        return None
    return number / 100 if percent else number


def _exact_number(_: str) -> Callable[[str, str], float]:
    def judge(answer: str, reference: str) -> float:
        got, wanted = number_in(answer), number_in(reference)
        return float(got is not None and got == wanted)

    return judge


def _exact(_: str) -> Callable[[str, str], float]:
    return lambda answer, reference: exact_match(answer, [reference])


def _contains(_: str) -> Callable[[str, str], float]:
    return lambda answer, reference: float(normalise(reference) in normalise(answer))


def _regex(pattern: str) -> Callable[[str, str], float]:
    try:
        compiled = re.compile(pattern, re.DOTALL)
    except re.error as error:
        raise RecipeError(
            say(
                "regex:{pattern} is no regular expression ({reason}). Write for example regex:^(yes|no)$.",
                "regex:{pattern} 不是正则表达式（{reason}）。例如 regex:^(yes|no)$。",
                pattern=pattern,
                reason=error,
            )
        ) from None
    return lambda answer, _: float(compiled.search(answer.strip()) is not None)


def _format(shape: str) -> Callable[[str, str], float]:
    """The whole answer has this shape, where … is any text and tags may stand on lines of their own; without
    a shape it ends with #### and a number.
    """
    if not shape:
        ending = re.compile(r"####\s*" + _NUMBER.pattern + r"$")
        return lambda answer, _: float(ending.search(answer.strip()) is not None)
    pieces = shape.replace("...", _ANY).replace("><", "> <").split(_ANY)
    parts = [r"\s*".join(map(re.escape, piece.split())) for piece in pieces]
    compiled = re.compile(r"\s*" + r"\s*(?:.+?)\s*".join(parts) + r"\s*", re.DOTALL)
    return lambda answer, _: float(compiled.fullmatch(answer) is not None)


def _json(_: str) -> Callable[[str, str], float]:
    return lambda answer, _: float(_parsed(answer) is not None)


def _json_schema(path: str) -> Callable[[str, str], float]:
    try:
        rules = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecipeError(
            say(
                "json_schema:{path} cannot be read ({reason}). Name a file that holds a JSON schema.",
                "json_schema:{path} 无法读取（{reason}）。请指定含 JSON schema 的文件。",
                path=path,
                reason=error,
            )
        ) from None
    if strange := schema.unknown_words(rules):
        raise RecipeError(
            say(
                "json_schema:{path} has keywords that are not known here: {names}. Known: {known}.",
                "json_schema:{path} 含有不支持的关键字：{names}。支持：{known}。",
                path=path,
                names=join(strange),
                known=join(sorted(schema.WORDS)),
            )
        )

    def judge(answer: str, _: str) -> float:
        found = _parsed(answer)
        return float(found is not None and schema.fits(found[0], rules))

    return judge


def _parsed(answer: str) -> tuple[Any] | None:
    """The value of an answer that is JSON, also inside a Markdown fence."""
    fenced = re.fullmatch(r"\s*```(?:json)?\s*\n(.*?)\n?```\s*", answer, re.DOTALL)
    try:
        return (json.loads(fenced[1] if fenced else answer),)
    except ValueError:
        return None


def _length(most: str) -> Callable[[str, str], float]:
    """1 for at most so many words (characters, in scripts without spaces), then falling as most / words."""
    if not most.isdecimal() or int(most) < 1:
        raise RecipeError(
            say(
                "length:{most} is no number of words. Write for example length:200.",
                "length:{most} 不是词数。例如 length:200。",
                most=most,
            )
        )
    return lambda answer, _: min(1.0, int(most) / max(1, len(words(answer))))


_MAKERS: dict[str, tuple[Callable[[str], Callable[[str, str], float]], bool, str]] = {
    "exact": (_exact, True, ""),
    "exact_number": (_exact_number, True, ""),
    "contains": (_contains, True, ""),
    "regex": (_regex, False, "^(yes|no)$"),
    "format": (_format, False, ""),
    "json": (_json, False, ""),
    "json_schema": (_json_schema, False, "person.json"),
    "length": (_length, False, "200"),
}
"""By name: what makes the judge of an argument, whether it reads the reference, an argument to show."""

NAMES = tuple(sorted(_MAKERS))
