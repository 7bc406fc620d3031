"""Opens a data file and streams its rows: ``rows("my.json")`` gives ``(row number from 1, value)``.

What a file is follows from what it holds, then from its suffix:

- Parquet and Arrow by their magic bytes;
- ``.csv`` and ``.tsv``: a table, mostly with a header line; rows are objects, every cell a text;
- ``.yaml``, ``.yml``: a list of rows;
- ``.md``: one document; ``.txt``: documents separated by blank lines; the rows are texts;
- lines of a label and a text, under any other suffix and ``.txt``;
- a folder with one sub-folder of images per class: a row for each image;
- all others, and any of these that holds JSON in truth: JSON or JSON Lines.

Each of them may be gzipped. A row's number counts the rows; in JSON Lines it is the line number.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..recipe.errors import DataError
from ..recipe.messages import join, say
from .decode import Content, find_encoding, look, open_text
from .read_images import digest, is_class_folder, read_class_folder
from .read_json import holds_json, read_json
from .read_lines import holds_labelled_lines, read_labelled_lines
from .read_table import read_arrow, read_csv, read_parquet
from .read_yaml import read_yaml

Row = tuple[int, Any]
SUFFIXES = (
    ".json",
    ".jsonl",
    ".ndjson",
    ".csv",
    ".tsv",
    ".parquet",
    ".arrow",
    ".yaml",
    ".yml",
    ".txt",
    ".md",
)
"""What a data file may be called, each also with ``.gz`` after it."""


@dataclass(slots=True)
class RowStream:
    """The rows of one file, to be iterated once; ``num_rows`` and ``notes`` are complete afterwards."""

    path: str
    container: str
    """``json``, ``jsonl``, ``csv``, ``tsv``, ``parquet``, ``arrow``, ``yaml``, ``txt``, ``md``, ``lines``
    (of a label and a text) or ``folder`` (of images).
    """
    encoding: str | None
    """A Python codec name; None for Parquet, Arrow and folders."""
    is_compressed: bool
    sha256: str
    """Of the file's bytes as they lie on disk."""
    rows: Iterator[Row]
    notes: list[str] = field(default_factory=list)
    """Sentences for the person: an unusual encoding, comments passed over, a suffix that is wrong."""
    num_rows: int = 0
    size: int = 0
    """Bytes on disk."""
    position: Callable[[], int] = int
    """How many of these bytes have been read."""

    def __iter__(self) -> Iterator[Row]:
        for row in self.rows:
            self.num_rows += 1
            yield row


def rows(path: str, encoding: str | None = None, has_header: bool | None = None) -> RowStream:
    """Opens ``path``; ``has_header`` says whether a table's first line names its columns (None: as it looks).

    Raises DataError, here or while the rows are read, for what cannot be read whole.
    """
    if Path(path).is_dir() and is_class_folder(path):
        sha256, size = digest(path)
        return RowStream(path, "folder", None, False, sha256, read_class_folder(path), size=size)
    _must_exist(path)
    content = look(path)
    if content.head.startswith(b"PAR1"):
        return _stream(content, "parquet", None, read_parquet(content))
    suffix = suffix_of(path)
    if content.head.startswith(b"ARROW1") or suffix == ".arrow":
        return _stream(content, "arrow", None, read_arrow(content))
    if suffix == ".parquet":
        raise DataError(
            say(
                "{path}: not a Parquet file: it does not begin with PAR1. Download or write it again.",
                "{path}：不是 Parquet 文件（开头不是 PAR1）。请重新下载或生成。",
                path=path,
            )
        )
    used = find_encoding(content, encoding)
    stream = _text_stream(content, used, suffix, has_header)
    if encoding is None and not used.startswith("utf-8"):
        stream.notes.append(
            say(
                "{path}: read as {encoding}, as its bytes suggest; declare another with encoding: …",
                "{path}：根据字节判断按 {encoding} 读取；如不对，请用 encoding: … 声明。",
                path=path,
                encoding=used.upper(),
            )
        )
    return stream


