"""``attune merge``: adapter and base become one ordinary model folder, and the result is checked."""

from __future__ import annotations

from typing import Annotated

import typer

from ..recipe.messages import pick
from .eval import Run
from .train import Quiet

MergedFolder = Annotated[
    str, typer.Option("--output", "-o", metavar="DIR", help=pick("The folder to write. | 写入的文件夹。"))
]


def merge(run: Run, output: MergedFolder, quiet: Quiet = False) -> None:
    """Make one ordinary model, and compare it with the adapter. | 合并成普通模型，并与适配器比对。"""
    from .console import Console
    from .show import pairs

    with Console(quiet=quiet) as console:
        from ..engine.events import Progress
        from ..models.merge import merge as merge_run

        report = merge_run(run, output, on_progress=lambda *progress: console(Progress(*progress)))
    pairs(report.lines())
