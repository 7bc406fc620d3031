"""A run that was killed anywhere ends, after the same command again, with the bytes of an undisturbed one.

Real processes get a real SIGKILL: while they set up, between and within steps, and while they save. What
preferences and sampled answers add (the reference pass, the rollout) is in ``test_alignment`` and
``test_online``.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from forked import PATIENCE, Blow, drafts, finish, fork, fork_run, num_steps_done, struck, wait_until
from tiny_engine import LORA, MakeRecipe, curve, weights_digest

from attune.cli.main import main
from attune.engine.train import train
from attune.recipe.schema import Recipe

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")

NUM_STEPS, KILLS = 8, 4
SEED = int(os.environ.get("ATTUNE_KILL_SEED", "6"))
"""Another one strikes at other moments."""


def strike(process: BaseProcess, run: Path, dice: random.Random) -> str:
    """Kills the process at a random moment; says where, or ``finished`` where it was too late."""
    moment = dice.choice(["setup", "step", "step", "saving", "saving", "saving"])
    if moment == "setup":
        time.sleep(dice.uniform(0.0, 0.3))
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
    """Runs that were killed again and again and then finished, until enough have been killed; the first of
    them for certain inside the saving.
    """
    kills = 1
    for number in range(2 * KILLS):
        recipe = make(f"killed-{number}")
        run = Path(recipe.output or "")
        log: list[str] = []
        if number == 0:
            struck(
                recipe, Blow("attune.engine.checkpoint:_write_json", ("_save",), number=dice.randrange(1, 7))
            )
            assert drafts(run)
        while kills < KILLS and "finished" not in log:
            log.append(strike(fork_run(recipe), run, dice))
            kills += log[-1] != "finished"
        finish(fork_run(recipe))
        yield run, log
        if kills == KILLS:
            return


@pytest.mark.parametrize("adapter", ["full", LORA], ids=["full", "lora"])
def test_killed_at_random_moments(recipe: MakeRecipe, adapter: Any) -> None:
    dice, num_killed = random.Random(SEED), 1

    def make(name: str) -> Recipe:
        return recipe(name, adapter=adapter, max_steps=NUM_STEPS, save_steps=1, eval_steps=5, final="best")

    expected = train(make("whole")).output
    for run, log in attempts(make, dice):
        num_killed += len(log) - log.count("finished")
        assert weights_digest(run) == weights_digest(expected), log
        assert curve(run) == curve(expected), log
        assert not drafts(run)
    assert num_killed == KILLS


def command_line(words: list[str], said: Path) -> None:
    """``attune`` in this process, what it says in a file."""
    with said.open("w", encoding="utf-8") as file:
        sys.stdout = sys.stderr = file
        main(words)


def test_the_command_line(recipe: MakeRecipe, tmp_path: Path) -> None:
    """SIGKILL inside the saving, Ctrl-C in a step, then to the end, then once more."""
    run, place = tmp_path / "cli", tmp_path / "cli.yaml"
    place.write_text(recipe("cli", adapter=LORA, max_steps=NUM_STEPS, save_steps=1).model_dump_json())

    def start(name: str) -> tuple[BaseProcess, Path]:
        said = tmp_path / f"{name}.txt"
        return fork(command_line, ["train", str(place)], said), said

    process, _ = start("killed")
    wait_until(lambda: num_steps_done(run) >= 2 and drafts(run), process.is_alive)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL

    process, said = start("stopped")
    wait_until(lambda: num_steps_done(run) >= 4, process.is_alive)
    os.kill(process.pid or 0, signal.SIGINT)
    process.join(PATIENCE)
    assert process.exitcode == 130, said.read_text()
    assert "the same command goes on from here" in said.read_text()

    finish(start("done")[0])
    assert weights_digest(run) == weights_digest(
        train(recipe("whole", adapter=LORA, max_steps=NUM_STEPS)).output
    )
    process, said = start("again")
    finish(process)
    assert "already" in said.read_text()
    assert [step for step, *_ in curve(run)] == list(range(1, NUM_STEPS + 1))
