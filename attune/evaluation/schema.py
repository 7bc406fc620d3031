"""The part of JSON Schema that says what an answer must look like; another keyword is refused, never ignored.

The words mean what draft 2020-12 says (validation vocabulary, sections 6.1 to 6.5); ``pattern`` searches.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: (
        not isinstance(value, bool) and isinstance(value, int | float) and value == int(value)
    ),
}

_ANNOTATIONS = frozenset({"$schema", "$id", "title", "description", "default", "examples"})


def fits(value: Any, rules: Any) -> bool:
    """Whether ``value`` (parsed JSON) is as ``rules`` (a schema without unknown words) demands."""
    if isinstance(rules, bool):
        return rules
    return all(
        _RULES[word](value, wanted, rules) for word, wanted in rules.items() if word not in _ANNOTATIONS
    )


def unknown_words(rules: Any) -> list[str]:
    """The keywords of a schema, at any depth, that are not known here; sorted."""
    if isinstance(rules, bool):
        return []
    if not isinstance(rules, Mapping):
        return [repr(rules)]
    found = {word for word in rules if word not in WORDS}
    below = [*rules.get("properties", {}).values(), *(rules[word] for word in _BELOW if word in rules)]
    below += [one for word in _LISTS for one in rules.get(word, ())]
    return sorted(found.union(*(unknown_words(one) for one in below)))


def _type(value: Any, wanted: Any, _: Any) -> bool:
    return any(_TYPES[name](value) for name in ([wanted] if isinstance(wanted, str) else wanted))


def _properties(value: Any, wanted: Any, _: Any) -> bool:
    return not isinstance(value, dict) or all(
        fits(value[name], rules) for name, rules in wanted.items() if name in value
    )


def _additional(value: Any, wanted: Any, rules: Any) -> bool:
    named = rules.get("properties", {})
    return not isinstance(value, dict) or all(
        fits(one, wanted) for name, one in value.items() if name not in named
    )


def _same(value: Any, wanted: Any) -> bool:
    """Equal as JSON: true is not 1."""
    return isinstance(value, bool) == isinstance(wanted, bool) and bool(value == wanted)


def _sized(kind: type[str | list[Any]], holds: Callable[[int, int], bool]) -> Callable[[Any, Any, Any], bool]:
    return lambda value, wanted, _: not isinstance(value, kind) or holds(len(value), wanted)


def _number(holds: Callable[[float, float], bool]) -> Callable[[Any, Any, Any], bool]:
    return lambda value, wanted, _: not _TYPES["number"](value) or holds(value, wanted)


_RULES: dict[str, Callable[[Any, Any, Any], bool]] = {
    "type": _type,
    "properties": _properties,
    "additionalProperties": _additional,
    "required": lambda value, wanted, _: not isinstance(value, dict) or set(wanted) <= value.keys(),
    "items": lambda value, wanted, _: not isinstance(value, list) or all(fits(one, wanted) for one in value),
    "enum": lambda value, wanted, _: any(_same(value, one) for one in wanted),
    "const": lambda value, wanted, _: _same(value, wanted),
    "anyOf": lambda value, wanted, _: any(fits(value, one) for one in wanted),
    "allOf": lambda value, wanted, _: all(fits(value, one) for one in wanted),
    "minLength": _sized(str, lambda size, least: size >= least),
    "maxLength": _sized(str, lambda size, most: size <= most),
    "minItems": _sized(list, lambda size, least: size >= least),
    "maxItems": _sized(list, lambda size, most: size <= most),
    "minimum": _number(lambda value, least: value >= least),
    "maximum": _number(lambda value, most: value <= most),
    "exclusiveMinimum": _number(lambda value, least: value > least),
    "exclusiveMaximum": _number(lambda value, most: value < most),
    "pattern": lambda value, wanted, _: not isinstance(value, str) or re.search(wanted, value) is not None,
}
_BELOW = ("items", "additionalProperties")
_LISTS = ("anyOf", "allOf")
WORDS = frozenset(_RULES) | _ANNOTATIONS
"""Every keyword that is known."""
