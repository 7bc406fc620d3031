"""What a person's ``path`` means: a file, a folder, a glob, a name in a registry or a data set of the hub."""

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
from .read_images import digest, is_class_folder
from .registry import resolve

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_DOCUMENTS = (".txt", ".md")
_REGISTRIES = ("dataset_info.json", "dataset_infos.json")
"""Files that describe data sets and are none; they lie in data folders of other tools."""


def files_of(source: Source, kind: str | None, notes: list[str]) -> list[str]:
    """The files that a source means, sorted; the id itself for a hub data set. Raises DataError where nothing
    is there.

    Of a folder, all data files in it and below are read; what is left out is told in ``notes``: documents
    (``.txt``, ``.md``) are data for ``kind`` "text" only, and for None where there is nothing else. A folder
    with a sub-folder of images per class is itself what is read.
    """
    path = resolve(source).path
    if Path(path).is_file() or is_hub(path):
        return [path]
    if Path(path).is_dir():
        return [path] if _is_class_folder(path) else _folder(path, kind, notes)
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


def fingerprint(source: Source, kind: str | None) -> list[list[str]] | None:
    """Path and content hash of every file of a source, and what a registry says of it; None where it is of
    the hub and may change unseen.
    """
    meant = resolve(source)
    if is_hub(meant.path):
        return None
    said = [] if meant == source else [["registry", meant.model_dump_json()]]
    return said + [[path, _sha256(path)] for path in files_of(meant, kind, [])]


def _sha256(path: str) -> str:
    if Path(path).is_dir():
        return digest(path)[0]
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            found.update(block)
    return found.hexdigest()


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
        found = datasets.load_dataset(source.path, name=source.subset, split=source.split)
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


def _is_class_folder(path: str) -> bool:
    """Whether there are classes of images, and no data file that may say more of them."""
    return is_class_folder(path) and not any(_is_data(item) for item in Path(path).rglob("*"))


def _is_data(item: Path) -> bool:
    suffix = suffix_of(item.name)
    return suffix in SUFFIXES and suffix not in _DOCUMENTS and item.name not in _REGISTRIES and item.is_file()


def _folder(path: str, kind: str | None, notes: list[str]) -> list[str]:
    visible = [
        item
        for item in sorted(Path(path).rglob("*"))
        if item.is_file() and not any(part.startswith(".") for part in item.relative_to(path).parts)
    ]
    found = [item for item in visible if _is_data(item)]
    if kind == "text" or (kind is None and not found and not _class_folders(path)):
        found = [item for item in visible if _is_data(item) or suffix_of(item.name) in _DOCUMENTS]
    left = [item for item in visible if item not in set(found)]
    if not found:
        raise DataError(_nothing_in(path, kind))
    if left:
        notes.append(
            say(
                "{path}: files of the folder that are not read: {names} ({num} in all).",
                "{path}：文件夹中未读取的文件：{names}（共 {num} 个）。",
                path=path,
                num=len(left),
                names=join(item.relative_to(path) for item in left[:5]) + (" …" if len(left) > 5 else ""),
            )
        )
    return [str(item) for item in found]


def _class_folders(path: str) -> list[Path]:
    """The sub-folders that are each a folder of images by class: the parts of a set."""
    return [item for item in sorted(Path(path).iterdir()) if item.is_dir() and is_class_folder(str(item))]


def _nothing_in(path: str, kind: str | None) -> str:
    if deeper := _class_folders(path):
        return say(
            "{path}: holds folders of images by class, one for each part: {names}. Name one.",
            "{path}：其中各部分是按类别存放图片的文件夹：{names}。请指定其中一个。",
            path=path,
            names=join(deeper),
        )
    suffixes = (suffix for suffix in SUFFIXES if kind in ("text", None) or suffix not in _DOCUMENTS)
    return say(
        "{path}: the folder holds no data files ({suffixes}, each also .gz).",
        "{path}：文件夹中没有数据文件（{suffixes}，均可加 .gz）。",
        path=path,
        suffixes=join(suffixes),
    )
