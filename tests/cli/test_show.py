"""Tables and JSON on stdout, and the commands that print them."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from attune.cli.main import run
from attune.cli.runs import _row
from attune.cli.show import json_text, pairs, table


def test_json_has_no_nan() -> None:
    text = json_text({"a": float("nan"), "b": [float("inf"), 1.5], "c": ("小", True)})
    assert json.loads(text) == {"a": None, "b": [None, 1.5], "c": ["小", True]}
    assert "小" in text


def test_pairs_and_tables(capsys: pytest.CaptureFixture[str]) -> None:
    pairs([("rows", "1,200"), ("peak memory", "[3] GiB " + "x" * 120)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["rows", "peak"]
    assert lines[1].endswith("[3] GiB " + "x" * 120)
    table(["metric", "base"], [["[loss]", "1.5"]])
    text = capsys.readouterr().out
    assert "[loss]" in text
    assert all(line == line.rstrip() for line in text.splitlines()), "no line is filled up with blanks"


def test_plan_as_json_is_json_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Plan:
        def as_dict(self) -> dict[str, Any]:
            return {"num_steps": 7}

        def lines(self) -> list[tuple[str, str]]:
            return [("steps", "7")]

    module = types.ModuleType("attune.engine.plan")
    module.plan = lambda recipe: Plan()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "attune.engine.plan", module)
    assert run(["plan", "model=m", "data=a.json", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["num_steps"] == 7
    assert planned["recipe"]["train"]["seed"] == 42
    assert run(["plan", "model=m", "data=a.json"]) == 0
    text = capsys.readouterr().out
    assert "  seed: 42\n" in text
    assert text.rstrip().splitlines()[-1].split() == ["steps", "7"]


def test_runs_of_an_empty_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["runs", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"No runs in {tmp_path}.\n"
    assert run(["runs", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert run(["runs", str(tmp_path / "absent")]) == 2
    assert capsys.readouterr().err.startswith(
        f"Error: {tmp_path / 'absent'}: no such folder. Type attune runs"
    )


def test_a_row_of_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    newest = {"exact_match": {"mean": 0.813}, "rouge_l": {"mean": 0.9}}
    entry: dict[str, Any] = {
        "name": "x", "state": "finished", "problem": None, "step": 40, "num_steps": 40, "loss": 1.23456,
        "held_out_loss": None, "date": "2026-11-22T10:20:30+00:00",
        "scores": {
            "old": {"data": "old", "date": "2026-01-01", "scores": {"exact_match": {"mean": 0.1}}},
            "new": {"data": "test", "date": "2026-02-01", "scores": newest},
        },
    }  # fmt: skip
    assert _row(entry) == [
        "x", "finished", "40/40", "1.235", "", "test: exact match 81.3%, ROUGE-L 90.0%", "2026-11-22 10:20",
    ]  # fmt: skip
    earned = {"data": "q", "date": "2026-03-01", "scores": {"reward": {"mean": 0.5}, "cut": {"mean": 1.0}}}
    online = {**entry, "objective": "grpo", "held_out_loss": -0.75, "scores": {"q": earned}}
    assert _row(online)[4:6] == ["reward 0.75", "q: reward 0.500"]
    broken = {**dict.fromkeys(entry), "name": "y", "state": "broken", "problem": "damaged", "scores": {}}
    monkeypatch.setenv("ATTUNE_LANG", "zh")
    assert _row(entry)[1] == "已完成"
    monkeypatch.setenv("ATTUNE_LANG", "en")
    assert _row(broken) == ["y", "broken", "", "", "", "damaged", ""]
