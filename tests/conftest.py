"""Every test speaks English unless it says otherwise, and finds the reference data only where it exists."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["TOKENIZERS_PARALLELISM"] = "false"

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTUNE_LANG", "en")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The reference data; a test that needs it is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("needs the reference data folder ../shared, which is not here")
    return SHARED
