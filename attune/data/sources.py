"""From the sources of a recipe to examples; every row is accounted for: used, or rejected with its reason."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..recipe.errors import AttuneError, DataError
from ..recipe.messages import say
from ..recipe.schema import Source
from . import durable
from .examples import Example, Origin, Rejected, RowError
from .formats._row import columns, kind_of
from .places import files_of, hub_rows, is_hub
from .read import Row, RowStream, rows
from .recognise import Format, formats, recognise, respelled, unfit
from .registry import resolve
from .rules import check
from .spelling import Spelling
from .weights import none_taken, weighed

_FIRST = 50
"""Rows by which the format of a file is recognised."""

OnProgress = Callable[[str, int, int], None]
"""``(what, bytes read of all files, bytes of all files)``; the last call has both equal."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A row that is used, but not as it stands in the file, and what was changed."""

    origin: Origin
    change: str


@dataclass(frozen=True, slots=True)
class FileReport:
    """One file: what it is and what became of its rows (before the source's weight)."""

    path: str
    container: str
    format: str
    encoding: str | None
    is_compressed: bool
    num_rows: int
    num_used: int
    num_rejected: int
    num_changed: int
    sha256: str
    ignored: tuple[str, ...]
    """Columns of the first rows that the format does not read."""
    change: str | None = None
    """What became of rows that serve as another kind of example."""


@dataclass(slots=True)
class Loaded:
    """All that the sources gave; ``origins`` is parallel to ``examples``."""

    examples: list[Example] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    changed: list[Changed] = field(default_factory=list)
    files: list[FileReport] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Sentences for the person: an encoding that was guessed, files passed over."""

    def take(self, taken: Taken) -> None:
        """Files what became of a row."""
        if taken.rejected is not None:
            self.rejected.append(taken.rejected)
        if taken.example is not None:
            self.examples.append(taken.example)
            self.origins.append(taken.origin)
            if taken.change is not None:
                self.changed.append(Changed(taken.origin, taken.change))

    @property
    def num_rows(self) -> int:
        """Rows in all files, used or not, before weights."""
        return sum(file.num_rows for file in self.files)


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one row: an example (maybe changed), or a rejection; nothing in between."""

    origin: Origin
    example: Example | None = None
    change: str | None = None
    rejected: Rejected | None = None


class Stream:
    """The rows of all files of some sources, one by one; weights are not applied.

    ``kind`` None takes whatever kind the first file is of; it is known once a row has come. ``files``,
    ``notes`` and ``problems`` are complete after the last row; the problems of a file end that file only.
    """

    def __init__(
        self, sources: Sequence[Source], kind: str | None, *, on_progress: OnProgress | None = None
    ) -> None:
        self.kind = kind
        self.files: list[FileReport] = []
        self.notes: list[str] = []
        self.problems: list[str] = []
        self._named: list[tuple[Source, list[str]]] = []
        for source in sources:
            with _gathering(self.problems):
                meant = resolve(source)
                self._named.append((meant, files_of(meant, kind, self.notes)))
        self._known = formats()
        self._progress = _Progress([path for _, paths in self._named for path in paths], on_progress)

    def __iter__(self) -> Iterator[Taken]:
        for place in range(len(self._named)):
            yield from self.of(place)

    def __len__(self) -> int:
        """Sources that can be read."""
        return len(self._named)

    def source(self, place: int) -> Source:
        return self._named[place][0]

    def of(self, place: int) -> Iterator[Taken]:
        """The rows of one source."""
        source, paths = self._named[place]
        for path in paths:
            with _gathering(self.problems):
                yield from self._file(path, source)

    def _file(self, path: str, source: Source) -> Iterator[Taken]:
        stream = hub_rows(source) if is_hub(path) else rows(path, source.encoding, source.has_header)
        spelling = Spelling(source, path)
        start = spelling.rows(stream)
        first = list(itertools.islice(start, _FIRST))
        if not first:
            raise DataError(say("{path}: the file holds no rows.", "{path}：文件中没有数据行。", path=path))
        if again := self._respelled(path, [value for _, value in first], source):
            first = [(number, again.row(value)) for number, value in first]
            start = ((number, again.row(value)) for number, value in start)
        try:
            chosen = recognise(path, [value for _, value in first], self.kind, self._known, source.format)
        except DataError:
            # What the reader noticed (a wrong suffix, comments) may be why; it is whole after the last row.
            deque(start, maxlen=0)
            self.notes += stream.notes
            raise
        self.kind = self.kind or chosen.kind
        used = changed = rejected = 0
        for number, value in itertools.chain(first, start):
            taken = _take(Origin(path, number), value, chosen, spelling)
            used += taken.example is not None
            changed += taken.change is not None
            rejected += taken.rejected is not None
            yield from _served(taken, chosen)
            self._progress.within(stream)
        self._progress.end(stream)
        self.notes += stream.notes
        self.files.append(
            FileReport(
                path=path,
                container=stream.container,
                format=chosen.name,
                encoding=stream.encoding,
                is_compressed=stream.is_compressed,
                num_rows=stream.num_rows,
                num_used=used,
                num_rejected=rejected,
                num_changed=changed,
                sha256=stream.sha256,
                ignored=_ignored(chosen, first),
                change=chosen.change,
            )
        )

    def _respelled(self, path: str, values: list[Any], source: Source) -> Spelling | None:
        """How columns are read that nobody named, where only capitals or spaces keep formats from fitting."""
        if source.columns or source.format:
            return None
        names = respelled(values, self.kind, self._known)
        if not names:
            return None
        read = ", ".join(f"{column} → {name}" for name, column in names.items())
        self.notes.append(
            say("{path}: columns are read as: {read}.", "{path}：列读作：{read}。", path=path, read=read)
        )
        return Spelling(Source(path=path, columns={**names}), path)


