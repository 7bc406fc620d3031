"""The plan says before a run what the run then does."""

from __future__ import annotations

import pytest
from tiny_engine import LORA, MakeRecipe

from attune.engine.plan import plan
from attune.engine.train import train
from attune.recipe.errors import DataError


@pytest.mark.parametrize("adapter", ["full", LORA])
def test_plan_equals_run(recipe: MakeRecipe, adapter: object) -> None:
    asked = recipe(adapter=adapter, max_steps=None, epochs=1.5)
    planned = plan(asked)
    ran = train(asked).state
    for name in ("num_steps", "num_examples", "num_held_out", "num_parameters", "num_trained_parameters"):
        assert getattr(planned, name) == ran[name], name
    assert planned.num_steps == 6, "24 rows, 6 a step, one and a half passes"
    assert planned.learning_rate == ran["learning_rate"]
    assert planned.precision == ran["precision"]
    assert planned.num_learnt_tokens < planned.num_tokens
    assert planned.seconds > 0
    assert planned.peak_memory_gib > 0.4


def test_planning_writes_nothing_and_draws_no_random_number(recipe: MakeRecipe) -> None:
    import torch

    asked = recipe(adapter=LORA)
    before = torch.get_rng_state()
    plan(asked)
    assert torch.equal(before, torch.get_rng_state())
    from pathlib import Path

    assert asked.output is not None
    assert not Path(asked.output).exists()


def test_lines_are_for_people(recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = plan(recipe(adapter=LORA))
    labels = [label for label, _ in planned.lines()]
    assert "peak memory" in labels
    assert "time" in labels
    monkeypatch.setenv("ATTUNE_LANG", "zh")
    assert "内存峰值" in [label for label, _ in planned.lines()]


def test_missing_data_is_told_before_a_model_is_sought(recipe: MakeRecipe) -> None:
    asked = recipe(data={"train": [{"path": "nowhere.json"}]})
    asked = asked.model_copy(update={"model": asked.model.model_copy(update={"path": "./no-model"})})
    with pytest.raises(DataError, match=r"nowhere\.json"):
        plan(asked)
