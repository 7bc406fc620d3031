"""``attune split``: a training file and a test file that share no prompt."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ..recipe.messages import pick
from .check import Columns, Roles
from .dedup import Files, number, sources
from .plan import AsJson
from .train import Quiet

Share = Annotated[
    str,
    typer.Option("--held-out", metavar="SHARE", help=pick("Share of the rows to hold out. | 留出的比例。")),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed",
        metavar="N",
        help=pick("Chooses which; 42 is that of training. | 决定留出哪些；42 与训练相同。"),
    ),
]
By = Annotated[
    str,
    typer.Option(
        "--by",
        metavar="COLUMN",
        help=pick(
            "What stays together: prompt, or the values of a column. | 不拆开的单位：prompt，或某一列的值。"
        ),
    ),
]
Near = Annotated[
    bool,
    typer.Option(
        "--near",
        help=pick("Prompts that are nearly the same stay together too. | 几乎相同的提示也放在同一侧。"),
    ),
]
Stratify = Annotated[
    bool,
    typer.Option("--stratify", help=pick("The same share of each label. | 每个标签按相同比例留出。")),
]
Folder = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR",
        help=pick(
            "Folder for train and test, in the form of the input. | 写 train 与 test 的文件夹，格式同输入。"
        ),
    ),
]
TrainFile = Annotated[
    str | None, typer.Option("--train", metavar="FILE", help=pick("Or: the training file. | 或：训练文件。"))
]
TestFile = Annotated[
    str | None, typer.Option("--test", metavar="FILE", help=pick("Or: the test file. | 或：测试文件。"))
]


def split(
    files: Files,
    held_out: Share = "0.1",
    seed: Seed = 42,
    by: By = "prompt",
    near: Near = False,
    stratify: Stratify = False,
    output: Folder = None,
    train: TrainFile = None,
    test: TestFile = None,
    columns: Columns = None,
    roles: Roles = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Part data into train and test, by prompt. | 按提示把数据分为训练与测试两份。"""
    import sys

    from ..data.partition import part
    from ..engine.events import Notice, Progress
    from .console import Console
    from .show import json_text, pairs

    with Console(quiet=quiet, file=sys.stderr if as_json else None) as console:
        done = part(
            sources(files, columns, roles),
            number("--held-out", held_out, "0.1"),
            seed=seed,
            by=by,
            near=near,
            stratify=stratify,
            output=None if output is None else Path(output),
            train=None if train is None else Path(train),
            held_out=None if test is None else Path(test),
            on_progress=lambda *progress: console(Progress(*progress)),
        )
        for note in done.notes:
            console(Notice("info", note))
    if as_json:
        print(json_text(asdict(done)))
    else:
        pairs(done.lines())