def load(
    sources: Sequence[Source], kind: str | None, *, seed: int = 0, on_progress: OnProgress | None = None
) -> Loaded:
    """Reads all sources. ``kind``: a name of ``examples.KINDS``, or None for whatever the first file holds;
    ``seed`` decides what a weight like 0.5 takes.

    Raises one DataError with the problems of all files.
    """
    loaded = Loaded()
    stream = Stream(sources, kind, on_progress=on_progress)
    for place in range(len(stream)):
        before = len(loaded.examples)
        for taken in stream.of(place):
            loaded.take(taken)
        source, num = stream.source(place), len(loaded.examples) - before
        kept = [before + at for at in weighed(num, source, f"{seed}/{place}/{source.path}")]
        loaded.examples[before:] = [loaded.examples[at] for at in kept]
        loaded.origins[before:] = [loaded.origins[at] for at in kept]
        if num and not kept:
            stream.notes.append(none_taken(source, num))
    if stream.problems:
        raise DataError(stream.problems)
    loaded.files, loaded.notes = stream.files, stream.notes
    return loaded


def check_share(loaded: Loaded, max_share: float, accepted: Collection[str] = ()) -> None:
    """Raises DataError where more than ``max_share`` of the rows were rejected, or none is left. Rows that
    break a rule named in ``accepted`` do not count.
    """
    rejected = [row for row in loaded.rejected if row.name not in accepted]
    num_rows, num_rejected = loaded.num_rows, len(rejected)
    if num_rejected <= max_share * num_rows and loaded.examples:
        return
    head = say(
        "{num} of {total} rows ({share:.1%}) cannot be used; allowed are {allowed:.1%} "
        "(data.max_rejected_share):",
        "{total} 行中有 {num} 行（{share:.1%}）无法使用；允许的比例是 "
        "{allowed:.1%}（data.max_rejected_share）：",
        num=f"{num_rejected:,}",
        total=f"{num_rows:,}",
        share=num_rejected / max(1, num_rows),
        allowed=max_share,
    )
    groups: dict[str, list[Rejected]] = {}
    for row in rejected if loaded.examples else loaded.rejected:
        groups.setdefault(_reason_without_numbers(row.reason), []).append(row)
    largest = sorted(groups.values(), key=len, reverse=True)
    lines = [_group(group) for group in largest[:5]]
    if len(largest) > 5:
        rest = sum(len(group) for group in largest[5:])
        lines.append(say("  {rest} rows for other reasons", "  另有 {rest} 行因其他原因", rest=rest))
    cure = allow_more(num_rejected, num_rows)
    raise DataError("\n".join([head, *lines, cure] if loaded.examples else [head, *lines]))


