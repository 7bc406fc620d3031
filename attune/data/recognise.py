"""Which row format a file is in, from the columns of its first rows; no registry, no file name.

A format fits a row that has one column of each group it needs. Of the formats of the wanted kind, the one
that fits most of the rows is taken, then the one that reads most of their columns.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from ..recipe import plugs
from ..recipe.errors import DataError
from ..recipe.messages import join, say
from .examples import Example
from .formats._row import BARE_LIST, BARE_TEXT, columns

_COMMANDS = {"conversation": "attune sft", "text": "attune pretrain"}


@dataclass(frozen=True, slots=True)
class Format:
    """A format by its name; ``groups`` are the columns it needs and those it reads besides."""

    name: str
    module: ModuleType

    @property
    def kind(self) -> str:
        return str(self.module.KIND)

    def to_example(self, row: Any) -> Example:
        example: Example = self.module.to_example(row)
        return example

    def fits(self, found: frozenset[str]) -> bool:
        return not self.lacks(found)

    def lacks(self, found: frozenset[str]) -> list[tuple[str, ...]]:
        """The groups of which the columns hold nothing."""
        return [group for group in self.module.NEEDS if found.isdisjoint(group)]

    def reads(self, found: frozenset[str]) -> set[str]:
        """The columns that it reads: of each group the first that is there."""
        groups = (*self.module.NEEDS, *self.module.ALSO)
        names = (next((name for name in group if name in found), None) for group in groups)
        return {name for name in names if name is not None}


def formats() -> list[Format]:
    """All formats there are, ours and installed ones. Looking for installed ones takes a while: ask once."""
    return [Format(name, plugs.find("formats", name)) for name in plugs.names("formats")]


def recognise(
    path: str, rows: Sequence[Any], kind: str, known: Sequence[Format], wanted: str | None = None
) -> Format:
    """The format, one of ``known``, of the file whose first rows these are; ``wanted``: the declared name.

    Raises DataError where none fits, two fit equally, or the file is of another kind than the command learns
    from; RecipeError for a declared name that is none.
    """
    found = [columns(row) for row in rows]
    if wanted is not None:
        declared = next((one for one in known if one.name == wanted), None)
        declared = declared or Format(wanted, plugs.find("formats", wanted))
        if declared.kind != kind:
            raise DataError(_other_kind(path, declared, kind))
        return declared
    ranked = _ranked([one for one in known if one.kind == kind], found)
    if ranked:
        best = [one for rank, one in ranked if rank == ranked[0][0]]
        if len(best) > 1:
            raise DataError(_ambiguous(path, best))
        return best[0]
    others = _ranked([one for one in known if one.kind != kind], found)
    if others:
        raise DataError(_other_kind(path, others[0][1], kind))
    raise DataError(_unknown(path, frozenset().union(*found), [one for one in known if one.kind == kind]))


def unfit(known: Format, row: Any) -> str:
    """Why a later row is not of the file's format."""
    found = columns(row)
    return say(
        "not a row of format {format}, as the rows before it are: it has {found}, it lacks {lacks}.",
        "与前面各行的格式 {format} 不符：它有 {found}，缺少 {lacks}。",
        format=known.name,
        found=_named(found),
        lacks=join(_either(group) for group in known.lacks(found)),
    )


def _ranked(known: list[Format], found: list[frozenset[str]]) -> list[tuple[tuple[int, int], Format]]:
    """The formats that fit some row, with (rows that fit, columns read), best first."""
    ranks = []
    for candidate in known:
        fitting = [row for row in found if candidate.fits(row)]
        if fitting:
            ranks.append(((len(fitting), sum(len(candidate.reads(row)) for row in fitting)), candidate))
    return sorted(ranks, key=lambda rank: rank[0], reverse=True)


