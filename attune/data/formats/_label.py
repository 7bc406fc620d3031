"""The label of a row: a class, a number, or several classes."""

from __future__ import annotations

import re
from typing import Any

from ...recipe.messages import say
from ..examples import RowError
from ._row import from_json, is_nothing, kind_of

LABEL = (
    "label",
    "labels",
    "class",
    "category",
    "cat",
    "target",
    "sentiment",
    "intent",
    "Quality",
    "标签",
    "类别",
)
SCORE = ("score", "similarity")
"""Names of a label that is a number, where two texts are compared."""
_DECIMAL = re.compile(r"\s*[-+]?\d*\.\d+(?:[eE][-+]?\d+)?\s*")


def label_of(value: Any, name: str) -> str | float | tuple[str, ...]:
    """A whole number is a class by its number; a decimal one (also as text, ``"3.5"``) a number; a list
    several classes, maybe none. Raises RowError for nothing and for an object.
    """
    found = from_json(value)
    if isinstance(found, list):
        return tuple(_class(item, name) for item in found)
    if isinstance(found, float) and not is_nothing(found):
        return found
    if isinstance(found, str) and _DECIMAL.fullmatch(found):
        return float(found)
    return _class(found, name)


def _class(value: Any, name: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float) and not is_nothing(value) and str(value).strip():
        return str(value).strip()
    raise RowError(
        say(
            "{name} is {kind}; a label is a text or a number.",
            "{name} 是{kind}；标签应为文本或数字。",
            name=name,
            kind=say("empty", "空的") if value == "" else kind_of(value),
        ),
        "no_label",
    )