def allow_more(num_rejected: int, num_rows: int) -> str:
    """What to type where the rows cannot be corrected; the share is rounded up, so that it suffices."""
    return say(
        "Correct these rows, or allow more: data.max_rejected_share={share:.2f}",
        "请修正这些行，或放宽比例：data.max_rejected_share={share:.2f}",
        share=min(1.0, (math.floor(100 * num_rejected / max(1, num_rows)) + 1) / 100),
    )


def write_rejected(rejected: Sequence[Rejected], path: str | Path) -> None:
    """Writes one JSON object a line (path, row, reason, value); the file appears whole or not at all."""
    entries = (
        {**asdict(row.origin), "rule": row.name, "reason": row.reason, "value": row.value} for row in rejected
    )
    lines = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
    # A rejected row may hold half characters, which UTF-8 cannot write.
    durable.write_text(Path(path), lines.encode("utf-8", "backslashreplace").decode("utf-8"))


@contextmanager
def _gathering(problems: list[str]) -> Iterator[None]:
    """Goes on with the next file, so that all problems are told at once."""
    try:
        yield
    except AttuneError as error:
        problems += error.problems


class _Progress:
    """Counts bytes over all files."""

    def __init__(self, paths: list[str], tell: OnProgress | None) -> None:
        self._tell = tell
        self._total = sum(Path(path).stat().st_size for path in paths if Path(path).is_file()) if tell else 0
        self._done = 0

    def within(self, stream: RowStream) -> None:
        if self._tell and stream.num_rows % 1000 == 0:
            self._tell(_reading(stream), min(self._total, self._done + stream.position()), self._total)

    def end(self, stream: RowStream) -> None:
        self._done += stream.size
        if self._tell:
            self._tell(_reading(stream), self._done, self._total)


def _reading(stream: RowStream) -> str:
    return say("reading {name}, bytes", "读取 {name}，字节", name=Path(stream.path).name)


def _take(origin: Origin, value: Any, known: Format, spelling: Spelling) -> Taken:
    try:
        found = columns(value)
        if not found:
            raise RowError(_no_columns(value), "empty_row")
        if not known.fits(found):
            raise RowError(unfit(known, value), "missing_column")
        meant, changes = spelling.example(known.to_example(value))
        if read_as := known.told(value):
            changes.append(read_as)
        example, change = check(meant)
    except RowError as error:
        return Taken(origin, rejected=Rejected(origin, str(error), _shorten(value), error.name))
    if change is not None:
        changes.append(change)
    return Taken(origin, example, " ".join(changes) or None)


def _served(taken: Taken, known: Format) -> list[Taken]:
    """The row as examples of the kind that is wanted, of which it may give several."""
    if taken.example is None:
        return [taken]
    return [replace(taken, example=one) for one in known.examples(taken.example)]


def _ignored(known: Format, first: list[Row]) -> tuple[str, ...]:
    ignored: set[str] = set()
    for found in _columns_of(first):
        ignored |= known.ignores(found)
    return tuple(sorted(ignored))


def _columns_of(first: list[Row]) -> Iterator[frozenset[str]]:
    return (columns(value) for _, value in first if isinstance(value, dict))


def _no_columns(value: Any) -> str:
    if isinstance(value, dict):
        return say("the row has no column that holds anything.", "该行没有任何内容。")
    return say(
        "the row is {kind}; it must be an object with columns.",
        "该行是{kind}；应为含有各列的对象。",
        kind=kind_of(value),
    )


def _shorten(value: Any, limit: int = 200) -> str:
    shown = json.dumps(value, ensure_ascii=False, default=str)
    return shown if len(shown) <= limit else shown[:limit] + "…"


def _reason_without_numbers(reason: str) -> str:
    """Turn numbers and quoted beginnings differ from row to row; the reason is the same."""
    return re.sub(r"\d+", "#", re.sub(r"“[^”]*”", "“…”", reason))


def _group(group: list[Rejected]) -> str:
    first = group[0]
    return say(
        "  {num} ×: {reason} First: {path}, row {row}.",
        "  {num} 行：{reason} 首例：{path} 第 {row} 行。",
        num=len(group),
        reason=first.reason,
        path=first.origin.path,
        row=first.origin.row,
    )
