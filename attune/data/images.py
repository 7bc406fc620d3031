"""Images as a model reads them: a file becomes RGB pixels, the model's own processor makes numbers of these.

In a store an image stands as numbers that are made of the hash of its file and of the processor, as many as
the model makes patches of it. So packs are cut, runs compared and features kept as with texts. The pixels are
read from the file when its pack is computed, and not kept.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import struct
import warnings
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..recipe.errors import DataError, ModelError
from ..recipe.messages import say
from .examples import RowError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

MOST_PIXELS = 89_478_485
"""Pillow's own limit: 256 MiB of RGB. A file that says more is a fault or an attack."""
WIDEST = 200
"""How many times as long as wide an image may be: processors scale its short side to the model's size."""

BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"II*\x00", b"MM\x00*", b"RIFF")
"""Of the files that people keep images in."""

_FEWEST_PLACES = 4
"""128 bits of the hash, however small the image."""
_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")
_BROKEN = (OSError, SyntaxError, ValueError, TypeError, EOFError, struct.error, zlib.error, MemoryError)
"""What Pillow raises on files that are cut off or hold nonsense."""


def need_pillow() -> None:
    """Raises ModelError where Pillow, which decodes images, is not installed."""
    if importlib.util.find_spec("PIL") is None:
        raise ModelError(
            say(
                'Images are decoded by Pillow, which is not installed. Type: pip install "attune[images]"',
                '解码图片需要 Pillow，尚未安装。请执行：pip install "attune[images]"',
            )
        )


def read(path: str) -> bytes:
    """The file. Raises RowError (``image_unreadable``) where it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise _unreadable(error.strerror or str(error)) from None


def decode(content: bytes) -> Image.Image:
    """The first frame, upright as EXIF has it, in RGB; what is transparent lies on white, 16 bits become 8.

    Raises RowError (``image_unreadable``) with the reason for a file that is no image, or none that a model
    can take.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    # Pillow only warns up to twice its limit; what is above it is refused here, in our own words.
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    if not content:
        raise _unreadable(say("the file is empty", "文件是空的"))
    try:
        with Image.open(io.BytesIO(content)) as image:
            _must_be_of_a_size(*image.size)
            image.load()
            return _rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        if content.startswith(BEGINNINGS):
            raise _unreadable(say("cut off or damaged", "文件不完整或已损坏")) from None
        raise _unreadable(no_image(content[:12])) from None
    except Image.DecompressionBombError:
        raise _unreadable(_too_large()) from None
    except RowError:
        raise
    except _BROKEN as error:
        reason = str(error).strip() or type(error).__name__
        raise _unreadable(
            say("cut off or damaged: {reason}", "文件不完整或已损坏：{reason}", reason=reason)
        ) from None


def _must_be_of_a_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise _unreadable(_too_large())
    if max(width, height) > WIDEST * min(width, height):
        raise _unreadable(
            say(
                "{w}×{h} pixels: a strip more than {most} times as long as wide",
                "{w}×{h} 像素：长宽比超过 {most} 的长条",
                w=width,
                h=height,
                most=WIDEST,
            )
        )


def no_image(start: bytes) -> str:
    """The sentence for a file that begins as no image does."""
    return say("no image: the file begins with {start!r}", "不是图片：文件头为 {start!r}", start=start)


def _too_large() -> str:
    return say("more than {n:,} pixels: scale it down", "超过 {n:,} 像素：请先缩小", n=MOST_PIXELS)


