"""``attune convert``: a data file of any known form as any other that can hold it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..recipe.messages import pick, say
from .train import Quiet

if TYPE_CHECKING:
    from ..data.convert import Converted

SourceAndWords = Annotated[list[str], typer.Argument(metavar="FILE key=value …", show_default=False)]
To = Annotated[
    str,
    typer.Option(
        "--to",
        metavar="FORMAT",
        help=pick(
            "The form to write: messages, sharegpt, alpaca … | 目标格式：messages、sharegpt、alpaca 等。"
        ),
    ),
]
NewFile = Annotated[
    str,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help=pick(
            "The file to write: .jsonl, .json, .csv, .parquet. | 写入的文件：.jsonl、.json、.csv、.parquet。"
        ),
    ),
]
Columns = Annotated[
    str | None,
    typer.Option(
        "--columns",
        metavar="NAME=COLUMN,…",
        help=pick(
            "Which column is meant, by name or number from 0: text=2,label=0. "
            "| 各列的含义（列名或从 0 数起的列号）：text=2,label=0。"
        ),
    ),
]
Force = Annotated[
    bool, typer.Option("--force", help=pick("Replace a file that stands there. | 覆盖已有的文件。"))
]


def convert(
    words: SourceAndWords,
    to: To,
    output: NewFile,
    columns: Columns = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Write data in another form; what does not fit is told. | 把数据写成另一种格式，并说明无法容纳的行。"""
    from ..recipe.load import load
    from .console import Console

    path, *more = words
    named = [f"columns.{pair}" for pair in (columns or "").split(",") if pair]
    asked = {"model": "-", "data": {"train": [{"path": path}]}}  # a source needs the checks of a recipe only
    (source,) = load(asked, [f"data.train.1.{word}" for word in (*named, *more)]).data.train
    with Console(quiet=quiet) as console:
        from ..data.convert import convert as convert_file
        from ..engine.events import Progress

        done = convert_file(
            source, to, Path(output), force=force, on_progress=lambda *progress: console(Progress(*progress))
        )
    _tell(done)
    if done.rejected:
        raise typer.Exit(1)


def _tell(done: Converted) -> None:
    for file in done.files:
        print(f"{file.path}: {file.format} ({file.container}), {_rows(file.num_rows)}")
    for note in done.notes:
        print(note)
    if done.kind_change:
        print(say("{change}.", "{change}。", change=done.kind_change))
    for sentence, num in done.changed.items():
        print(f"  {_rows(num)}: {sentence}")
    print(f"{done.output}: {_rows(done.num_written)}")
    if not done.rejected:
        return
    print(f"{done.rejected_path}: {_rows(len(done.rejected))}")
    first = {row.name: row for row in reversed(done.rejected)}
    for name, num in Counter(row.name for row in done.rejected).most_common(5):
        where = say("first: row {row}", "首例：第 {row} 行", row=first[name].origin.row)
        print(f"  {num:,} × {name}: {first[name].reason} ({where})")


def _rows(num: int) -> str:
    return say("{num} rows", "{num} 行", num=f"{num:,}")
