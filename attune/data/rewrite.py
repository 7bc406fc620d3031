"""Some of the rows of data files as new files: each row as it stands in its source.

JSON Lines are copied line by line; rows of JSON and of tables are written as the same objects. How follows from
the new file's suffix: ``.jsonl`` and ``.json`` take any row, ``.csv`` and ``.tsv`` rows of one set of columns,
``.txt`` texts with blank lines between. New files are in UTF-8.
"""

# ruff: noqa: E501 (a sentence holds both languages in one line)
from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from ..recipe.errors import DataError
from ..recipe.messages import join, say
from . import durable
from .decode import look, open_text
from .examples import Origin
from .read import rows, suffix_of
from .sources import FileReport

LINES = (".jsonl", ".ndjson")
FORMS = (*LINES, ".json", ".csv", ".tsv", ".txt")
"""Suffixes of files that can be written."""
_COMMENT = ("#", "//")


@dataclass(slots=True)
class RawRow:
    """A row as it stands in its file; ``line`` is its text where the file is JSON Lines, without its end."""

    origin: Origin
    line: str | None = None
    parsed: Any = None

    @property
    def value(self) -> Any:
        return self.parsed if self.line is None else json.loads(self.line)

    def as_json(self) -> str:
        """On one line. Raises DataError for a value that JSON does not have."""
        if self.line is not None:
            return self.line.strip()
        try:
            return json.dumps(self.parsed, ensure_ascii=False)
        except TypeError as error:
            raise DataError(
                say(
                    "{path}, row {row}: cannot be written as JSON ({why}). Take that column out.",
                    "{path} 第 {row} 行：无法写成 JSON（{why}）。请去掉该列。",
                    path=self.origin.path,
                    row=self.origin.row,
                    why=error,
                )
            ) from None


def raw_rows(files: Sequence[FileReport]) -> Iterator[RawRow]:
    """All rows of the files, in the order in which ``sources.Stream`` gave them. Raises DataError where a
    file is no longer what it was then.
    """
    for file in files:
        num = 0
        for raw in _lines(file) if file.container == "jsonl" else _values(file):
            num += 1
            yield raw
        if num != file.num_rows:
            raise DataError(
                say(
                    "{path}: it was changed while it was read. Run the command again.",
                    "{path}：读取过程中文件被修改。请重新运行命令。",
                    path=file.path,
                )
            )


Write = Callable[[RawRow], None]


@contextmanager
def row_file(path: Path) -> Iterator[Write]:
    """A new data file, which appears whole when the block ends well: the function that writes a row to it.

    The rows raise DataError where the file's form cannot hold them.
    """
    newline = "" if path.suffix in (".csv", ".tsv") else "\n"
    with durable.writing(path, newline=newline, errors="backslashreplace") as file:
        if path.suffix in (".csv", ".tsv"):
            yield _Table(path, file).write
        elif path.suffix == ".txt":
            yield _Texts(path, file).write
        elif path.suffix == ".json":
            array = _Array(file)
            yield array.write
            array.end()
        else:
            yield lambda raw: _write_line(file, raw)


def must_be_writable(outputs: Sequence[Path], inputs: Sequence[str]) -> None:
    """Raises DataError where an output has no form that can be written, is an input, or is named twice."""
    problems = [_no_form(path) for path in outputs if path.suffix.lower() not in FORMS]
    read = {Path(name).resolve() for name in inputs}
    for number, path in enumerate(outputs):
        if path.resolve() in read:
            problems.append(
                say(
                    "{path}: this file is read; it is never written over. Name another file.",
                    "{path}：这是输入文件，不会被覆盖。请换一个文件名。",
                    path=path,
                )
            )
        if path.resolve() in [other.resolve() for other in outputs[:number]]:
            problems.append(
                say(
                    "{path}: named for two outputs. Give each its own file.",
                    "{path}：被用作两个输出。请分别指定文件。",
                    path=path,
                )
            )
    if problems:
        raise DataError(problems)


