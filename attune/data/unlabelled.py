"""Rows to predict: what a labelled format reads of them; their other columns are kept, no label is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..recipe import plugs
from ..recipe.errors import DataError
from ..recipe.messages import join, say
from ..recipe.schema import Source
from .examples import Labelled, Origin, RowError
from .formats._label import LABEL
from .formats._row import first
from .places import files_of
from .read import rows
from .read_images import is_image_folder, read_image_folder
from .rules import check
from .spelling import with_image


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it stands in its file, and what is asked of it: an input, or the reason why it is none."""

    origin: Origin
    columns: dict[str, Any]
    example: Labelled | None
    reason: str | None = None


def load(path: str) -> list[Row]:
    """The rows of ``path`` (a file, folder or glob), in order; none is left out. Of a folder of images and
    nothing else each image is a row.

    Raises DataError where nothing is there, or no row holds an input.
    """
    if is_image_folder(path):
        return [_row(Origin(path, number), value) for number, value in read_image_folder(path)]
    found = [
        _row(Origin(file, number), value)
        for file in files_of(Source(path=path), "labelled", [])
        for number, value in rows(file, None)
    ]
    if not any(row.example for row in found):
        raise DataError(_nothing(path, found))
    return found


def _row(origin: Origin, value: Any) -> Row:
    columns = value if isinstance(value, dict) else {"text": value}
    return Row(origin, columns, *_read(columns, origin.path))


def _read(columns: dict[str, Any], file: str) -> tuple[Labelled | None, str | None]:
    """The input, or why there is none. A label that is there is not looked at; one that is not is put in its
    place, because the formats want one.
    """
    asked = {name: value for name, value in columns.items() if name not in LABEL} | {"label": "?"}
    for name in ("images", "labelled"):
        module = plugs.find("formats", name)
        if first(asked, module.NEEDS[0]) is not None:
            try:
                example, _ = check(module.to_example(asked))
                assert isinstance(example, Labelled)
                return replace(with_image(example, file), label=""), None
            except RowError as error:
                return None, str(error)
    return None, say("no column with a text or an image", "没有文本列或图片列")


def _nothing(path: str, found: Sequence[Row]) -> str:
    texts, images = (plugs.find("formats", name).NEEDS[0] for name in ("labelled", "images"))
    columns = list(found[0].columns) if found else []
    return say(
        "{path}: no row holds a text or an image to predict. Its columns: {columns}. A text stands in one "
        "of: {texts}; the path of an image in one of: {images}.",
        "{path}：没有可预测的文本或图片。其列为：{columns}。文本列应为以下之一：{texts}；"
        "图片路径列应为以下之一：{images}。",
        path=path,
        columns=join(str(name) for name in columns[:10]) or "-",
        texts=join(texts),
        images=join(images),
    )
