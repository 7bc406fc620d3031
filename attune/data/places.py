"""What a person's ``path`` means: a file, a folder, a glob or a data set of the hub."""

from __future__ import annotations

import glob
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..recipe.errors import DataError
from ..recipe.messages import join, say
from ..recipe.schema import Source
from .read import SUFFIXES, Row, RowStream, missing, suffix_of

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_DOCUMENTS = (".txt", ".md")
_REGISTRIES = ("dataset_info.json", "dataset_infos.json")
"""Files that describe data sets and are none; they lie in data folders of other tools."""


def files_of(source: Source, kind: str, notes: list[str]) -> list[str]:
    """The files that a source means, sorted; none for a hub data set. Raises DataError where nothing is
    there.

    Of a folder, all data files in it and below are read; what is left out is told in ``notes``: for
    conversations, documents (``.txt``, ``.md``) are not data.
    """
    path = source.path
    if Path(path).is_file() or is_hub(path):
        return [path]
    if Path(path).is_dir():
        return _folder(path, kind, notes)
    if glob.has_magic(path):
        found = sorted(name for name in glob.glob(path, recursive=True) if Path(name).is_file())
        if found:
            return found
        raise DataError(
            say(
                "{path}: no file matches this pattern. Check it with: ls {path}",
                "{path}：没有匹配的文件。可用 ls {path} 检查。",
                path=path,
            )
        )
    raise DataError(missing(path))


def is_hub(path: str) -> bool:
    """``owner/name`` where neither that nor a folder ``owner`` exists here, and the name has no data file's
    suffix.
    """
    return (
        _HUB_ID.fullmatch(path) is not None
        and suffix_of(path) not in SUFFIXES
        and not path.lower().endswith(".gz")
        and not Path(path).exists()
        and not Path(path).parent.is_dir()
    )


def hub_rows(source: Source) -> RowStream:
    """The rows of a hub data set; ``sha256`` (of the rows) is known after the last. Raises DataError."""
    try:
        import datasets
    except ImportError:
        raise DataError(
            say(
                "{path}: no such file here; as a hub data set it needs the package datasets. Type: "
                'pip install "attune[data]"',
                "{path}：本地没有这个文件；若是数据集仓库，需要 datasets 包。请执行：pip install "
                '"attune[data]"',
                path=source.path,
            )
        ) from None
    try:
        found = datasets.load_dataset(source.path, split=source.split)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            say(
                "{path}: no such file here, and as a hub data set (split {split}) it cannot be loaded: "
                "{why}. Check the "
                "name, the split and the network, or give a file.",
                "{path}：本地没有这个文件；作为数据集（split {split}）也无法加载：{why}。请检查名称、split "
                "与网络，或改用文件。",
                path=source.path,
                split=source.split,
                why=str(error).strip().split("\n")[0].rstrip("."),
            )
        ) from None
    stream = RowStream(source.path, "hub", None, False, "", iter(()))
    stream.rows = _numbered(found, stream)
    return stream


def _numbered(found: Any, stream: RowStream) -> Iterator[Row]:
    digest = hashlib.sha256()
    for number, row in enumerate(found, start=1):
        digest.update(json.dumps(row, ensure_ascii=True, sort_keys=True, default=str).encode())
        yield number, dict(row)
    stream.sha256 = digest.hexdigest()


def _folder(path: str, kind: str, notes: list[str]) -> list[str]:
    found: list[Path] = []
    left: list[Path] = []
    for item in sorted(Path(path).rglob("*")):
        inside = item.relative_to(path)
        if not item.is_file() or any(part.startswith(".") for part in inside.parts):
            continue
        suffix = suffix_of(item.name)
        is_data = (
            suffix in SUFFIXES
            and item.name not in _REGISTRIES
            and (kind == "text" or suffix not in _DOCUMENTS)
        )
        (found if is_data else left).append(inside)
    if not found:
        raise DataError(
            say(
                "{path}: the folder holds no data files ({suffixes}, each also .gz).",
                "{path}：文件夹中没有数据文件（{suffixes}，均可加 .gz）。",
                path=path,
                suffixes=join(suffix for suffix in SUFFIXES if kind == "text" or suffix not in _DOCUMENTS),
            )
        )
    if left:
        notes.append(
            say(
                "{path}: files of the folder that are not read: {names} ({num} in all).",
                "{path}：文件夹中未读取的文件：{names}（共 {num} 个）。",
                path=path,
                num=len(left),
                names=join(left[:5]) + (" …" if len(left) > 5 else ""),
            )
        )
    return [str(Path(path) / inside) for inside in found]
