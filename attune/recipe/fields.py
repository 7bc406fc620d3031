"""A walk over the schema: every field with its path, type, default and help, in the person's language.

The command line's help, the reference page and the error messages all read the schema through this file, so
an option is described once, where it is defined.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic.fields import FieldInfo

from . import plugs
from .messages import join, pick, say
from .schema import Choice, ChosenFrom, Recipe, Section, Source
from .tree import Path


@dataclass(frozen=True, slots=True)
class Field:
    """One thing that can be set."""

    path: str
    type: str
    """What is allowed, in words."""
    default: Any
    required: bool
    help: str


def fields(rooms: Sequence[str] = ("objectives", "adapters"), *, default_only: bool = False) -> list[Field]:
    """Every field of the recipe, in the order of the schema.

    The options of a choice are listed as ``adapter.rank``, once for each plug that has them, behind the
    choice itself. A choice whose room is not in ``rooms`` is listed without options, and its plugs, which may
    be slow to import, are not imported; with ``default_only`` those of the default plug alone are.
    """
    return list(_walk(Recipe, "", rooms, default_only))


def _walk(section: type[Section], prefix: str, rooms: Sequence[str], default_only: bool) -> Iterator[Field]:
    for name, info in section.model_fields.items():
        path = prefix + name
        room = room_of(info)
        if room:
            default = info.default["name"]
            yield Field(
                path,
                either(plugs.names(room)),
                default,
                False,
                _help(info),
            )
            if room in rooms:
                for plug in [default] if default_only else plugs.names(room):
                    yield from _options(room, plug, path)
        elif (below := section_in(info.annotation)) is not None:
            yield from _walk(below, f"{path}.", rooms, default_only)
        else:
            yield field_of(path, info)


def _options(room: str, plug: str, path: str) -> Iterator[Field]:
    for name, info in config_of(room, plug).model_fields.items():
        if name != "name":
            yield field_of(f"{path}.{name}", info)


def options(room: str, plug: str) -> list[Field]:
    """The options of one plug, by their own names."""
    return [
        field_of(name, info) for name, info in config_of(room, plug).model_fields.items() if name != "name"
    ]


def field_of(path: str, info: FieldInfo) -> Field:
    """One field as people see it."""
    default = None if info.is_required() else info.get_default(call_default_factory=False)
    return Field(path, type_text(info.annotation, info.metadata), default, info.is_required(), _help(info))


def _help(info: FieldInfo) -> str:
    return pick(info.description or "")


def config_of(room: str, plug: str) -> type[Choice]:
    """The class of a plug's options."""
    config: type[Choice] = plugs.find(room, plug).Config
    return config


def room_of(info: FieldInfo) -> str:
    """The room that a choice is taken from; "" for any other field."""
    return next((mark.room for mark in info.metadata if isinstance(mark, ChosenFrom)), "")


def section_in(annotation: Any) -> type[Section] | None:
    """The section class, where the field is one."""
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


def section_at(path: Path, values: Mapping[str, Any]) -> type[Section] | None:
    """The section whose keys stand at ``path`` of a recipe with these values; None where there is none."""
    found = walk_to(path, values)
    return found if isinstance(found, type) and issubclass(found, Section) else None


def walk_to(path: Path, values: Any) -> type[Section] | FieldInfo | None:
    """What the schema has at ``path``: a section, a field, or nothing."""
    here: type[Section] | FieldInfo | None = Recipe
    for part in path:
        values = _below(values, part)
        if isinstance(here, FieldInfo):
            here = _item_of(here) if isinstance(part, int) else None
        elif here is not None and isinstance(part, str) and part in here.model_fields:
            info = here.model_fields[part]
            if (room := room_of(info)) and isinstance(values, Mapping):
                name = str(values.get("name"))
                here = config_of(room, name) if name in plugs.names(room) else info
            else:
                here = section_in(info.annotation) or info
        else:
            return None
    return here


def _below(values: Any, part: str | int) -> Any:
    if isinstance(values, Mapping):
        return values.get(part)
    if isinstance(values, list) and isinstance(part, int) and part < len(values):
        return values[part]
    return None


def _item_of(info: FieldInfo) -> type[Section] | FieldInfo | None:
    """What one item of a list field may be; None for a field that is no list."""
    for annotation in _alternatives(info.annotation):
        if typing.get_origin(annotation) is list:
            (item,) = typing.get_args(annotation)
            return section_in(item) or FieldInfo.from_annotation(item)
    return None


def _alternatives(annotation: Any) -> Iterator[Any]:
    """The members of a union, without what is annotated to them; the type itself where it is none."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        yield from _alternatives(arguments[0])
    elif origin in {typing.Union, types.UnionType}:
        for argument in arguments:
            yield from _alternatives(argument)
    else:
        yield annotation


def type_text(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """``whole number, at least 1`` and the like."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return type_text(arguments[0], [*metadata, *arguments[1:]])
    if origin in {typing.Union, types.UnionType}:
        parts = [type_text(argument, metadata) for argument in arguments if argument is not type(None)]
        if type(None) in arguments:
            parts.append("null")
        return say(" or ", " 或 ").join(parts)
    if origin is Literal:
        return either(arguments)
    if origin is dict:
        return say("names, each with {what}", "若干名称，各对应 {what}", what=type_text(arguments[1]))
    if origin is list:
        if section_in(arguments[0]) is Source:
            return say("a path or a list of paths", "路径或路径列表") + _bounds(metadata)
        return say("list of {what}", "列表，各项为 {what}", what=type_text(arguments[0]))
    return _simple(annotation) + _bounds(metadata)


def either(names: Sequence[object]) -> str:
    """``a, b or c``."""
    *most, last = map(str, names)
    return join(most) + say(" or ", " 或 ") + last if most else last


def _simple(annotation: Any) -> str:
    if annotation is bool:
        return say("true or false", "true 或 false")
    if annotation is int:
        return say("whole number", "整数")
    if annotation is float:
        return say("number", "数")
    if annotation is str:
        return say("text", "文本")
    if section_in(annotation) is not None:
        some = list(annotation.model_fields)[:3]
        return say("a section of keys such as {names}", "由键组成的部分，如 {names}", names=join(some))
    return str(getattr(annotation, "__name__", annotation))


def _bounds(metadata: Sequence[Any]) -> str:
    """`` ≥ 0 and < 1``; empty without bounds."""
    texts = []
    for mark in _unpacked(metadata):
        if isinstance(mark, Ge):
            texts.append(f"≥ {mark.ge}")
        elif isinstance(mark, Gt):
            texts.append(f"> {mark.gt}")
        elif isinstance(mark, Le):
            texts.append(f"≤ {mark.le}")
        elif isinstance(mark, Lt):
            texts.append(f"< {mark.lt}")
        elif isinstance(mark, MinLen):
            texts.append(say("(at least {count})", "（至少 {count} 个）", count=mark.min_length))
    return " " + say(" and ", " 且 ").join(texts) if texts else ""


def _unpacked(metadata: Sequence[Any]) -> Iterator[Any]:
    """The marks, also those inside a nested ``Field(ge=0)``."""
    for mark in metadata:
        if isinstance(mark, FieldInfo):
            yield from mark.metadata
        else:
            yield mark
