"""Writes a file so that a reader, or a crash, sees the old one or the new one and nothing between."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO


@contextmanager
def writing(path: Path, *, newline: str | None = None, errors: str = "strict") -> Iterator[TextIO]:
    """A file in UTF-8 that takes the place of ``path`` when the block ends well; its folder is made.

    ``newline`` and ``errors`` as in ``open``. Raises OSError, leaving no scraps.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with open(descriptor, "w", encoding="utf-8", errors=errors, newline=newline) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(draft, 0o644)
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Replaces ``path`` with ``text``, as ``writing`` does."""
    with writing(path) as file:
        file.write(text)


def write_json(path: Path, value: Any) -> None:
    """``write_text`` of ``value`` as JSON, readable by people."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")
