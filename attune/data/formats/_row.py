"""What every format asks of a row: its columns, and a cell as text."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

from ...recipe.messages import say
from ..examples import RowError

BARE_LIST = "[list]"
BARE_TEXT = "[text]"


def columns(row: Any) -> frozenset[str]:
    """The columns that hold something; a row that is a list or a text has one column, ``BARE_LIST``,
    ``BARE_TEXT``.
    """
    if isinstance(row, dict):
        return frozenset([str(key) for key, value in row.items() if not is_nothing(value)])
    if isinstance(row, list):
        return frozenset({BARE_LIST})
    return frozenset({BARE_TEXT}) if isinstance(row, str) else frozenset()


def first(row: dict[str, Any], names: Iterable[str]) -> str | None:
    """The first of ``names`` that is a column of the row and not null."""
    for name in names:
        if not is_nothing(row.get(name)):
            return name
    return None


def is_nothing(value: Any) -> bool:
    """Null, or the not-a-number that tables use for null."""
    return value is None or (type(value) is float and value != value)


def text(value: Any, where: str) -> str:
    """A cell as text; nothing is ``""``. Raises RowError for a list, an object, a number."""
    if isinstance(value, str):
        return value
    if is_nothing(value):
        return ""
    raise RowError(
        say(
            "{where} is {kind}; it must be text.",
            "{where} 是{kind}；应为文本。",
            where=where,
            kind=kind_of(value),
        ),
        "not_text",
    )


def filled(value: Any, where: str, name: str) -> str:
    """A cell as text; raises RowError, by the name of the rule ``name``, where there is none in it."""
    found = text(value, where)
    if not found.strip():
        raise RowError(say("{where} is empty.", "{where} 为空。", where=where), name)
    return found


def number(value: Any) -> float | None:
    """A cell as number, also where a table holds it as text; None where it is none, or not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def from_json(value: Any) -> Any:
    """The value that a text spells as JSON list or object (so do cells of tables); the value itself where it
    does not.
    """
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def kind_of(value: Any) -> str:
    """``a list``, ``an object`` … for a message."""
    if is_nothing(value):
        return say("null", "空值")
    if isinstance(value, bool):
        return say("true or false", "布尔值")
    if isinstance(value, int | float):
        return say("a number", "数字")
    if isinstance(value, str):
        return say("text", "文本")
    if isinstance(value, list):
        return say("a list", "列表")
    if isinstance(value, dict):
        return say("an object", "对象")
    return type(value).__name__
