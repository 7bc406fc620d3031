"""Where events go besides the console: metrics.jsonl always, TensorBoard where it is asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ..recipe.errors import RecipeError
from ..recipe.messages import say
from .events import EvalEnd, Event, Listener, Progress, RunEnded, Saved, StepEnd


def trackers(names: Sequence[str], run: Path, step: int = 0) -> tuple[Listener, ...]:
    """The listeners that the recipe names, and the one that writes ``run/metrics.jsonl``.

    The run goes on after ``step``: TensorBoard forgets what it was told of later steps.
    """
    curves = (tensorboard(run / "tensorboard", step) for name in names if name == "tensorboard")
    return (jsonl(run / "metrics.jsonl"), *curves)


def jsonl(path: Path) -> Listener:
    """Appends one line an event (progress aside) and closes the file: a killed run has told all it did."""

    def write(event: Event) -> None:
        if not isinstance(event, Progress):
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(event.as_dict(), ensure_ascii=False) + "\n")

    return write


def tensorboard(folder: Path, step: int = 0) -> Listener:
    """Scalars of steps and evaluations. Raises RecipeError where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise RecipeError(
            say(
                "train.trackers=[tensorboard] needs TensorBoard: pip install 'attune[tensorboard]'.",
                "train.trackers=[tensorboard] 需要 TensorBoard：pip install 'attune[tensorboard]'。",
            )
        ) from None
    writer = SummaryWriter(str(folder), purge_step=step + 1)

    def write(event: Event) -> None:
        if isinstance(event, StepEnd):
            for name in ("loss", "learning_rate", "grad_norm", "tokens_per_second", "peak_memory_gib"):
                writer.add_scalar(f"train/{name}", getattr(event, name), event.step)
        elif isinstance(event, EvalEnd):
            writer.add_scalar("held_out/loss", event.loss, event.step)
        elif isinstance(event, Saved | RunEnded):
            writer.flush()

    return write
