"""CSV and TSV; Parquet and Arrow files (with pyarrow, ``pip install "attune[data]"``).

A cell may hold line breaks when it is quoted. The separator is the first line's (comma, tab or semicolon).
TSV files are often written without quoting: where a file is a table without it, and quoting would make no
table or join lines, quotes are plain characters. A first line that holds a number or a long text is a row and
no header: the columns are then called "0", "1" …. A row with more or fewer cells than the first stops the
reading of its file.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections import Counter
from collections.abc import Iterator
from typing import IO, Any, Literal

from ..recipe.errors import DataError
from ..recipe.messages import join, say
from .decode import Content, open_bytes, open_text

Row = tuple[int, Any]
_SHOWN = 5
_LONGEST_NAME = 60
csv.field_size_limit(2**31 - 1)  # the default of 131,072 characters a cell refuses whole documents


def read_csv(content: Content, encoding: str, has_header: bool | None, notes: list[str]) -> Iterator[Row]:
    """``(row number from 1, without the header, {column: cell})``; ``notes`` says where no header was found.

    Raises DataError for what is no table.
    """
    separator = _separator(content, encoding)
    quoting: Literal[0, 3] = (
        csv.QUOTE_NONE if _is_unquoted(content, encoding, separator) else csv.QUOTE_MINIMAL
    )
    with open_text(content, encoding, newline="") as file:
        reader = csv.reader(file, delimiter=separator, quoting=quoting, strict=True)
        wrong: list[str] = []
        num_wrong = number = 0
        header: list[str] = []
        try:
            start = next(reader, [])
            is_named = has_header if has_header is not None else _looks_like_names(start)
            header = _header(content.path, start) if is_named else [str(place) for place in range(len(start))]
            if has_header is None and not is_named:
                notes.append(_headless(content.path, header))
            for cells in reader if is_named else itertools.chain([start], reader):
                if not cells:
                    continue
                number += 1
                if len(cells) != len(header):
                    num_wrong += 1
                    if num_wrong <= _SHOWN:
                        wrong.append(_wrong_row(number, reader.line_num, cells))
                elif not num_wrong:
                    yield number, dict(zip(header, cells, strict=True))
        except csv.Error as error:
            raise DataError(_broken(content.path, reader.line_num, str(error))) from None
    if num_wrong:
        raise DataError(_ragged(content.path, len(header), num_wrong, wrong))


def read_parquet(content: Content) -> Iterator[Row]:
    """The rows of a Parquet file, batch by batch."""
    _need_pyarrow(content.path)
    import pyarrow
    from pyarrow import parquet

    try:
        with _seekable(content) as file:
            # By default the whole file is held in memory before the first row.
            table = parquet.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20)
            yield from _rows(table.iter_batches(batch_size=1024))
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(_damaged(content.path, "Parquet", error)) from None


def read_arrow(content: Content) -> Iterator[Row]:
    """The rows of an Arrow file, in the file form or in the stream form that ``datasets`` writes."""
    _need_pyarrow(content.path)
    import pyarrow
    from pyarrow import ipc

    try:
        with _seekable(content) as file:
            if content.head.startswith(b"ARROW1"):
                table = ipc.open_file(file)
                yield from _rows(table.get_batch(index) for index in range(table.num_record_batches))
            else:
                yield from _rows(iter(ipc.open_stream(file)))
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(_damaged(content.path, "Arrow", error)) from None


def _rows(batches: Iterator[Any]) -> Iterator[Row]:
    number = 0
    for batch in batches:
        for row in batch.to_pylist():
            number += 1
            yield number, row


def _seekable(content: Content) -> IO[bytes]:
    file = open_bytes(content)
    if not content.is_compressed:
        return file
    with file:
        return io.BytesIO(file.read())


def _need_pyarrow(path: str) -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise DataError(
            say(
                '{path}: reading it needs pyarrow, which is not installed. Type: pip install "attune[data]"',
                '{path}：读取它需要 pyarrow，尚未安装。请执行：pip install "attune[data]"',
                path=path,
            )
        ) from None


def _separator(content: Content, encoding: str) -> str:
    """The separator that the header line holds most of; a tab where a ``.tsv`` has one column only."""
    with open_text(content, encoding, newline="") as file:
        line = file.readline()
    counts = Counter(character for character in line if character in ",\t;")
    if counts:
        return counts.most_common(1)[0][0]
    return "\t" if content.path.lower().removesuffix(".gz").endswith(".tsv") else ","


def _is_unquoted(content: Content, encoding: str, separator: str) -> bool:
    """Whether the quotes of a TSV are plain characters."""
    if separator != "\t":
        return False
    literal = _num_rows(content, encoding, csv.QUOTE_NONE)
    return literal is not None and literal != _num_rows(content, encoding, csv.QUOTE_MINIMAL)


def _num_rows(content: Content, encoding: str, quoting: Literal[0, 3]) -> int | None:
    """The number of rows, if the file is a table of several columns when read so."""
    with open_text(content, encoding, newline="") as file:
        reader = csv.reader(file, "excel-tab", quoting=quoting, strict=True)
        try:
            widths = Counter(len(cells) for cells in reader if cells)
        except csv.Error:
            return None
    return widths.total() if len(widths) == 1 and max(widths) > 1 else None


def _looks_like_names(cells: list[str]) -> bool:
    return not any(_is_number(cell) or len(cell) > _LONGEST_NAME for cell in cells)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _header(path: str, header: list[str]) -> list[str]:
    names = [name.strip() for name in header]
    if names and not names[0] and "index" not in names:
        names[0] = "index"  # so pandas writes the numbers of the rows
    double = [name for name, times in Counter(names).items() if times > 1]
    if double or not all(names):
        raise DataError(
            say(
                "{path}: the first line must name the columns, each once; it holds: {names}. If it is a row: "
                "has_header: false",
                "{path}：第一行必须是列名，且不得重复或为空；现在是：{names}。若它是数据：has_header: false",
                path=path,
                names=join(repr(name) for name in names),
            )
        )
    return names


def _headless(path: str, header: list[str]) -> str:
    return say(
        "{path}: the first line looks like a row, not like names; the columns are called {names} (or declare "
        "has_header: true).",
        "{path}：第一行像数据而不像列名；各列以 {names} 称呼（否则请声明 has_header: true）。",
        path=path,
        names=join(header),
    )


def _wrong_row(number: int, line: int, cells: list[str]) -> str:
    return say(
        "  row {row} (ends in line {line}): {num} cells: {text}",
        "  第 {row} 行（止于文件第 {line} 行）：{num} 个单元格：{text}",
        row=number,
        line=line,
        num=len(cells),
        text=" | ".join(cells)[:80],
    )


def _ragged(path: str, width: int, num_wrong: int, wrong: list[str]) -> str:
    more = num_wrong - len(wrong)
    if more:
        wrong = [*wrong, say("  … and {more} more", "  …… 另有 {more} 行", more=more)]
    head = say(
        "{path}: the header has {width} columns; number of rows with more or fewer cells: {num}",
        "{path}：表头有 {width} 列；单元格数不同的行数：{num}",
        path=path,
        width=width,
        num=num_wrong,
    )
    hint = say(
        'A cell that holds the separator or a line break must be quoted: "like, this".',
        '含有分隔符或换行的单元格必须加引号："像, 这样"。',
    )
    return "\n".join([head, *wrong, hint])


def _broken(path: str, line: int, reason: str) -> str:
    return say(
        '{path}, line {line}: not valid CSV: {reason}. A quoted cell starts and ends with " and doubles '
        "those within.",
        '{path} 第 {line} 行：不是有效的 CSV：{reason}。加引号的单元格以 " 开头和结尾，其中的引号要写两遍。',
        path=path,
        line=line,
        reason=reason,
    )


def _damaged(path: str, kind: str, error: Exception) -> str:
    return say(
        "{path}: the {kind} file is damaged: {why}. Download or write it again.",
        "{path}：{kind} 文件已损坏：{why}。请重新下载或生成。",
        path=path,
        kind=kind,
        why=str(error).split("\n")[0].rstrip("."),
    )
