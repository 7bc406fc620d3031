"""Writes a file so that a reader, or a crash, sees the old one or the new one and nothing between."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Replaces ``path`` with ``text`` (UTF-8), and makes its folder. Raises OSError, leaving no scraps."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(draft, 0o644)
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """``write_text`` of ``value`` as JSON, readable by people."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")
