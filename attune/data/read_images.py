"""A folder with one sub-folder per class, each holding that class's images: a row for every image. Where
labels are to be predicted, also a folder of images and nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Row = tuple[int, Any]
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm")


def is_class_folder(path: str) -> bool:
    """Whether the folder has sub-folders, and each of them holds images."""
    classes = _classes(path)
    return bool(classes) and all(next(_images(folder), None) is not None for folder in classes)


def read_class_folder(path: str) -> Iterator[Row]:
    """``(number from 1, {"image_path", "label"})``, by class and name; paths are relative to the folder."""
    images = (image for folder in _classes(path) for image in _images(folder))
    for number, image in enumerate(images, start=1):
        inside = image.relative_to(path)
        yield number, {"image_path": str(inside), "label": inside.parts[0]}


def is_image_folder(path: str) -> bool:
    """Whether the folder itself holds images, and neither sub-folders nor other files."""
    here = Path(path)
    if not here.is_dir():
        return False
    visible = [item for item in here.iterdir() if not item.name.startswith(".")]
    return bool(visible) and len(visible) == len(list(_images(here)))


def read_image_folder(path: str) -> Iterator[Row]:
    """``(number from 1, {"image_path"})``, by name; paths are relative to the folder."""
    for number, image in enumerate(_images(Path(path)), start=1):
        yield number, {"image_path": image.name}


def digest(path: str) -> tuple[str, int]:
    """A hash of the names and sizes of all images (their bytes are not read), and the sum of the sizes."""
    found, total = hashlib.sha256(), 0
    for folder in _classes(path):
        for image in _images(folder):
            size = image.stat().st_size
            found.update(f"{image.relative_to(path)}\0{size}\n".encode())
            total += size
    return found.hexdigest(), total


def _classes(path: str) -> list[Path]:
    here = Path(path)
    return sorted(item for item in here.iterdir() if item.is_dir() and not item.name.startswith("."))


def _images(folder: Path) -> Iterator[Path]:
    for item in sorted(folder.iterdir()):
        if item.suffix.lower() in SUFFIXES and not item.name.startswith(".") and item.is_file():
            yield item
