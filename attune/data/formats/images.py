"""Image classification: ``image_path`` (or ``image``, ``file`` …) and ``label``.

A path is relative to the file that names it. A folder with one sub-folder per class gives such rows.
"""

from __future__ import annotations

from typing import Any

from ...recipe.messages import say
from ..examples import Labelled, RowError
from ._label import LABEL, label_of
from ._row import first, kind_of
from ._written import refusal

KIND = "labelled"
_IMAGE = ("image_path", "image", "image_file", "img", "img_path", "file_name", "filename", "file")
NEEDS = (_IMAGE, LABEL)
ALSO: tuple[tuple[str, ...], ...] = ()
SAMPLE: list[dict[str, Any]] = [{"image_path": "photos/0001.jpg", "label": "dumpling"}]


def to_example(row: dict[str, Any]) -> Labelled:
    """Raises RowError for an image that is no path, and for a label that is missing."""
    name, label = first(row, _IMAGE) or _IMAGE[0], first(row, LABEL) or LABEL[0]
    path = row.get(name)
    if not isinstance(path, str) or not path.strip():
        raise RowError(
            say(
                "{name} is {kind}; it must be the path of an image file.",
                "{name} 是{kind}；应为图片文件的路径。",
                name=name,
                kind=say("empty", "空的") if isinstance(path, str) else kind_of(path),
            ),
            "no_image",
        )
    return Labelled(label_of(row.get(label), label), image=path)


def to_row(example: Labelled) -> dict[str, Any]:
    """Raises RowError for texts."""
    if example.image is None:
        raise refusal("images", say("texts", "文本"))
    label = list(example.label) if isinstance(example.label, tuple) else example.label
    return {"image_path": example.image, "label": label}
