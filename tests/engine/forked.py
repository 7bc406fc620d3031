"""Runs in child processes, and how they are killed: by themselves at a chosen call, or from outside.

The children are forked, so nothing is imported twice; they compute on one thread, which a fork survives.
"""

from __future__ import annotations

import importlib
import itertools
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tiny_engine import train_quietly

from attune.recipe.schema import Recipe

PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Blow:
    """SIGKILL at the ``number``-th call of ``target`` ("module:name") that comes from within all functions
    named in ``inside`` once this process has begun ``steps`` steps. The run deals it to itself, so it never
    comes too early or too late.
    """

    target: str
    inside: tuple[str, ...] = ()
    steps: int = 0
    number: int = 1


def fork(act: Callable[..., object], *arguments: object) -> BaseProcess:
    """A child that does ``act(*arguments)``."""
    process = multiprocessing.get_context("fork").Process(target=act, args=arguments)
    process.start()
    return process


def fork_run(recipe: Recipe) -> BaseProcess:
    return fork(train_quietly, recipe.model_dump(mode="json"))


def finish(process: BaseProcess) -> None:
    process.join(PATIENCE)
    assert process.exitcode == 0, process.exitcode


def struck(recipe: Recipe, blow: Blow) -> list[str]:
    """Runs until the blow falls; the functions that were at work then, the innermost first."""
    receiver, sender = multiprocessing.get_context("fork").Pipe(duplex=False)
    process = fork(_run_until, recipe.model_dump(mode="json"), blow, sender)
    process.join(PATIENCE)
    assert process.exitcode == -signal.SIGKILL, f"{blow} never fell: exit code {process.exitcode}"
    assert receiver.poll(), "somebody else killed it"
    names: list[str] = receiver.recv()
    return names


def _run_until(recipe: dict[str, Any], blow: Blow, sender: Connection) -> None:
    steps, calls = itertools.count(), itertools.count(1)
    num_begun = next(steps)

    def begin() -> None:
        nonlocal num_begun
        num_begun = next(steps)

    def strike() -> None:
        names = list(_at_work())
        if num_begun >= blow.steps and set(blow.inside) <= set(names) and next(calls) == blow.number:
            sender.send(names)
            os.kill(os.getpid(), signal.SIGKILL)

    _before("attune.engine.train:_Loop._one_step", begin)
    _before(blow.target, strike)
    train_quietly(recipe)


def _before(target: str, act: Callable[[], None]) -> None:
    """``act`` comes before every call of ``target``."""
    module, _, path = target.partition(":")
    *owners, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for one in owners:
        owner = getattr(owner, one)
    whole = getattr(owner, name)

    def watched(*args: Any, **kwargs: Any) -> Any:
        act()
        return whole(*args, **kwargs)

    setattr(owner, name, watched)


def _at_work() -> Iterator[str]:
    frame = sys._getframe(3)
    while frame is not None:
        yield frame.f_code.co_name
        frame = frame.f_back  # type: ignore[assignment]


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
