"""What tells one base model from another without reading all of it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ..recipe.schema import Model
from .folders import base_of
from .load import WEIGHTS


def fingerprint(model: Model, config: Any) -> str:
    """A hash that changes when the base model does: its configuration, and of each weights file the size and
    both ends (reading all of a large model would take minutes). A hub model is known by its commit, an
    adapter by its own files and its base.
    """
    digest = hashlib.sha256()
    place = Path(model.path)
    if place.is_file():
        digest.update(place.read_bytes())
    elif place.is_dir():
        adapter = place / "adapter_config.json"
        if adapter.is_file():
            digest.update(adapter.read_bytes() + fingerprint(base_of(adapter), config).encode())
        else:
            digest.update((place / "config.json").read_bytes())
        for file in sorted(file for pattern in WEIGHTS for file in place.glob(pattern)):
            size = file.stat().st_size
            digest.update(f"{file.name} {size}".encode())
            with file.open("rb") as handle:
                digest.update(handle.read(2**20))
                handle.seek(max(0, size - 2**20))
                digest.update(handle.read())
    else:
        digest.update(str(getattr(config, "_commit_hash", None)).encode())
    return digest.hexdigest()[:16]
