"""The console listener: what a run tells, as a person reads it.

On a terminal: progress bars and one live line. In a pipe or a log: plain lines, at most one about every five
seconds besides evaluations, without control codes. With ``quiet``: warnings and the result.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from ..engine.events import EvalEnd, Event, Notice, Progress, RolloutEnd, RunEnded, RunStarted, Saved, StepEnd
from ..recipe.messages import say
from ..recipe.schema import Recipe
from . import sentences

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

_INTERVAL = 5.0
"""Seconds between plain lines."""


class Console:
    """Consumes events; use it as a context manager, so that the terminal is left in order after an error."""

    def __init__(
        self,
        *,
        recipe: Recipe | None = None,
        quiet: bool = False,
        file: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._recipe, self._quiet, self._clock = recipe, quiet, clock
        self._file = file or sys.stdout
        self._warnings: list[str] = []
        self._told: dict[str, float] = {}
        """When each kind of plain line was last printed, or its work was first heard of."""
        self._mentioned: set[str] = set()
        """The work of which a plain line was printed: of that, the end is told too."""
        self._bars: Bars | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Console:
        if self._file.isatty() and not self._quiet:
            self._bars = _bars(self._file)
            self._bars.start()
        if self._recipe is not None:
            self._line(sentences.title(self._recipe))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._clear_bars()
            self._bars.stop()
            self._bars = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, Progress):
            self._progress(event)
        elif isinstance(event, StepEnd):
            self._step(event)
        elif isinstance(event, RunStarted):
            self._line(sentences.header(event))
        elif isinstance(event, EvalEnd):
            self._line(sentences.evaluation(event))
        elif isinstance(event, RolloutEnd):
            for line in sentences.samples(event):
                self._line(line)
        elif isinstance(event, Notice):
            self._notice(event)
        elif isinstance(event, RunEnded):
            self._end(event)
        elif not isinstance(event, Saved):
            self._line(str(event))

    def _line(self, text: str, style: str = "") -> None:
        if not self._quiet:
            self._print(text, style)

    def _print(self, text: str, style: str = "") -> None:
        """One line above the bars, or a plain one."""
        if self._bars is not None:
            self._bars.console.print(text, style=style or None, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=self._file, flush=True)

    def _progress(self, event: Progress) -> None:
        done = event.done >= event.total
        if self._bars is not None:
            if event.what not in self._tasks:
                self._tasks[event.what] = self._bars.add_task(event.what, total=event.total, status="")
            status = f"{event.done:,}/{event.total:,}"
            task = self._tasks[event.what]
            self._bars.update(task, completed=event.done, total=event.total, status=status)
            if done:
                self._bars.remove_task(self._tasks.pop(event.what))
        elif done:
            self._told.pop(event.what, None)
            if event.what in self._mentioned:
                self._mentioned.discard(event.what)
                self._line(_plain(event))
        elif event.what not in self._told:
            self._told[event.what] = self._clock()  # work that ends within the interval is never mentioned
        elif self._is_time(event.what):
            self._mentioned.add(event.what)
            self._line(_plain(event))

    def _step(self, event: StepEnd) -> None:
        if self._bars is not None:
            name = say("Training", "训练")
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(name, total=event.num_steps, status="")
            task, status = self._tasks[name], sentences.numbers(event)
            self._bars.update(task, completed=event.step, total=event.num_steps, status=status)
        elif self._is_time("step") or event.step == event.num_steps:
            place = say(
                "step {step:,}/{num:,}", "第 {step:,}/{num:,} 步", step=event.step, num=event.num_steps
            )
            self._line(f"{place}  {sentences.numbers(event)}")

    def _is_time(self, kind: str) -> bool:
        now = self._clock()
        if kind in self._told and now - self._told[kind] < _INTERVAL:
            return False
        self._told[kind] = now
        return True

    def _notice(self, event: Notice) -> None:
        if event.level != "warning":
            self._line(event.text)
            return
        if event.text not in self._warnings:
            self._warnings.append(event.text)
        self._print(say("Warning: {text}", "警告：{text}", text=event.text), "yellow")

    def _end(self, event: RunEnded) -> None:
        self._clear_bars()
        self._line("")
        style = "green" if event.reason != "already_finished" else ""
        self._print(sentences.result(event, self._recipe), style)
        for warning in self._warnings:
            self._print(say("Warning: {text}", "警告：{text}", text=warning), "yellow")
        if not self._quiet:
            for line in sentences.what_next(event, self._recipe):
                self._print(line)

    def _clear_bars(self) -> None:
        """The bars vanish; what was printed above them stays."""
        if self._bars is not None:
            for task in self._tasks.values():
                self._bars.remove_task(task)
            self._tasks.clear()


def _plain(event: Progress) -> str:
    return say(
        "{what}: {done:,}/{total:,}",
        "{what}：{done:,}/{total:,}",
        what=event.what,
        done=event.done,
        total=event.total,
    )


def _bars(file: TextIO) -> Bars:
    from rich import console, progress

    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(bar_width=24),
        progress.TaskProgressColumn(),
        progress.TextColumn("{task.fields[status]}"),
        console=console.Console(file=file, highlight=False),
    )
