"""Which row format a file is in, from the columns of its first rows; no registry, no file name.

A format fits a row that has one column of each group it needs and, where values decide (an output that is a
list, a label that is true or false), whose values it takes. Of the formats of the wanted kind that fit at
least half as many rows as any, the one that reads most columns a row is taken: a few rows without an answer
do not make a file of questions out of questions and answers. Where no kind is wanted, all formats stand for
choice, and what is still equal is decided by the kind, in the order of ``ORDER``: learning an answer is
commoner than comparing or sampling it, and a text is what anything could be.

Where prompts are wanted, conversations serve too: the turns before the last answer, with that answer as the
reference.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

from ..recipe import plugs
from ..recipe.errors import DataError
from ..recipe.messages import join, say
from .examples import Conversation, Example, Prompt, kind_of_example
from .formats._row import BARE_LIST, BARE_TEXT, columns
from .kinds import as_kind, is_served, to_prompt, told

ORDER = ("conversation", "preference", "verdict", "prompt", "labelled", "text")
"""Which kind is meant where the columns leave it open."""
_COMMANDS = {
    "conversation": "attune sft",
    "text": "attune pretrain",
    "preference": "attune dpo",
    "verdict": "attune kto",
    "prompt": "attune grpo",
    "labelled": "attune classify",
}
"""A command that learns from each kind."""
_SHOWN = 5
_SEPARATORS = re.compile(r"[\s_-]+")
_PARTS: dict[str, Callable[[], tuple[str, str]]] = {
    "preference": lambda: (say("the chosen answers", "被选中的回答"), "chosen"),
    "verdict": lambda: (say("the good answers", "好的回答"), "good"),
}
"""What of another kind's data supervised fine-tuning can learn."""


@dataclass(frozen=True, slots=True)
class Format:
    """A format by its name; ``serves`` is the kind that its examples are turned into, if that is another."""

    name: str
    module: ModuleType
    serves: str | None = None

    @property
    def kind(self) -> str:
        return self.serves or str(self.module.KIND)

    @property
    def change(self) -> str | None:
        """What becomes of rows that serve as another kind, as a sentence."""
        return told(str(self.module.KIND), self.kind)

    def examples(self, example: Example) -> list[Example]:
        """What a row's example gives of the kind that is served: of a preference, two verdicts."""
        return [example] if self.serves is None else as_kind(example, kind_of_example(example), self.kind)

    def told(self, row: Any) -> str | None:
        """What the format reads otherwise than it stands in the row, where it says so."""
        tell: Callable[[Any], str | None] | None = getattr(self.module, "told", None)
        return tell(row) if tell else None

    def to_example(self, row: Any) -> Example:
        example: Example = self.module.to_example(row)
        if self.serves == "prompt" and isinstance(example, Conversation):
            return self._as_prompt(example, row)
        return example

    def fits(self, found: frozenset[str]) -> bool:
        return not self.lacks(found)

    def takes(self, row: Any, found: frozenset[str]) -> bool:
        """Whether the row, whose columns are ``found``, fits by columns and values."""
        fits = getattr(self.module, "fits", None)
        return self.fits(found) and (fits is None or bool(fits(row)))

    def lacks(self, found: frozenset[str]) -> list[tuple[str, ...]]:
        """The groups of which the columns hold nothing."""
        return [group for group in self.module.NEEDS if found.isdisjoint(group)]

    def reads(self, found: frozenset[str]) -> set[str]:
        """The columns that it reads: of each group the first that is there."""
        groups = (*self.module.NEEDS, *self.module.ALSO)
        names = (next((name for name in group if name in found), None) for group in groups)
        return {name for name in names if name is not None}

    def ignores(self, found: frozenset[str]) -> frozenset[str]:
        """The columns that nobody will read; those of a prompt are kept for rewards."""
        return frozenset() if self.kind == "prompt" else found - self.reads(found)

    def _as_prompt(self, example: Conversation, row: Any) -> Prompt:
        read = self.reads(columns(row))
        extra = (
            {name: value for name, value in row.items() if name not in read} if isinstance(row, dict) else {}
        )
        return replace(to_prompt(example), extra=extra)


def formats() -> list[Format]:
    """All formats there are, ours and installed ones. Looking for installed ones takes a while: ask once."""
    return [Format(name, plugs.find("formats", name)) for name in plugs.names("formats")]


def recognise(
    path: str, rows: Sequence[Any], kind: str | None, known: Sequence[Format], wanted: str | None = None
) -> Format:
    """The format, one of ``known``, of the file whose first rows these are; ``wanted``: the declared name.

    ``kind`` None takes any. Raises DataError where none fits, two fit equally, or the file is of another kind
    than the command learns from; RecipeError for a declared name that is none.
    """
    if wanted is not None:
        return _declared(path, wanted, kind, known)
    found = [(row, columns(row)) for row in rows]
    serving = [format_ for one in known if (format_ := _serving(one, kind)) is not None]
    ranked = _ranked(serving, found)
    if ranked:
        best = [one for rank, one in ranked if rank == ranked[0][0]]
        if len(best) > 1:
            raise DataError(_ambiguous(path, best))
        return best[0]
    names = frozenset().union(*(names for _, names in found))
    others = [one for _, one in _ranked([one for one in known if _serving(one, kind) is None], found)]
    if others and others[0].kind != "prompt":  # which any question without its answer would be
        raise DataError(_other_kind(path, others[0], kind or ""))
    raise DataError(_unknown(path, names, serving, known))


