"""How a source spells what the formats know by other names: columns, keys of turns, roles, entities.

All that a person declares about the rows of a source is applied here: to the row before a format reads it,
and to the example after.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from ..recipe.errors import DataError
from ..recipe.messages import join, say
from ..recipe.schema import Source
from .examples import (
    Conversation,
    Example,
    Labelled,
    Message,
    Messages,
    Preference,
    Prompt,
    RowError,
    Text,
    Verdict,
)
from .formats._row import columns, from_json
from .formats._turns import ROLE_KEYS
from .rules import merge_turns

_LOOKED_AT = 50
_TURN_KEYS = ("role", "content")
"""Names in ``columns`` that also stand for the keys of a turn."""


@dataclass(frozen=True, slots=True)
class Spelling:
    """What a source declares, for the rows of its file ``path``."""

    source: Source
    path: str

    def rows(self, rows: Iterable[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
        """The numbered rows under the names that formats read; as they are where nothing is declared.

        Raises DataError where a declared column is in none of the first rows.
        """
        if not (self.source.columns or self.source.roles):
            return iter(rows)
        rest = iter(rows)
        first = list(islice(rest, _LOOKED_AT))
        if first:
            self._check([value for _, value in first])
        return ((number, self.row(value)) for number, value in chain(first, rest))

    def row(self, value: Any) -> Any:
        """One row under the names that formats read."""
        source = self.source
        if source.columns:
            value = _renamed(value, source.columns)
        keys = {source.columns[key]: key for key in _TURN_KEYS if key in source.columns}
        roles = {name.strip().lower(): role for name, role in source.roles.items()}
        if not (keys or roles):
            return value
        if isinstance(value, dict):
            return {name: _turns(cell, keys, roles) for name, cell in value.items()}
        return _turns(value, keys, roles) if isinstance(value, list) else value

    def example(self, example: Example) -> tuple[Example, list[str]]:
        """The example as it is used, and a sentence for each thing that was changed in it.

        Raises RowError for an image that is not there.
        """
        if isinstance(example, Labelled):
            example = with_image(example, self.path)
        changes: list[str] = []
        if self.source.unescape:
            example, before = _each_text(example, html.unescape), example
            if example != before:
                changes.append(say("HTML entities are written as signs.", "HTML 实体已还原为字符。"))
        if self.source.merge_turns:
            example, before = _each_turns(example, merge_turns), example
            if example != before:
                changes.append(say("turns of one role are merged.", "同一角色的连续多轮已合并。"))
        return example, changes

    def _check(self, rows: list[Any]) -> None:
        found = frozenset[str]().union(*(columns(_as_object(row)) for row in rows))
        for name, column in self.source.columns.items():
            there = column in found or (
                isinstance(column, int) and column < max(map(_width, rows), default=0)
            )
            if column == "" or there or name in _TURN_KEYS:
                continue
            raise DataError(
                say(
                    "{path}: columns: {name} is to be column {column}, which the file does not have; it has: "
                    "{found}.",
                    "{path}：columns：{name} 指定为列 {column}，但文件中没有；现有：{found}。",
                    path=self.path,
                    name=name,
                    column=column,
                    found=join(sorted(found)) or "–",
                )
            )


def with_image(example: Labelled, file: str) -> Labelled:
    """With the image's path as it can be opened from here: ``file`` (or folder) names it from where it lies.

    Raises RowError for an image that is not there.
    """
    if example.image is None:
        return example
    here = Path(file)
    image = (here if here.is_dir() else here.parent) / example.image
    if not image.is_file():
        raise RowError(say("{image}: no such image.", "{image}：没有这张图片。", image=image), "no_image")
    return replace(example, image=str(image))


def _as_object(row: Any) -> Any:
    """A row that is a list of cells has its numbers as columns."""
    return {str(place): cell for place, cell in enumerate(row)} if isinstance(row, list) else row


def _width(row: Any) -> int:
    return len(row) if isinstance(row, dict | list) else 0


def _renamed(value: Any, names: Mapping[str, str | int]) -> Any:
    """The row with the columns that are named, under their new names, and those that nobody named."""
    row = _as_object(value) if any(isinstance(column, int) for column in names.values()) else value
    if not isinstance(row, dict):
        return value
    order = list(row)
    meant = {
        name: _column(column, row, order)
        for name, column in names.items()
        if name not in _TURN_KEYS or column in row
    }
    taken = {*meant, *meant.values()}
    kept = {name: cell for name, cell in row.items() if name not in taken}
    return kept | {name: row[column] for name, column in meant.items() if column in row}


def _column(column: str | int, row: Mapping[str, Any], order: list[str]) -> str:
    """A number counts the columns from 0, unless a column is called so."""
    if isinstance(column, str) or str(column) in row:
        return str(column)
    return order[column] if column < len(order) else ""


def _turns(cell: Any, keys: Mapping[Any, str], roles: Mapping[str, str]) -> Any:
    """The turns in a cell, also those in its JSON text, with the keys and roles that formats know."""
    found = from_json(cell)
    if isinstance(found, list):
        return [_turns(item, keys, roles) if isinstance(item, dict | list) else item for item in found]
    if not isinstance(found, dict):
        return cell
    turn = {keys.get(key, key): value for key, value in found.items()}
    for key in ROLE_KEYS:
        said = turn.get(key)
        if isinstance(said, str) and said.strip().lower() in roles:
            turn[key] = roles[said.strip().lower()]
    return turn


def _each_turns(example: Example, change: Callable[[Messages], Messages]) -> Example:
    """The example with ``change`` applied to each run of turns in it."""
    if isinstance(example, Conversation | Prompt):
        return replace(example, messages=change(example.messages))
    if isinstance(example, Preference):
        answers = tuple(change(answer) for answer in example.answers)
        return replace(example, prompt=change(example.prompt), answers=answers)
    if isinstance(example, Verdict):
        return replace(example, prompt=change(example.prompt), answer=change(example.answer))
    return example


def _each_text(example: Example, change: Callable[[str], str]) -> Example:
    """The example with ``change`` applied to each text in it."""

    def of_turns(turns: Messages) -> Messages:
        return tuple(_with_content(turn, change(turn.content)) for turn in turns)

    if isinstance(example, Text):
        return Text(change(example.text))
    if isinstance(example, Labelled):
        text, pair = (None if part is None else change(part) for part in (example.text, example.pair))
        return replace(example, text=text, pair=pair)
    changed = _each_turns(example, of_turns)
    if isinstance(changed, Prompt) and changed.reference is not None:
        return replace(changed, reference=change(changed.reference))
    return changed


def _with_content(turn: Message, content: str) -> Message:
    return turn if content == turn.content else replace(turn, content=content)
