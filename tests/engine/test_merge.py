"""Merging: the written model equals the adapter, and a difference is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_engine import LORA, MakeRecipe
from transformers import AutoModelForCausalLM

from attune.engine.train import train
from attune.models import merge as module
from attune.models.load import load_for_inference
from attune.models.merge import merge
from attune.recipe.errors import ModelError, RunError


@pytest.fixture
def run(recipe: MakeRecipe) -> Path:
    return train(recipe(adapter=LORA, max_steps=4, learning_rate=5e-2)).output


def test_the_merged_folder_answers_like_the_adapter(run: Path, tmp_path: Path) -> None:
    report = merge(run, tmp_path / "merged")
    assert report.num_layers == 14
    assert report.mean_kl <= 1e-6
    assert report.top1_agreement == 1.0
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    with torch.no_grad():
        tuned = load_for_inference(str(run))
        expected = tuned.model(ids).logits
        with tuned.model.disable_adapter():
            untuned = tuned.model(ids).logits
        got = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")(ids).logits
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)
    assert (expected - untuned).abs().max() > 1e-3, "the adapter must have learnt something"


def test_by_hand(run: Path, tmp_path: Path) -> None:
    """W' = W + B A * alpha / rank, with alpha twice the rank."""
    tuned = load_for_inference(str(run)).model
    layer = tuned.get_base_model().model.layers[0].self_attn.q_proj
    expected = layer.base_layer.weight + 2.0 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    merge(run, tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").model.layers[0].self_attn.q_proj
    torch.testing.assert_close(merged.weight, expected, atol=1e-6, rtol=1e-5)


def test_a_mismatch_is_refused_and_nothing_is_left(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(path: str, **options: Any) -> Any:
        loaded = load_for_inference(path, **options)
        if ".merging-" in path:
            with torch.no_grad():
                loaded.model.model.layers[0].self_attn.q_proj.weight.add_(0.5)
        return loaded

    monkeypatch.setattr(module, "load_for_inference", spoil)
    with pytest.raises(RunError, match="not the trained one"):
        merge(run, tmp_path / "merged")
    assert sorted(path.name for path in tmp_path.iterdir() if "merg" in path.name) == []


def test_adapted_embeddings_and_head(recipe: MakeRecipe, tmp_path: Path) -> None:
    targets = ["q_proj", "embed_tokens", "lm_head"]
    adapted = train(recipe(adapter={**LORA, "target_modules": targets}, max_steps=4, learning_rate=5e-2))
    assert merge(adapted.output, tmp_path / "merged").mean_kl <= 1e-6


def test_a_whole_model_and_a_taken_folder_are_refused(recipe: MakeRecipe, run: Path, tmp_path: Path) -> None:
    whole = train(recipe("whole", max_steps=1)).output
    with pytest.raises(ModelError, match="whole model already"):
        merge(whole, tmp_path / "merged")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("mine")
    with pytest.raises(ModelError, match="exists and is not empty"):
        merge(run, tmp_path / "taken")
    assert (tmp_path / "taken" / "thesis.txt").read_text() == "mine"


def test_rounding_of_a_bfloat16_base_is_told(recipe: MakeRecipe, model_dir: Path, tmp_path: Path) -> None:
    """The result is stored as the base is; what that costs is measured."""
    from transformers import AutoTokenizer

    half = tmp_path / "half"
    AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.bfloat16).save_pretrained(half)
    AutoTokenizer.from_pretrained(model_dir).save_pretrained(half)
    tuned = train(recipe("run16", adapter=LORA, model=half, max_steps=4, learning_rate=1e-2)).output
    report = merge(tuned, tmp_path / "merged")
    assert report.dtype == "bfloat16"
    assert 0 < report.max_logit_difference < 0.1
    assert dataclasses.asdict(report)["num_tokens"] > 20


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens"])
def test_one_matrix_for_embedding_and_head_is_parted(
    target: str, recipe: MakeRecipe, model_dir: Path, tmp_path: Path
) -> None:
    from transformers import AutoConfig, AutoTokenizer

    config = AutoConfig.from_pretrained(model_dir)
    config.tie_word_embeddings = True
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "tied")
    AutoTokenizer.from_pretrained(model_dir).save_pretrained(tmp_path / "tied")
    adapter = {**LORA, "target_modules": ["q_proj", target]}
    tuned = train(recipe(adapter=adapter, model=tmp_path / "tied", max_steps=4, learning_rate=5e-2)).output
    assert merge(tuned, tmp_path / "merged").mean_kl <= 1e-6
    assert not AutoConfig.from_pretrained(tmp_path / "merged").tie_word_embeddings
