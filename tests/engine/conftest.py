"""A tiny Llama with its own tokenizer, a few rows, and recipes for them: all made here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_engine import MakeRecipe, save_model, write_rows

from attune.recipe.schema import Recipe


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It drops attention while it learns, so that random numbers matter in full fine-tuning too."""
    return save_model(tmp_path_factory.mktemp("model"), attention_dropout=0.1)


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of encoded rows for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def rows_path(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "rows.jsonl", 26)


@pytest.fixture
def recipe(model_dir: Path, rows_path: Path, cache_dir: Path, tmp_path: Path) -> MakeRecipe:
    """``recipe(adapter=…, **fields of train)``: 24 rows to learn, 6 a step in several packs, two held out."""

    def make(
        name: str = "run",
        *,
        adapter: Any = "full",
        model: Path = model_dir,
        data: dict[str, Any] | None = None,
        **train: Any,
    ) -> Recipe:
        settings = {
            "max_steps": 6,
            "global_batch_size": 6,
            "micro_tokens": 64,
            "learning_rate": 1e-2,
            "precision": "fp32",
            "threads": 1,
            **train,
        }
        return Recipe.model_validate(
            {
                "model": str(model),
                "data": {
                    "train": str(rows_path),
                    "held_out": 0.08,
                    "cache_dir": str(cache_dir),
                    **(data or {}),
                },
                "adapter": adapter,
                "train": settings,
                "output": str(tmp_path / name),
            }
        )

    return make
