"""From one file form to another: each row is read as an example, and written as the target format writes it.

A row is written only if reading it back gives the same example; what the target has no place for is refused
by name, never left out in silence. The new file appears whole or not at all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..recipe import plugs
from ..recipe.errors import DataError
from ..recipe.messages import join, say
from ..recipe.schema import Source
from . import kinds
from .examples import Example, Rejected, RowError
from .places import files_of
from .recognise import Format
from .rewrite import RawRow, row_file
from .sources import FileReport, OnProgress, Stream, write_rejected

_TABLES = (".csv", ".tsv", ".parquet")
FORMS = (".jsonl", ".ndjson", ".json", *_TABLES)
"""Suffixes of files that can be written."""


@dataclass(slots=True)
class Converted:
    """What became of the rows; ``rejected_path`` is where those lie that could not be converted."""

    output: str
    num_written: int = 0
    kind_change: str | None = None
    """What was kept and what left out, where the target holds another kind of example."""
    changed: dict[str, int] = field(default_factory=dict)
    """What was changed in rows that are used, each with its number of rows."""
    rejected: list[Rejected] = field(default_factory=list)
    rejected_path: str | None = None
    files: list[FileReport] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def convert(
    source: Source, to: str, output: Path, *, force: bool = False, on_progress: OnProgress | None = None
) -> Converted:
    """Writes the rows of ``source`` to ``output`` in the format ``to``; the suffix, one of ``FORMS``, says as
    what file. Rows that do not fit go to ``<output>.rejected.jsonl``.

    Raises DataError for a target that cannot be written, an output that exists (unless ``force``) or is read,
    a source that cannot be read whole, and where no row can be converted.
    """
    target = _target(to)
    stream = Stream([source], None, on_progress=on_progress)
    _must_be_free(output, [] if stream.problems else files_of(source, None, []), force)
    done = Converted(str(output))
    with _writing(output) as write:
        for taken in stream:
            if taken.change:
                done.changed[taken.change] = done.changed.get(taken.change, 0) + 1
            if taken.example is None:
                assert taken.rejected is not None
                done.rejected.append(taken.rejected)
                continue
            try:
                rows = [_row(one, target) for one in _of_kind(taken.example, stream.kind or "", target)]
            except RowError as error:
                done.rejected.append(Rejected(taken.origin, str(error), str(taken.example)[:200], error.name))
                continue
            for row in rows:
                write(RawRow(taken.origin, parsed=row))
            done.num_written += len(rows)
        if stream.problems:
            raise DataError(stream.problems)
        if not done.num_written:
            raise DataError(_nothing(source.path, to, done.rejected))
    done.files, done.notes = stream.files, stream.notes
    done.kind_change = kinds.told(stream.kind or "", target.kind)
    _keep_rejected(done, Path(f"{output}.rejected.jsonl"))
    return done


def _writable() -> list[Format]:
    found = (Format(name, plugs.find("formats", name)) for name in plugs.names("formats"))
    return [one for one in found if hasattr(one.module, "to_row")]


def _target(name: str) -> Format:
    known = _writable()
    found = next((one for one in known if one.name == name), None)
    if found is None:
        what = say("--to: no format that can be written is called so", "--to：没有可写出的格式叫这个名字")
        raise DataError(plugs.unknown(what, name, [one.name for one in known]))
    return found


def _must_be_free(output: Path, inputs: list[str], force: bool) -> None:
    if output.suffix not in FORMS:
        raise DataError(
            say(
                "{path}: cannot be written in this form. Allowed: {forms}; for example clean.jsonl.",
                "{path}：无法写成这种形式。可用：{forms}；例如 clean.jsonl。",
                path=output,
                forms=join(FORMS),
            )
        )
    if output.resolve() in [Path(path).resolve() for path in inputs]:
        raise DataError(
            say(
                "{path}: this file is read; it is never written over. Name another file.",
                "{path}：这是输入文件，不会被覆盖。请换一个文件名。",
                path=output,
            )
        )
    if output.exists() and not force:
        raise DataError(
            say(
                "{path}: there is such a file already. Name another, or replace it with --force",
                "{path}：文件已存在。请换一个文件名，或用 --force 覆盖",
                path=output,
            )
        )


def _of_kind(example: Example, kind: str, target: Format) -> list[Example]:
    if not kinds.can_become(kind, target.kind):
        held = [one.name for one in _writable() if kinds.can_become(kind, one.kind)]
        raise DataError(
            say(
                "The rows are of kind {kind}, which the form {form} (kind {other}) cannot hold. Possible: "
                "--to {held}",
                "数据类型为 {kind}，{form} 格式（{other}）无法容纳。可用：--to {held}",
                kind=kind,
                form=target.name,
                other=target.kind,
                held=join(held),
            )
        )
    return kinds.as_kind(example, kind, target.kind)


def _row(example: Example, target: Format) -> dict[str, Any]:
    """The row, after it was read back; raises RowError where that gives another example."""
    row: dict[str, Any] = target.module.to_row(example)
    try:
        is_held = target.to_example(row) == example
    except RowError:
        is_held = False
    if not is_held:
        raise RowError(
            say(
                "written as {form} it would be read as something else.",
                "写成 {form} 后会被读成别的内容。",
                form=target.name,
            ),
            "does_not_fit",
        )
    return row


def _keep_rejected(done: Converted, path: Path) -> None:
    if done.rejected:
        write_rejected(done.rejected, path)
        done.rejected_path = str(path)
    else:
        path.unlink(missing_ok=True)  # of a conversion before this one


@contextmanager
def _writing(output: Path) -> Iterator[Callable[[RawRow], None]]:
    if output.suffix not in _TABLES:
        with row_file(output) as write:
            yield write
        return
    gathered: list[RawRow] = []
    yield gathered.append
    _write_table(output, gathered)


def _write_table(output: Path, gathered: list[RawRow]) -> None:
    """A table has one set of columns, known when all rows are; a cell of several values is JSON text."""
    columns = list(dict.fromkeys(name for raw in gathered for name in raw.parsed))
    nested = {name for raw in gathered for name, cell in raw.parsed.items() if isinstance(cell, dict | list)}
    table = [{name: _cell(raw.parsed.get(name), name in nested) for name in columns} for raw in gathered]
    if output.suffix == ".parquet":
        _write_parquet(output, table)
        return
    with row_file(output) as write:
        for raw, row in zip(gathered, table, strict=True):
            write(RawRow(raw.origin, parsed=row))


def _cell(value: Any, is_nested: bool) -> Any:
    return json.dumps(value, ensure_ascii=False) if is_nested and isinstance(value, dict | list) else value


def _write_parquet(output: Path, table: list[dict[str, Any]]) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise DataError(
            say(
                '{path}: writing it needs pyarrow, which is not installed. Type: pip install "attune[data]"',
                '{path}：写入它需要 pyarrow，尚未安装。请执行：pip install "attune[data]"',
                path=output,
            )
        ) from None
    try:
        made = pyarrow.Table.from_pylist(table)
    except pyarrow.ArrowException as error:
        raise DataError(
            say(
                "{path}: the rows make no Parquet table ({why}). Name the output {jsonl}.",
                "{path}：这些行无法构成 Parquet 表（{why}）。请把输出命名为 {jsonl}。",
                path=output,
                why=str(error).split("\n")[0].rstrip("."),
                jsonl=output.with_suffix(".jsonl"),
            )
        ) from None
    draft = output.with_name(f".{output.name}.tmp")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(made, draft)
        os.replace(draft, output)
    finally:
        draft.unlink(missing_ok=True)


def _nothing(path: str, to: str, rejected: list[Rejected]) -> str:
    return say(
        "{path}: no row can be written as {form}. The first: row {row}: {reason}",
        "{path}：没有一行可以写成 {form}。首例：第 {row} 行：{reason}",
        path=path,
        form=to,
        row=rejected[0].origin.row,
        reason=rejected[0].reason,
    )
