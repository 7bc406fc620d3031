"""Two CPU processes end with the weights of one on the same batches, also after an interruption."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_engine import LORA, MakeRecipe, curve, events, rows, save_model

from attune.engine.train import train
from attune.recipe.schema import Recipe

pytestmark = pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")

PATIENCE = 240.0
TORCHRUN = "torch.distributed.run --nproc-per-node 2 --standalone -m attune"
ACCELERATE = (
    "accelerate.commands.launch --cpu --num_processes 2 --num_machines 1 --mixed_precision no "
    "--dynamo_backend no --main_process_port 0 -m attune"
)


@pytest.fixture(scope="module")
def calm_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without dropout: its numbers are drawn per process."""
    return save_model(tmp_path_factory.mktemp("calm"))


def launch(recipe: Recipe, launcher: str) -> subprocess.Popen[str]:
    place = Path(f"{recipe.output}.yaml")
    place.write_text(recipe.model_dump_json(), encoding="utf-8")
    words = [sys.executable, "-m", *launcher.split(), "train", str(place)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen[str]) -> None:
    try:
        said, _ = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.terminate()  # the launcher ends its processes
        raise
    assert process.returncode == 0, said


def assert_close(two: Path, one: Path) -> None:
    """Weights and losses to rounding; the learning rate and the counts exactly."""
    name = (
        "adapter_model.safetensors"
        if (one / "final" / "adapter_model.safetensors").is_file()
        else "model.safetensors"
    )
    got, expected = load_file(two / "final" / name), load_file(one / "final" / name)
    assert got.keys() == expected.keys()
    for key, tensor in expected.items():
        torch.testing.assert_close(got[key], tensor, rtol=1e-5, atol=1e-5, msg=key)
    for ours, theirs in zip(curve(two), curve(one), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    for ours, theirs in zip(events(two, "eval_end"), events(one, "eval_end"), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
        assert ours["num_learnt_tokens"] == theirs["num_learnt_tokens"]
    tokens = [
        [(e["num_learnt_tokens"], e["num_tokens"]) for e in events(run, "step_end")] for run in (two, one)
    ]
    assert tokens[0] == tokens[1]


@pytest.mark.parametrize(
    ("adapter", "launcher"),
    [("full", TORCHRUN), ({**LORA, "dropout": 0.0}, ACCELERATE)],
    ids=["full-torchrun", "lora-accelerate"],
)
def test_two_processes_equal_one(recipe: MakeRecipe, calm_dir: Path, adapter: Any, launcher: str) -> None:
    settings = {"adapter": adapter, "model": calm_dir, "eval_steps": 3, "save_steps": 2}
    two = recipe("two", **settings)
    process = launch(two, launcher)
    one = train(recipe("one", **settings)).output
    finish(process)
    run = Path(two.output or "")
    assert_close(run, one)
    assert len(events(run, "run_started")) == 1, "only the main process writes"
    assert json.loads((run / "run.json").read_text())["state"] == "finished"


def test_two_processes_stop_together_and_go_on(recipe: MakeRecipe, calm_dir: Path) -> None:
    settings = {"model": calm_dir, "max_steps": 40, "learning_rate": 1e-3}
    two = recipe("two", **settings)
    run = Path(two.output or "")
    process = launch(two, TORCHRUN)
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and not (run / "metrics.jsonl").is_file():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE)
    (saved,) = events(run, "saved")
    assert 0 < saved["step"] < 40
    process = launch(two, TORCHRUN)
    one = train(recipe("one", **settings)).output
    finish(process)
    assert events(run, "run_started")[-1]["step"] == saved["step"]
    assert_close(run, one)


def test_two_processes_share_the_reference_and_the_first_pass(
    recipe: MakeRecipe, calm_dir: Path, tmp_path: Path
) -> None:
    """KTO: each process computes its part of both, and all have the whole."""
    path = tmp_path / "verdicts.jsonl"
    verdicts = [
        {"prompt": row["instruction"], "completion": row["output"], "label": number > 0}
        for number, row in enumerate(rows(26))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in verdicts), encoding="utf-8")

    def asked(name: str) -> Recipe:
        data = {"train": str(path), "check": "off", "cache_dir": str(tmp_path / name / "cache")}
        plain = recipe(name, adapter="full", model=calm_dir, data=data, eval_steps=3, max_steps=3)
        return Recipe.model_validate({**plain.model_dump(mode="json"), "objective": "kto"})

    two = asked("two")
    process = launch(two, TORCHRUN)
    one = train(asked("one")).output
    finish(process)
    run = Path(two.output or "")
    assert_close(run, one)
    ours, theirs = ([event["metrics"] for event in events(path, "step_end")] for path in (run, one))
    for got, expected in zip(ours, theirs, strict=True):
        assert got == pytest.approx(expected, abs=1e-4)
    assert any(metrics["kl"] > 0 for metrics in theirs)