def suffix_of(path: str) -> str:
    """The suffix in small letters, without ``.gz``."""
    return Path(path.lower().removesuffix(".gz")).suffix


def missing(path: str) -> str:
    """The sentence for a file that does not exist, with the nearest names in its folder."""
    folder = Path(path).parent
    if not folder.is_dir():
        return say(
            "{path}: no such file: the folder {folder} does not exist. Check the path.",
            "{path}：没有这个文件：文件夹 {folder} 不存在。请检查路径。",
            path=path,
            folder=folder,
        )
    names = sorted(item.name for item in folder.iterdir())
    near = difflib.get_close_matches(Path(path).name, names, n=3, cutoff=0.75)
    if near:
        hint = say(
            "Did you mean: {near}?", "您是否想写：{near}？", near=join(str(folder / name) for name in near)
        )
    else:
        data = [name for name in names if suffix_of(name) in SUFFIXES][:5]
        here = say("this folder", "当前文件夹") if folder == Path() else str(folder)
        hint = (
            say(
                "Data files in {folder}: {data}.",
                "{folder}中的数据文件：{data}。",
                folder=here,
                data=join(data),
            )
            if data
            else say("There is no data file in {folder}.", "{folder}中没有数据文件。", folder=here)
        )
    return say("{path}: no such file. {hint}", "{path}：没有这个文件。{hint}", path=path, hint=hint)


def _must_exist(path: str) -> None:
    try:
        if Path(path).is_file():
            return
        problem = missing(path)
    except (OSError, ValueError) as error:  # a name that the system cannot hold
        problem = say(
            "{path}: no such file ({why}).", "{path}：没有这个文件（{why}）。", path=repr(path), why=error
        )
    raise DataError(problem)


def _text_stream(content: Content, encoding: str, suffix: str, has_header: bool | None) -> RowStream:
    if suffix in (".json", ".jsonl", ".ndjson") or holds_json(content, encoding):
        found = read_json(content, encoding)
        return _stream(content, found.container, encoding, found.rows, found.notes)
    if suffix in (".csv", ".tsv"):
        notes: list[str] = []
        return _stream(content, suffix[1:], encoding, read_csv(content, encoding, has_header, notes), notes)
    if suffix in (".yaml", ".yml"):
        return _stream(content, "yaml", encoding, read_yaml(content, encoding))
    if suffix != ".md" and holds_labelled_lines(content, encoding):
        note = say(
            "{path}: read as lines of a label and a text.",
            "{path}：按“标签 文本”的行读取。",
            path=content.path,
        )
        return _stream(content, "lines", encoding, read_labelled_lines(content, encoding), [note])
    if suffix not in (".txt", ".md"):
        raise DataError(_unknown_kind(content.path))
    return _stream(content, suffix[1:], encoding, _documents(content, encoding, is_one=suffix == ".md"))


def _documents(content: Content, encoding: str, is_one: bool) -> Iterator[Row]:
    """Texts without the line breaks around them; all else of them is kept."""
    lines: list[str] = []
    number = 0
    with open_text(content, encoding, newline=None) as file:
        for line in file:
            if line.strip() or is_one:
                lines.append(line)
            elif lines:
                number += 1
                yield number, "".join(lines).strip("\n")
                lines = []
    if lines:
        yield number + 1, "".join(lines).strip("\n")


def _stream(
    content: Content,
    container: str,
    encoding: str | None,
    found: Iterator[Row],
    notes: list[str] | None = None,
) -> RowStream:
    # The list itself is kept: the reader adds to it until the last row.
    kept = [] if notes is None else notes
    stream = RowStream(content.path, container, encoding, content.is_compressed, content.sha256, found, kept)
    stream.size, stream.position = content.size, content.position
    return stream


def _unknown_kind(path: str) -> str:
    return say(
        "{path}: unknown kind of file: it is not JSON, and its suffix is none of {suffixes} (each also .gz). "
        "Rename or export it.",
        "{path}：未知的文件类型：内容不是 JSON，后缀也不属于 {suffixes}（均可加 .gz）。请改名或导出。",
        path=path,
        suffixes=join(SUFFIXES),
    )
