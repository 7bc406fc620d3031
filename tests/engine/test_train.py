"""The loop: what is kept, when it stops, and what is said when the disk is full."""

from __future__ import annotations

import errno
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tiny_engine import LORA, MakeRecipe, curve, events, weights_digest
from transformers import AutoModelForCausalLM

from attune.engine import checkpoint, step
from attune.engine.events import Event, Progress, StepEnd
from attune.engine.train import train
from attune.models.policy import Policy
from attune.objectives import sft
from attune.recipe.errors import RunError

OVERFIT = {"learning_rate": 0.1, "max_steps": 12, "eval_steps": 2, "schedule": "constant"}
"""A step size with which the held-out loss falls and then rises."""


def held_out_curve(path: Path) -> dict[int, float]:
    return {event["step"]: event["loss"] for event in events(path, "eval_end")}


def test_epochs_steps_and_evaluations_are_counted(recipe: MakeRecipe) -> None:
    """24 examples in steps of 6: four steps an epoch, an evaluation after each."""
    path = train(recipe(max_steps=None, epochs=1.5)).output
    assert [number for number, *_ in curve(path)] == [1, 2, 3, 4, 5, 6]
    assert [e["epoch"] for e in events(path, "step_end")] == [0.25, 0.5, 0.75, 1.0, 1.25, 1.5]
    assert list(held_out_curve(path)) == [4, 6]


def test_max_steps_goes_before_epochs(recipe: MakeRecipe) -> None:
    assert len(curve(train(recipe(max_steps=3, epochs=50.0)).output)) == 3


def test_it_learns(recipe: MakeRecipe) -> None:
    losses = [loss for _, loss, *_ in curve(train(recipe(max_steps=12)).output)]
    assert losses[0] == pytest.approx(math.log(300), abs=0.3)
    assert losses[-1] < losses[0] - 1


def test_the_cut_into_packs_does_not_change_the_run(recipe: MakeRecipe) -> None:
    """Without dropout: the same curve with many packs a step, one, and padded rows."""
    calm = {"adapter": {**LORA, "dropout": 0.0}, "max_steps": 3}
    curves = []
    for number, change in enumerate(({"micro_tokens": 8}, {"micro_tokens": 4096}, {"packing": "off"})):
        path = train(recipe(str(number), **{**calm, **change})).output
        curves.append([loss for _, loss, *_ in curve(path)])
    assert curves[1] == pytest.approx(curves[0], rel=1e-2)  # attention dropout draws per pack
    assert curves[2] == pytest.approx(curves[0], rel=1e-2)


def test_final_best_keeps_the_weights_with_the_lowest_held_out_loss(recipe: MakeRecipe) -> None:
    result = train(recipe(final="best", **OVERFIT))
    losses = held_out_curve(result.output)
    best = min(losses, key=losses.__getitem__)
    assert best < 12, "the case must overfit, or it shows nothing"
    assert (result.state["best_step"], result.state["held_out_loss"]) == (best, losses[best])
    assert evaluated(result.output, recipe(final="best", **OVERFIT)) == pytest.approx(losses[best], rel=1e-5)
    last = train(recipe("last", **OVERFIT))
    assert evaluated(last.output, recipe("last", **OVERFIT)) == pytest.approx(losses[12], rel=1e-5)
    assert last.state["held_out_loss"] == losses[12]
    assert any(f"lowest at step {best}" in text for text in last.state["warnings"])


def evaluated(run: Path, recipe: Any) -> float:
    """The held-out loss of the saved model, computed anew."""
    from attune.engine.parts import open_model, prepare_data

    recipe, tokenizer, template, config, _ = open_model(recipe)
    data = prepare_data(recipe, tokenizer, template, config, ())
    model = AutoModelForCausalLM.from_pretrained(run / "final", dtype=torch.float32)
    return step.held_out_loss(Policy(model), data.held_out, step.Micro(64), sft, sft.Config(), None)[0]


def test_the_best_survives_pruning_and_resuming(recipe: MakeRecipe) -> None:
    settings = {**OVERFIT, "final": "best", "save_steps": 1, "keep_checkpoints": 1}
    whole = train(recipe("whole", **settings))

    def stop(event: Event) -> None:
        if isinstance(event, StepEnd) and event.step == 11:
            raise RuntimeError("stopped here")

    with pytest.raises(RuntimeError, match="stopped here"):
        train(recipe(**settings), listeners=[stop])
    best = checkpoint.place_of(Path(recipe().output or "") / "checkpoints", whole.state["best_step"])
    assert best.is_dir()
    assert weights_digest(train(recipe(**settings)).output) == weights_digest(whole.output)


