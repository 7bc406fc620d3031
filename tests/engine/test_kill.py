"""A run that was killed anywhere ends, after the same command again, with the bytes of an undisturbed one.

Real processes get a real SIGKILL: while they set up, between and within steps, and while they save. They are
forked from a server that has imported everything once; the last test goes through the real command line.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from tiny_engine import LORA, MakeRecipe, curve, train_quietly, weights_digest

from attune.recipe.schema import Recipe

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")

NUM_STEPS, KILLS = 12, 10
PATIENCE = 120.0
SEED = random.SystemRandom().randrange(10**6)
"""New every time; a failing test prints it, and ATTUNE_KILL_SEED repeats it."""


def fork(recipe: Recipe) -> BaseProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["tiny_engine", "attune.engine.train", "transformers.models.llama", "peft"]
    )
    process = context.Process(target=train_quietly, args=(recipe.model_dump(mode="json"),))
    process.start()
    return process


def drafts(run: Path) -> list[Path]:
    """What is being saved at this moment."""
    return [*run.glob(".writing-final"), *run.glob("checkpoints/.writing-step*")]


def num_steps_done(run: Path) -> int:
    try:
        return (run / "metrics.jsonl").read_text(encoding="utf-8").count('"step_end"')
    except OSError:
        return 0


def wait_until(happened: Callable[[], Any], is_alive: Callable[[], bool]) -> None:
    """Returns when it happened or the process has ended."""
    deadline = time.monotonic() + PATIENCE
    while is_alive() and not happened():
        assert time.monotonic() < deadline, "the run hangs"
        time.sleep(0.0005)


def strike(process: BaseProcess, run: Path, dice: random.Random) -> str:
    """Kills the process at a random moment; says where, or ``finished`` where it was too late."""
    moment = dice.choice(["setup", "step", "step", "saving", "saving", "saving"])
    if moment == "setup":
        time.sleep(dice.uniform(0.0, 1.0))
    else:
        target = min(num_steps_done(run) + dice.randrange(4), NUM_STEPS)
        wait_until(lambda: num_steps_done(run) >= target, process.is_alive)
        if moment == "saving":
            wait_until(lambda: drafts(run), process.is_alive)
            time.sleep(dice.choice([0.0, 0.001, 0.005]))
        else:
            time.sleep(dice.uniform(0.0, 0.1))
    process.kill()
    process.join()
    if process.exitcode == 0:
        return "finished"
    assert process.exitcode == -signal.SIGKILL, f"the run failed by itself: exit code {process.exitcode}"
    return "inside the saving" if drafts(run) else moment


def attempts(make: Callable[[str], Recipe], dice: random.Random) -> Iterator[tuple[Path, list[str]]]:
    """Runs that were killed again and again and then finished, until enough have been killed."""
    kills = 0
    for number in range(KILLS):
        recipe = make(f"killed-{number}")
        run = Path(recipe.output or "")
        log: list[str] = []
        while kills < KILLS and "finished" not in log:
            log.append(strike(fork(recipe), run, dice))
            kills += log[-1] != "finished"
        last = fork(recipe)
        last.join(PATIENCE)
        assert last.exitcode == 0
        yield run, log
        if kills == KILLS:
            return


@pytest.mark.parametrize("adapter", ["full", LORA], ids=["full", "lora"])
def test_killed_at_random_moments(recipe: MakeRecipe, adapter: Any) -> None:
    seed = int(os.environ.get("ATTUNE_KILL_SEED", SEED))
    print(f"ATTUNE_KILL_SEED={seed}")
    dice = random.Random(seed)

    def make(name: str) -> Recipe:
        return recipe(name, adapter=adapter, max_steps=NUM_STEPS, save_steps=1, eval_steps=5, final="best")

    whole = make("whole")
    first = fork(whole)
    first.join(PATIENCE)
    assert first.exitcode == 0
    expected = Path(whole.output or "")
    places = []
    for run, log in attempts(make, dice):
        print(run.name, log)
        places += log
        assert weights_digest(run) == weights_digest(expected), log
        assert curve(run) == curve(expected), log
        assert not drafts(run)
    assert sum(place != "finished" for place in places) == KILLS
    assert "inside the saving" in places


def test_the_real_command_line(recipe: MakeRecipe, tmp_path: Path) -> None:
    """SIGKILL inside the saving, Ctrl-C in a step, then to the end, then once more."""

    def words(name: str) -> list[str]:
        asked = recipe(name, adapter=LORA, max_steps=NUM_STEPS, save_steps=1)
        place = tmp_path / f"{name}.yaml"
        place.write_text(asked.model_dump_json(), encoding="utf-8")
        return [sys.executable, "-m", "attune", "train", str(place)]

    whole = fork(recipe("whole", adapter=LORA, max_steps=NUM_STEPS))
    run = tmp_path / "cli"
    process = subprocess.Popen(words("cli"), stdout=subprocess.DEVNULL)
    wait_until(lambda: num_steps_done(run) >= 2 and drafts(run), lambda: process.poll() is None)
    process.kill()
    assert process.wait() == -signal.SIGKILL

    process = subprocess.Popen(words("cli"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: num_steps_done(run) >= 5, lambda: process.poll() is None)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, said
    assert "the same command goes on from here" in said

    done = subprocess.run(words("cli"), capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    whole.join(PATIENCE)
    assert weights_digest(run) == weights_digest(tmp_path / "whole")
    again = subprocess.run(words("cli"), capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert again.returncode == 0
    assert "already" in again.stdout
    assert [step for step, *_ in curve(run)] == list(range(1, NUM_STEPS + 1))
