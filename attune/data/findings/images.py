"""Images of labelled rows: files that are no image. (A file that is not there rejects its row.)"""

# ruff: noqa: E501 (a sentence holds both languages in one line)
from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path

from ...recipe.messages import say
from ..examples import Example, Labelled, RowError
from ..images import BEGINNINGS, decode, no_image, read
from ._finding import Context, Fact, Seen, Table
from ._symptom import Hit, RowDetector, Symptom, meanings

KINDS = ("labelled",)
_SYMPTOMS = {
    "image_unreadable": Symptom(
        "the file cannot be read as an image. | 文件无法作为图片读取。",
        "Fetch the files again or take the rows out. | 请重新下载这些文件或删除这些行。",
        warning_from=0,
        stop_from=0.02,
    ),
}
NAMES = meanings(_SYMPTOMS)


class Detector(RowDetector):
    """Decodes every image where Pillow is installed; else it looks at the first bytes of each, and says so."""

    SYMPTOMS = _SYMPTOMS

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._decodes = importlib.util.find_spec("PIL") is not None
        self._num = 0

    def see(self, seen: Seen) -> None:
        """What a model's encoder has taken is decoded already; what it has not is a rejected row."""
        if seen.encoded is None:
            super().see(seen)
        elif isinstance(seen.example, Labelled) and seen.example.image is not None:
            self._num += 1

    def hits(self, example: Example) -> Iterator[Hit]:
        if isinstance(example, Labelled) and example.image is not None:
            self._num += 1
            if problem := (_decode if self._decodes else _begin)(Path(example.image)):
                yield "image_unreadable", f"{example.image}: {problem}"

    def facts(self) -> Iterable[Fact]:
        if self._num:
            how = (
                say("each one decoded", "逐一解码")
                if self._decodes
                else say(
                    "first bytes only; pip install pillow to decode them",
                    "仅检查文件头；安装 pillow 后可逐一解码",
                )
            )
            rows = (say("images", "图片"), self._num), (say("checked", "检查方式"), how)
            yield Table(say("Images", "图片"), (), rows)


def _decode(path: Path) -> str | None:
    """Why it cannot be decoded, or None."""
    try:
        decode(read(str(path)))
    except RowError as error:
        return str(error)
    return None


def _begin(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        return error.strerror or str(error)
    if start.startswith(BEGINNINGS):
        return None
    return no_image(start)