def _unknown(path: str, found: frozenset[str], known: list[Format]) -> str:
    closest = max(known, key=lambda candidate: _closeness(candidate, found))
    lines = [
        say(
            "{path}: no known format fits; it has the columns: {found}.",
            "{path}：没有适用的格式；它的列是：{found}。",
            path=path,
            found=_named(found),
        ),
        *(
            say(
                "  {format} needs {needs}",
                "  {format} 需要 {needs}",
                format=candidate.name,
                needs=say(" and ", " 和 ").join(_either(group) for group in candidate.module.NEEDS),
            )
            for candidate in known
        ),
        _advice(closest, found),
    ]
    if {"chosen", "rejected"} & found:
        lines.append(
            say(
                "The columns chosen and rejected are preference data, which supervised fine-tuning does not "
                "learn from.",
                "chosen 与 rejected 是偏好数据，监督微调不使用。",
            )
        )
    return "\n".join(lines)


def _advice(closest: Format, found: frozenset[str]) -> str:
    renames = [
        f"{near[0]} → {name}"
        for group in closest.lacks(found)
        for name, near in [_nearest(group, found)]
        if near
    ]
    if renames:
        return say(
            "Nearest is {format}; rename: {renames}.",
            "最接近的是 {format}；请改列名：{renames}。",
            format=closest.name,
            renames=join(renames),
        )
    if any(not found.isdisjoint(group) for group in closest.module.NEEDS):
        return say(
            "Nearest is {format}; missing: {lacks}.",
            "最接近的是 {format}；缺少：{lacks}。",
            format=closest.name,
            lacks=join(_either(group) for group in closest.lacks(found)),
        )
    return say("Rename the columns to those of one format.", "请把列名改成其中一种格式的列名。")


def _nearest(group: tuple[str, ...], found: frozenset[str]) -> tuple[str, list[str]]:
    """The name of the group that a column is most like, and that column."""
    for name in group:
        near = difflib.get_close_matches(name, sorted(found), n=1, cutoff=0.7)
        if near:
            return name, near
    return group[0], []


def _closeness(candidate: Format, found: frozenset[str]) -> tuple[float, float]:
    """The share of its groups that are there, counting a column of nearly the right name as half."""
    score = 0.0
    for group in candidate.module.NEEDS:
        if not found.isdisjoint(group):
            score += 1
        elif _nearest(group, found)[1]:
            score += 0.5
    return score / len(candidate.module.NEEDS), len(candidate.reads(found))


def _other_kind(path: str, known: Format, kind: str) -> str:
    command = _COMMANDS.get(known.kind)
    if kind == "conversation" and known.kind == "text":
        return say(
            "{path}: plain text (format {format}); supervised fine-tuning needs prompts and answers. To "
            "learn plain "
            "text use: {command} --data {path}; else give columns such as prompt and completion.",
            "{path}：纯文本（格式 {format}）；监督微调需要提示和回答。学习纯文本请用：{command} --data "
            "{path}；"
            "否则请提供 prompt 和 completion 等列。",
            path=path,
            format=known.name,
            command=command,
        )
    return say(
        "{path}: holds rows of kind {found} (format {format}), but this command learns from kind {kind}. "
        "Use: {command}",
        "{path}：数据类型为 {found}（格式 {format}），而此命令学习的类型是 {kind}。请用：{command}",
        path=path,
        found=known.kind,
        format=known.name,
        kind=kind,
        command=f"{command} --data {path}" if command else say("the objective for it", "相应的训练目标"),
    )


def _ambiguous(path: str, best: list[Format]) -> str:
    return say(
        "{path}: the columns fit {names} equally. Declare which is meant: format: {first}",
        "{path}：其列同样符合 {names}。请声明是哪一种：format: {first}",
        path=path,
        names=join(candidate.name for candidate in best),
        first=best[0].name,
    )


def _either(group: tuple[str, ...]) -> str:
    return say(" or ", " 或 ").join(_name(name) for name in group[:3]) + (" …" if len(group) > 3 else "")


def _named(found: frozenset[str]) -> str:
    shown = [_name(name) for name in sorted(found)]
    return join(shown[:12]) + (" …" if len(shown) > 12 else "") if shown else say("none", "无")


def _name(column: str) -> str:
    if column == BARE_LIST:
        return say("(a row that is a list)", "（整行是列表）")
    return say("(a row that is text)", "（整行是文本）") if column == BARE_TEXT else column