def respelled(rows: Sequence[Any], kind: str | None, known: Sequence[Format]) -> dict[str, str]:
    """What to read the columns as, where no format fits them as they stand but one does once capitals, spaces
    and hyphens are set aside: ``{"question": "Question"}``. Empty where nothing is gained.
    """
    serving = [format_ for one in known if (format_ := _serving(one, kind)) is not None]
    found = [(row, columns(row)) for row in rows]
    if _ranked(serving, found):
        return {}
    alike: dict[str, list[str]] = {}
    for column in sorted(frozenset().union(*(names for _, names in found))):
        alike.setdefault(_SEPARATORS.sub("_", column.strip().lower()), []).append(column)
    meant = {name: same[0] for name, same in alike.items() if len(same) == 1 and same != [name]}
    back = {column: name for name, column in meant.items()}
    renamed = [
        {back.get(name, name): cell for name, cell in row.items()} if isinstance(row, dict) else row
        for row in rows
    ]
    best = next((one for _, one in _ranked(serving, [(row, columns(row)) for row in renamed])), None)
    if best is None:
        return {}
    reads = best.reads(frozenset().union(*map(columns, renamed)))
    return {name: column for name, column in meant.items() if name in reads}


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


def _serving(known: Format, kind: str | None) -> Format | None:
    """The format as one of ``kind``; None where it is of another."""
    if kind in (None, known.kind):
        return known
    return replace(known, serves=kind) if is_served(known.kind, str(kind)) else None


def _declared(path: str, wanted: str, kind: str | None, known: Sequence[Format]) -> Format:
    declared = next((one for one in known if one.name == wanted), None)
    declared = declared or Format(wanted, plugs.find("formats", wanted))
    serving = _serving(declared, kind)
    if serving is None:
        raise DataError(_other_kind(path, declared, kind or ""))
    return serving


Rank = tuple[bool, float, int, bool, int]


def _ranked(known: list[Format], found: list[tuple[Any, frozenset[str]]]) -> list[tuple[Rank, Format]]:
    """The formats that fit some row, best first, with (whether it fits many rows, columns read a row, the
    kind's place, whether it is of its own kind, rows that fit).
    """
    fitting = [(one, [names for row, names in found if one.takes(row, names)]) for one in known]
    most = max((len(rows) for _, rows in fitting), default=0)
    ranks = []
    for candidate, rows in fitting:
        if rows:
            num_read = sum(len(candidate.reads(names)) for names in rows)
            place = -ORDER.index(candidate.kind)
            is_own = candidate.serves is None
            rank = (2 * len(rows) >= most, num_read / len(rows), place, is_own, len(rows))
            ranks.append((rank, candidate))
    return sorted(ranks, key=lambda rank: rank[0], reverse=True)


def _unknown(path: str, found: frozenset[str], serving: list[Format], known: Sequence[Format]) -> str:
    nearest = sorted(serving, key=lambda candidate: _closeness(candidate, found), reverse=True)
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
            for candidate in nearest[:_SHOWN]
        ),
        _advice([*serving, *known], found),
    ]
    return "\n".join(lines)


def _advice(known: Sequence[Format], found: frozenset[str]) -> str:
    """What to rename or add. A format that lacks no column, but has other values, is not what is meant."""
    lacking = [candidate for candidate in known if not candidate.fits(found)]
    closest = max(lacking or known, key=lambda candidate: _closeness(candidate, found))
    renames = [
        f"{near[0]} → {name}"
        for group in closest.lacks(found)
        for name, near in [_nearest(group, found - closest.reads(found))]
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
    return say(
        "Rename the columns to those of one format, or say which is which: columns: {{prompt: {some}}}",
        "请把列名改成其中一种格式的列名，或说明对应关系：columns: {{prompt: {some}}}",
        some=min(found, default="…"),
    )


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
        elif _nearest(group, found - candidate.reads(found))[1]:
            score += 0.5
    return score / len(candidate.module.NEEDS), len(candidate.reads(found))


def _other_kind(path: str, known: Format, kind: str) -> str:
    command = _COMMANDS[known.kind]
    if kind == "conversation" and known.kind == "text":
        return say(
            "{path}: plain text (format {format}); supervised fine-tuning needs prompts and answers. To "
            "learn plain text use: {command} --data {path}; else give columns such as prompt and completion.",
            "{path}：纯文本（格式 {format}）；监督微调需要提示和回答。学习纯文本请用：{command} --data "
            "{path}；否则请提供 prompt 和 completion 等列。",
            path=path,
            format=known.name,
            command=command,
        )
    told = say(
        "{path}: holds rows of kind {found} (format {format}), but this command learns from kind {kind}. "
        "Use: {command} --data {path}",
        "{path}：数据类型为 {found}（格式 {format}），而此命令需要的是 {kind}。请用：{command} --data {path}",
        path=path,
        found=known.kind,
        format=known.name,
        kind=kind,
        command=command,
    )
    if kind == "conversation" and known.kind in _PARTS:
        part, name = _PARTS[known.kind]()
        told += say(
            "; or learn {part}: attune convert {path} --to messages --output {name}.jsonl",
            "；或学习{part}：attune convert {path} --to messages --output {name}.jsonl",
            part=part,
            path=path,
            name=name,
        )
    return told


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
