"""Options that change speed and memory, and nothing else: torch.compile and recomputed activations."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_engine import LORA, MakeRecipe, curve, save_model, weights_digest
from transformers import LlamaConfig, LlamaForCausalLM

from attune.engine import parts
from attune.engine.events import Event, StepEnd
from attune.engine.train import train
from attune.recipe.errors import RecipeError


@pytest.fixture(scope="module")
def calm_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without dropout: compiled code draws other random numbers."""
    return save_model(tmp_path_factory.mktemp("calm"))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("adapter", ["full", {**LORA, "dropout": 0.0}], ids=["full", "lora"])
def test_compiled_layers_learn_the_same_without_compiling_every_batch_anew(
    recipe: MakeRecipe, calm_dir: Path, adapter: Any
) -> None:
    """Every step has other packs of other lengths; one graph (and one without gradient) serves them all."""
    settings = {"adapter": adapter, "model": calm_dir, "max_steps": 8, "eval_steps": 3}
    torch._dynamo.reset()
    eager = curve(train(recipe("eager", **settings)).output)
    counters = torch._dynamo.utils.counters
    counters.clear()
    num_graphs = []

    def count(event: Event) -> None:
        if isinstance(event, StepEnd):
            num_graphs.append(counters["stats"]["unique_graphs"])

    compiled = curve(train(recipe("compiled", compile=True, **settings), listeners=[count]).output)
    for ours, theirs in zip(compiled, eager, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    assert num_graphs[0] > 0
    assert num_graphs[-1] == num_graphs[4], "later batches need no new graphs"
    assert counters["recompile_limit"] == {}


def test_a_model_without_layers_cannot_be_compiled() -> None:
    odd: Any = torch.nn.Module()
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    odd.base = LlamaForCausalLM(LlamaConfig(vocab_size=64, **shape))
    odd.base.config.num_hidden_layers = 3
    with pytest.raises(RecipeError, match=r"no stack of 3 layers .* train\.compile=false"):
        parts.compile_layers(odd)


@pytest.mark.parametrize("adapter", ["full", LORA], ids=["full", "lora"])
def test_recomputed_activations_give_the_same_bits(recipe: MakeRecipe, adapter: Any) -> None:
    """Also with dropout: the second forward pass draws the numbers of the first."""
    off = train(recipe("off", adapter=adapter, activation_checkpointing="off", max_steps=3)).output
    on = train(recipe("on", adapter=adapter, activation_checkpointing="on", max_steps=3)).output
    assert curve(on) == curve(off)
    assert weights_digest(on) == weights_digest(off)


def test_activations_are_recomputed_where_memory_would_not_do(
    recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attune.models.memory.available_gib", lambda _: 1e-6)
    result = train(recipe(max_steps=1))
    lines = (result.output / "metrics.jsonl").read_text()
    assert "Activations are recomputed in the backward pass" in lines
    forbidden = train(recipe("off", max_steps=1, activation_checkpointing="off"))
    assert "Activations are recomputed" not in (forbidden.output / "metrics.jsonl").read_text()
