"""``attune merge``: adapters and base become one ordinary model folder, and the result is checked."""

from __future__ import annotations

from typing import Annotated

import typer

from ..recipe.errors import RecipeError
from ..recipe.messages import pick, say
from .train import Quiet

Runs = Annotated[list[str], typer.Argument(metavar="RUN …", show_default=False)]
MergedFolder = Annotated[
    str, typer.Option("--output", "-o", metavar="DIR", help=pick("The folder to write. | 写入的文件夹。"))
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        metavar="W,W…",
        help=pick(
            "Weights of several adapters; default: equal, adding up to 1. | 多个适配器的权重；默认相等，和"
            "为 1。"
        ),
    ),
]
How = Annotated[
    str,
    typer.Option(
        "--how",
        metavar="HOW",
        help=pick(
            "How several are combined: linear, ties, dare, dare_ties. | 多个适配器的组合方式：linear、"
            "ties、dare、dare_ties。"
        ),
    ),
]


def merge(
    runs: Runs, output: MergedFolder, weights: Weights = None, how: How = "linear", quiet: Quiet = False
) -> None:
    """Make one ordinary model, and compare it with the adapter. | 合并成普通模型，并与适配器比对。"""
    from .console import Console
    from .show import pairs

    numbers = None if weights is None else _numbers(weights)
    with Console(quiet=quiet) as console:
        from ..engine.events import Progress
        from ..models.combine import HOW
        from ..models.merge import merge as merge_runs
        from ..recipe.plugs import unknown

        found = next((known for known in HOW if known == how), None)
        if found is None:
            raise RecipeError(unknown("--how", how, list(HOW)))
        report = merge_runs(
            runs,
            output,
            on_progress=lambda *progress: console(Progress(*progress)),
            weights=numbers,
            how=found,
        )
    pairs(report.lines())


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise RecipeError(
            say(
                "--weights {text}: not numbers with commas between them. Write for example --weights "
                "0.5,0.5.",
                "--weights {text}：不是以逗号分隔的数。请写成如 --weights 0.5,0.5。",
                text=text,
            )
        ) from None
