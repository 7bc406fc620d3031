"""``attune dedup``: a file without the rows that repeat others."""

# ruff: noqa: E501 (a sentence holds both languages in one line)
from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..recipe.errors import RecipeError
from ..recipe.messages import pick, say
from .check import Columns, Roles, named_columns
from .plan import AsJson
from .train import Quiet

if TYPE_CHECKING:
    from ..recipe.schema import Source

Files = Annotated[list[str], typer.Argument(metavar="FILE …", show_default=False)]
CleanFile = Annotated[
    str,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help=pick(
            "The file to write: .jsonl, .json, .csv, .tsv or .txt. | 写出的文件：.jsonl、.json、.csv、.tsv 或 .txt。"
        ),
    ),
]
Near = Annotated[
    str | None,
    typer.Option(
        "--near",
        metavar="S",
        help=pick(
            "Also rows that are that similar to one that stays, such as 0.8. | 也去除与保留行如此相似的行，如 0.8。"
        ),
    ),
]
Keep = Annotated[
    str,
    typer.Option(
        "--keep",
        metavar="WHICH",
        help=pick("Of near repeats, keep the first or the longest. | 近似重复中保留 first 或 longest。"),
    ),
]


def dedup(
    files: Files,
    output: CleanFile,
    near: Near = None,
    keep: Keep = "first",
    columns: Columns = None,
    roles: Roles = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Take out repeated rows. | 去除重复的行。"""
    import sys

    from ..data.dedup import dedup as dedup_files
    from ..engine.events import Notice, Progress
    from .console import Console
    from .show import json_text, pairs

    similarity = None if near is None else number("--near", near, "0.8")
    with Console(quiet=quiet, file=sys.stderr if as_json else None) as console:
        done = dedup_files(
            sources(files, columns, roles),
            Path(output),
            near=similarity,
            keep=keep,
            on_progress=lambda *progress: console(Progress(*progress)),
        )
        for note in done.notes:
            console(Notice("info", note))
    if as_json:
        print(json_text(asdict(done)))
    else:
        pairs(done.lines())


def sources(files: list[str], columns: str | None, roles: str | None) -> list[Source]:
    """The files as sources of a recipe; raises RecipeError for roles that there are none of."""
    from ..recipe.load import load

    shape = {"columns": named_columns(columns, "--columns"), "roles": named_columns(roles, "--roles")}
    given = {key: value for key, value in shape.items() if value}
    recipe = load({"model": "-", "data": {"train": [{"path": path, **given} for path in files]}})
    return list(recipe.data.train)


def number(option: str, text: str, example: str) -> float:
    """The value of an option that takes a number."""
    try:
        return float(text)
    except ValueError:
        raise RecipeError(
            say(
                "{option} {text}: not a number. Write for example {option} {example}.",
                "{option} {text}：不是数。例如 {option} {example}。",
                option=option,
                text=text,
                example=example,
            )
        ) from None
