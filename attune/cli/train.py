"""``attune train``: any recipe file; and the one way in which every training command runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..recipe.messages import pick

if TYPE_CHECKING:
    from ..recipe.schema import Recipe

FileAndWords = Annotated[
    list[str] | None, typer.Argument(metavar="RECIPE.yaml key=value …", show_default=False)
]
Fresh = Annotated[
    bool,
    typer.Option(
        "--fresh",
        help=pick(
            "Start over; a run that stands in the output folder is replaced. | 从头开始，替换已有的运行。"
        ),
    ),
]
AcceptChanges = Annotated[
    bool,
    typer.Option(
        "--accept-changes",
        help=pick(
            "Resume although the data, the recipe or library versions have changed. "
            "| 数据、配方或库的版本变了也继续。"
        ),
    ),
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help=pick("Show only warnings and the result. | 只显示警告和结果。")),
]


def train(
    words: FileAndWords = None,
    fresh: Fresh = False,
    accept_changes: AcceptChanges = False,
    quiet: Quiet = False,
) -> None:
    """Train as a recipe file says. | 按配方文件训练。"""
    from ..recipe.load import load

    source, overrides = split(words or [])
    run(load(source, overrides), fresh=fresh, accept_changes=accept_changes, quiet=quiet)


def split(words: Sequence[str]) -> tuple[Path | None, list[str]]:
    """The recipe file, where the words begin with one, and the overrides."""
    if words and ("=" not in words[0] or Path(words[0]).is_file()):
        return Path(words[0]), list(words[1:])
    return None, list(words)


def run(recipe: Recipe, *, fresh: bool, accept_changes: bool, quiet: bool) -> None:
    """Trains, with the console listening. Of several processes the first one speaks."""
    from .console import Console

    is_first = os.environ.get("RANK", "0") == "0"  # as ``accelerate launch`` sets it
    with Console(recipe=recipe if is_first else None, quiet=quiet or not is_first) as console:
        from ..engine.train import train as train_recipe

        result = train_recipe(recipe, fresh=fresh, accept_changes=accept_changes, listeners=(console,))
    if result.reason != "already_finished" and int(os.environ.get("RANK", "0")) == 0:
        from ..evaluation.report import write

        write(result.output)
