"""metrics.jsonl and TensorBoard: a run that was resumed reads like one that never stopped."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest
from tiny_engine import MakeRecipe, curve, events

from attune.engine import trackers
from attune.engine.events import Event, Notice, Progress, StepEnd
from attune.engine.run import RunFolder
from attune.engine.train import train
from attune.recipe.errors import RecipeError


def test_each_event_is_a_line_at_once_and_progress_is_none(tmp_path: Path) -> None:
    write = trackers.jsonl(tmp_path / "metrics.jsonl")
    write(Notice("info", "你好"))
    write(Progress("encoding", 1, 2))
    lines = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [{"event": "notice", "level": "info", "text": "你好"}]


def test_a_run_tells_its_story_in_order(recipe: MakeRecipe) -> None:
    path = train(recipe(max_steps=2, save_steps=1)).output
    kinds = [json.loads(line)["event"] for line in (path / "metrics.jsonl").read_text().splitlines()]
    story = [kind for kind in kinds if kind != "notice"]
    assert story == ["run_started", "step_end", "saved", "step_end", "eval_end", "run_ended"]
    (started,) = events(path, "run_started")
    assert (started["num_examples"], started["num_held_out"], started["layout"]) == (24, 2, "packed")


def test_a_cut_line_and_later_steps_are_forgotten(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.truncate_metrics(3)
    lines = [json.dumps({"event": "step_end", "step": step}) for step in range(1, 6)]
    (tmp_path / "metrics.jsonl").write_text(
        "\n".join(lines) + '\n{"event": "step_end", "st', encoding="utf-8"
    )
    folder.truncate_metrics(3)
    assert [step["step"] for step in events(tmp_path, "step_end")] == [1, 2, 3]
    trackers.jsonl(tmp_path / "metrics.jsonl")(Notice("info", "on"))
    assert len(events(tmp_path, "notice")) == 1


def test_tensorboard_holds_each_step_once(recipe: MakeRecipe) -> None:
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

    def stop(event: Event) -> None:
        if isinstance(event, StepEnd) and event.step == 4:
            raise RuntimeError("stopped here")

    asked = recipe(trackers=["tensorboard"], save_steps=2)
    with pytest.raises(RuntimeError, match="stopped here"):
        train(asked, listeners=[stop])
    path = train(asked).output
    board = loader.EventAccumulator(str(path / "tensorboard"))
    board.Reload()
    scalars = board.Scalars("train/loss")
    assert [scalar.step for scalar in scalars] == [1, 2, 3, 4, 5, 6]
    assert [scalar.value for scalar in scalars] == pytest.approx([loss for _, loss, *_ in curve(path)])
    assert [scalar.step for scalar in board.Scalars("held_out/loss")]


def test_tensorboard_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if "tensorboard" in name:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(RecipeError, match=r"needs TensorBoard: pip install 'attune\[tensorboard\]'"):
        trackers.trackers(["tensorboard"], tmp_path)