def must_be_files(files: Sequence[FileReport]) -> None:
    """Raises DataError where rows came from elsewhere: those of a hub data set lie in no file."""
    problems = [
        say(
            "{path}: no data file, so its rows cannot be written as they stand. Name a file (JSON, JSON Lines, "
            "CSV, Parquet …).",
            "{path}：不是数据文件，无法原样写出各行。请指定文件（JSON、JSON Lines、CSV、Parquet 等）。",
            path=file.path,
        )
        for file in files
        if not Path(file.path).is_file()
    ]
    if problems:
        raise DataError(problems)


def form_of(files: Sequence[FileReport]) -> str:
    """The suffix in which rows of these files are written where nobody says: that of the first."""
    suffix = suffix_of(files[0].path)
    return suffix if suffix in FORMS and files[0].container == suffix[1:] else ".jsonl"


def _lines(file: FileReport) -> Iterator[RawRow]:
    content = look(file.path)
    with open_text(content, file.encoding or "utf-8", newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip() and not line.lstrip().startswith(_COMMENT):
                yield RawRow(Origin(file.path, number), line.rstrip("\r\n"))


def _values(file: FileReport) -> Iterator[RawRow]:
    for number, value in rows(file.path, file.encoding):
        yield RawRow(Origin(file.path, number), parsed=value)


def _write_line(file: TextIO, raw: RawRow) -> None:
    file.write(raw.as_json() + "\n")


class _Array:
    """A JSON array with one row a line."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._before = "[\n"

    def write(self, raw: RawRow) -> None:
        self._file.write(self._before + raw.as_json())
        self._before = ",\n"

    def end(self) -> None:
        self._file.write("\n]\n" if self._before == ",\n" else "[]\n")


class _Table:
    """CSV or TSV under the columns of its first row."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self._path = path
        self._writer = csv.writer(
            file, delimiter="\t" if path.suffix == ".tsv" else ",", lineterminator="\n", strict=True
        )
        self._columns: list[str] | None = None

    def write(self, raw: RawRow) -> None:
        value = raw.value
        if not isinstance(value, dict) or any(isinstance(cell, dict | list) for cell in value.values()):
            raise DataError(self._unfit(raw))
        if self._columns is None:
            self._columns = list(value)
            if self._columns != [
                str(place) for place in range(len(value))
            ]:  # so called where there is no header
                self._writer.writerow(self._columns)
        if self._columns != list(value):
            raise DataError(self._unfit(raw))
        self._writer.writerow(["" if cell is None else cell for cell in value.values()])

    def _unfit(self, raw: RawRow) -> str:
        return say(
            "{path}: a table cannot hold row {row} of {source}: its columns must be those of the first row "
            "({columns}), each with one value. Name the output {jsonl}.",
            "{path}：表格放不下 {source} 第 {row} 行：各列须与首行相同（{columns}），且每格一个值。"
            "请把输出命名为 {jsonl}。",
            path=self._path,
            row=raw.origin.row,
            source=raw.origin.path,
            columns=join(self._columns or ["-"]),
            jsonl=self._path.with_suffix(".jsonl"),
        )


class _Texts:
    """Documents with a blank line between."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self._path, self._file = path, file
        self._before = ""

    def write(self, raw: RawRow) -> None:
        value = raw.value
        if not isinstance(value, str) or any(not line.strip() for line in value.split("\n")):
            raise DataError(
                say(
                    "{path}: a text file cannot hold row {row} of {source}: it is no text without blank lines. "
                    "Name the output {jsonl}.",
                    "{path}：文本文件放不下 {source} 第 {row} 行：它不是没有空行的文本。请把输出命名为 {jsonl}。",
                    path=self._path,
                    row=raw.origin.row,
                    source=raw.origin.path,
                    jsonl=self._path.with_suffix(".jsonl"),
                )
            )
        self._file.write(f"{self._before}{value}\n")
        self._before = "\n"


def _no_form(path: Path) -> str:
    return say(
        "{path}: cannot be written in this form. Allowed: {forms}; for example {jsonl}.",
        "{path}：无法写成这种形式。可用：{forms}；例如 {jsonl}。",
        path=path,
        forms=join(FORMS),
        jsonl=path.with_suffix(".jsonl").name if path.name else "clean.jsonl",
    )