def _rgb(image: Image.Image) -> Image.Image:
    from PIL import Image

    if image.mode in _SIXTEEN_BITS or image.mode in ("I", "F"):
        image = _eight_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Pillow's own conversion would cut all that is above 255."""
    from PIL import Image

    numbers = np.asarray(image)
    if image.mode == "F" or numbers.min() < 0 or numbers.max() > 65535:
        raise _unreadable(
            say(
                "its pixels are numbers beyond 16 bits (mode {mode}): save it with 8 or 16 bits",
                "像素值超出 16 位（模式 {mode}）：请另存为 8 或 16 位",
                mode=image.mode,
            )
        )
    return Image.fromarray((numbers.astype(np.uint32) // 257).astype(np.uint8))


def _unreadable(reason: str) -> RowError:
    return RowError(reason, "image_unreadable")


@dataclass(frozen=True)
class ImageReader:
    """What a tokenizer is to texts: ``processor`` is transformers' own of the model, ``num_places`` as many
    as an image takes of a pack.
    """

    processor: Any
    num_places: int
    size: tuple[int, int]
    """Height and width of what the model gets."""
    is_own: bool = True
    """Whether the model brought the processor."""

    @classmethod
    def of(cls, processor: Any, patch: int, *, is_own: bool = True) -> ImageReader:
        """``patch``: the side of what counts as one place, in pixels of the model's input.

        Raises ModelError for a processor whose images differ in size: they could not go in one batch.
        """
        from PIL import Image

        shapes = {
            tuple(_numbers(processor, Image.new("RGB", size)).shape[1:]) for size in ((96, 64), (64, 96))
        }
        if len(shapes) > 1:
            raise ModelError(
                say(
                    "The model's image processor ({kind}) gives images of different sizes ({sizes}). Put "
                    "do_center_crop, or a size with height and width, into its preprocessor_config.json.",
                    "模型的图片处理器（{kind}）给出的图片大小不一（{sizes}）。请在 "
                    "preprocessor_config.json 中设置 do_center_crop，或同时给出 height 与 width。",
                    kind=type(processor).__name__,
                    sizes=", ".join(f"{width}×{height}" for height, width in sorted(shapes)),
                )
            )
        ((height, width),) = shapes
        places = -(-height // patch) * -(-width // patch)
        return cls(processor, max(_FEWEST_PLACES, places), (height, width), is_own)

    @cached_property
    def digest(self) -> str:
        """A hash of all that decides what the model gets."""
        known = json.dumps(self.processor.to_dict(), sort_keys=True, default=str)
        return hashlib.sha256(f"{known} {self.num_places}".encode()).hexdigest()

    def ids(self, path: str) -> list[int]:
        """What stands for the image in a store, ``num_places`` numbers. Raises RowError for a file that is no
        image.
        """
        try:
            content = read(path)
            decode(content)
        except RowError as error:
            raise RowError(f"{path}: {error}", error.name) from None
        found = hashlib.shake_256(self.digest.encode() + content).digest(4 * self.num_places)
        return [int(number) for number in np.frombuffer(found, "<i4")]

    def pixels(self, paths: Sequence[str]) -> Tensor:
        """Float32 ``[n, 3, height, width]``. Raises DataError for a file that cannot be read any more."""
        import torch

        with ThreadPoolExecutor(min(len(paths), os.cpu_count() or 1)) as pool:
            return torch.stack(list(pool.map(self._pixels, paths)))

    def _pixels(self, path: str) -> Tensor:
        try:
            return _numbers(self.processor, decode(read(path)))
        except RowError as error:
            raise DataError(
                say(
                    "{path}: the image could be read when the data was prepared, and now: {reason}. Put it "
                    "back and run the same command again.",
                    "{path}：准备数据时该图片可读，现在却不行：{reason}。请恢复该文件并再次运行同一命令。",
                    path=path,
                    reason=error,
                )
            ) from None

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes the file from which transformers' AutoImageProcessor makes the same one."""
        self.processor.save_pretrained(folder)


def _numbers(processor: Any, image: Image.Image) -> Tensor:
    found: Tensor = processor(image, return_tensors="pt")["pixel_values"][0]
    return found


def stamp(paths: Iterable[str]) -> str:
    """A hash of names, sizes and times of change: whether what was read of the files may still be true."""
    found = hashlib.sha256()
    for path in map(Path, paths):
        known = path.stat() if path.is_file() else None
        text = f"{path} {known.st_size} {known.st_mtime_ns}\n" if known is not None else f"{path}\n"
        found.update(text.encode("utf-8", "surrogateescape"))
    return found.hexdigest()
