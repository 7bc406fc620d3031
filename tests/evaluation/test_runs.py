"""Run folders in every state, whole and damaged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from attune.evaluation.runs import by_step, list_runs, read_events, read_record, read_scores
from attune.recipe.errors import RunError
from tests.evaluation.tiny_run import RECORD, write_lines

STEPS: list[dict[str, Any]] = [
    {"event": "run_started", "step": 0, "num_steps": 40},
    {"event": "step_end", "step": 1, "num_steps": 40, "loss": 3.0},
    {"event": "eval_end", "step": 1, "loss": 3.5},
    {"event": "step_end", "step": 2, "num_steps": 40, "loss": 2.0},
]
HOLD_THE_LOCK = """
import fcntl, sys
with open(sys.argv[1], "w") as handle:
    fcntl.flock(handle, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


def make(folder: Path, **changed: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({**RECORD, "model": "m", **changed}))
    return folder


def test_a_finished_run(tmp_path: Path) -> None:
    run = make(tmp_path / "a")
    (run / "scores.json").write_text(json.dumps({"test-1": {"data": "test", "scores": {}}}))
    (found,) = list_runs(tmp_path)
    assert found == {
        "name": "a",
        "path": str(run),
        "state": "finished",
        "problem": None,
        "objective": "sft",
        "model": "m",
        "adapter": "lora",
        "step": 40,
        "num_steps": 40,
        "loss": 0.5871,
        "held_out_loss": 0.8123,
        "scores": {"test-1": {"data": "test", "scores": {}}},
        "date": "2026-11-21T14:03:22+00:00",
    }


def test_an_interrupted_run_tells_how_far_it_came(tmp_path: Path) -> None:
    run = make(tmp_path / "a", state="running", finished=None, held_out_loss=None)
    write_lines(run / "metrics.jsonl", STEPS)
    (run / ".lock").touch()
    (found,) = list_runs(tmp_path)
    assert found["state"] == "interrupted"
    assert (found["step"], found["num_steps"], found["loss"], found["held_out_loss"]) == (2, 40, 2.0, 3.5)
    assert found["date"] == RECORD["started"]


def test_a_run_is_running_while_a_process_holds_its_lock(tmp_path: Path) -> None:
    run = make(tmp_path / "a", state="running")
    command = [sys.executable, "-c", HOLD_THE_LOCK, str(run / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert list_runs(tmp_path)[0]["state"] == "running"
        assert list_runs(tmp_path)[0]["step"] == 0
        holder.kill()
    assert list_runs(tmp_path)[0]["state"] == "interrupted"


def test_the_newest_first_and_nested_ones_with_their_folder(tmp_path: Path) -> None:
    make(tmp_path / "old", finished="2026-01-01T00:00:00+00:00")
    make(tmp_path / "quickstart" / "base", finished="2026-03-01T00:00:00+00:00")
    make(tmp_path / "new", finished="2026-02-01T00:00:00+00:00")
    (tmp_path / "notes").mkdir()
    (tmp_path / "file.txt").touch()
    assert [run["name"] for run in list_runs(tmp_path)] == ["quickstart/base", "new", "old"]
    assert list_runs(tmp_path / "absent") == []


def test_broken_runs_are_listed_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "no_record" / "checkpoints").mkdir(parents=True)
    (make(tmp_path / "cut") / "run.json").write_text('{"state": "run')
    (make(tmp_path / "bytes") / "run.json").write_bytes(b"\xff\xfe")
    (make(tmp_path / "list") / "run.json").write_text("[1]")
    (make(tmp_path / "scores") / "scores.json").write_text("x")
    make(tmp_path / "whole")
    found = {run["name"]: run for run in list_runs(tmp_path)}
    assert found.pop("whole")["state"] == "finished"
    assert {run["state"] for run in found.values()} == {"broken"}
    assert all(run["date"] for run in found.values())
    assert "no_record has no run.json: the run never began" in found["no_record"]["problem"]
    for name in ("cut", "list"):
        assert "run.json cannot be read: it is no JSON object. Run the command" in found[name]["problem"]
    assert "run.json cannot be read: 'utf-8' codec" in found["bytes"]["problem"]
    assert "scores.json cannot be read: it is no JSON object. Remove it" in found["scores"]["problem"]


def test_events_survive_a_cut_line_and_a_repeated_step(tmp_path: Path) -> None:
    again = {"event": "step_end", "step": 2, "num_steps": 40, "loss": 1.9}
    path = write_lines(tmp_path / "metrics.jsonl", [*STEPS, again, 7])
    with path.open("a") as file:
        file.write('{"event": "step_end", "st')
    events = read_events(tmp_path)
    assert len(events) == 5
    assert [event["loss"] for event in by_step(events, "step_end")] == [3.0, 1.9]
    assert read_events(tmp_path / "absent") == []


def test_records_by_themselves(tmp_path: Path) -> None:
    with pytest.raises(
        RunError, match=r"has no run.json: the run never began, or this is no run folder. Run its"
    ):
        read_record(tmp_path)
    assert read_scores(tmp_path) == {}