def test_early_stopping_counts_evaluations_without_a_better_one(recipe: MakeRecipe) -> None:
    result = train(recipe(early_stopping_patience=2, final="best", **{**OVERFIT, "max_steps": 60}))
    losses = held_out_curve(result.output)
    assert result.reason == "early_stopping"
    best = min(losses, key=losses.__getitem__)
    assert list(losses)[-1] == best + 2 * OVERFIT["eval_steps"]
    assert events(result.output, "run_ended")[0]["reason"] == "early_stopping"
    assert result.state["step"] == list(losses)[-1] < 60


def test_without_held_out_rows_nothing_is_evaluated(recipe: MakeRecipe) -> None:
    result = train(recipe(data={"held_out": 0.0}, final="best", early_stopping_patience=1, max_steps=2))
    assert result.reason == "finished"
    assert result.state["held_out_loss"] is None
    assert events(result.output, "eval_end") == []
    assert any(
        "train.final=best, train.early_stopping_patience can do nothing" in text
        for text in result.state["warnings"]
    )


def test_keep_checkpoints(recipe: MakeRecipe) -> None:
    seen: list[list[str]] = []

    def look(event: Event) -> None:
        if isinstance(event, StepEnd):
            place = Path(recipe().output or "") / "checkpoints"
            seen.append(sorted(p.name for p in place.iterdir()) if place.is_dir() else [])

    train(recipe(save_steps=1, keep_checkpoints=2), listeners=[look])
    assert seen[-1] == ["step-000004", "step-000005"]


def test_run_json_is_complete(recipe: MakeRecipe) -> None:
    result = train(recipe(adapter=LORA, max_steps=2))
    state = json.loads((result.output / "run.json").read_text())
    assert state["state"] == "finished"
    assert state["num_steps"] == state["step"] == 2
    weights = load_file(result.output / "final" / "adapter_model.safetensors")
    assert state["num_trained_parameters"] == sum(tensor.numel() for tensor in weights.values())
    assert state["final_loss"] == curve(result.output)[-1][1]
    assert state["held_out_loss"] == held_out_curve(result.output)[2]
    assert state["data"][0]["num_rows"] == 26
    assert len((result.output / "held_out.jsonl").read_text().splitlines()) == state["num_held_out"] == 2


FULL = [
    OSError(errno.ENOSPC, "No space left on device"),
    SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
]


@pytest.mark.parametrize("error", FULL, ids=["os", "safetensors"])
def test_a_full_disk_is_said_leaves_nothing_half_written_and_can_be_resumed(
    recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The second checkpoint does not fit."""
    whole = train(recipe("whole", save_steps=2)).output
    real, calls = checkpoint.save_file, []

    def save_file(tensors: Any, path: Path) -> None:
        calls.append(path)
        if len(calls) > 3:
            Path(path).write_bytes(b"half")
            raise error
        real(tensors, path)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", save_file)
        with pytest.raises(
            RunError, match=r"Cannot write to .*No space left .*the same command again"
        ) as caught:
            train(recipe(save_steps=2))
    assert caught.value.exit_code == 2
    run = Path(recipe().output or "")
    assert [p.name for p in (run / "checkpoints").iterdir()] == ["step-000002"]
    assert weights_digest(train(recipe(save_steps=2)).output) == weights_digest(whole)


def test_a_disk_that_is_full_at_the_end_keeps_the_run_resumable(
    recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("attune.engine.train.save", save)
        with pytest.raises(RunError, match="No space left"):
            train(recipe(save_steps=2))
    run = Path(recipe().output or "")
    assert json.loads((run / "run.json").read_text())["state"] == "running"
    assert not (run / "final").exists()
    assert train(recipe(save_steps=2)).reason == "finished"


def test_a_reader_that_went_away_is_not_a_full_disk(recipe: MakeRecipe) -> None:
    def gone(event: Event) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        train(recipe(max_steps=1), listeners=[gone])


def test_weights_that_become_nan_stop_the_run_before_they_are_saved(recipe: MakeRecipe) -> None:
    asked = recipe(learning_rate=1e30, max_grad_norm=None, save_steps=1, max_steps=4)
    with pytest.raises(RunError, match=r"became (nan|inf) on the rows .*rows\.jsonl:\d+"):
        train(asked)
    found, _ = checkpoint.newest(Path(asked.output or "") / "checkpoints")
    assert found is None or all(torch.isfinite(tensor).all() for tensor in found.weights.values())


def test_held_out_evaluation_shows_its_progress(recipe: MakeRecipe) -> None:
    """Pack by pack, and it ends."""
    seen: list[Event] = []
    train(recipe(max_steps=1, micro_tokens=16), listeners=[seen.append])
    told = [(event.done, event.total) for event in seen if isinstance(event, Progress)]
    evaluation = [(done, total) for done, total in told if total == 2]
    assert evaluation == [(1, 2), (2, 2)]
