"""The parts of a run that follow from recipe, configuration and data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_engine import MakeRecipe
from transformers import LlamaConfig, MambaConfig

from attune.engine import parts
from attune.recipe.errors import RecipeError


def test_the_longest_example_is_bounded_by_the_window(recipe: MakeRecipe) -> None:
    small = LlamaConfig(max_position_embeddings=64)
    assert parts.encode_policy(recipe().data, small).max_length == 64
    assert parts.encode_policy(recipe().data, LlamaConfig(max_position_embeddings=9000)).max_length == 2048
    with pytest.raises(RecipeError, match="is more than the model's window of 64 tokens"):
        parts.encode_policy(recipe(data={"max_length": 65}).data, small)


def test_a_model_without_a_window_takes_any_length(recipe: MakeRecipe) -> None:
    assert parts.encode_policy(recipe().data, MambaConfig()).max_length == 2048
    assert parts.encode_policy(recipe(data={"max_length": 9000}).data, MambaConfig()).max_length == 9000


def test_a_new_tokenizer_knows_the_words_of_conversations(recipe: MakeRecipe, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 300}))
    asked = recipe(model=tmp_path / "config.json")
    _, tokenizer, _, config, notices = parts.open_model(asked)
    assert len(tokenizer) == config.vocab_size == 300
    assert "one of 300 tokens was trained on the data" in notices[0][1]
