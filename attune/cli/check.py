"""``attune check``: what would make training wrong, before the first step."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..recipe.errors import RecipeError
from ..recipe.messages import join, pick, say
from .plan import AsJson
from .sft import HeldOut, ModelPath
from .train import Quiet

if TYPE_CHECKING:
    from ..data.check import Report
    from ..recipe.schema import Recipe

DataAndWords = Annotated[list[str] | None, typer.Argument(metavar="FILE … key=value …", show_default=False)]
Kind = Annotated[
    str | None,
    typer.Option(
        "--kind",
        metavar="KIND",
        help=pick(
            "What the rows are for: conversation, text, preference, verdict, prompt, labelled; default:"
            " what "
            "they look like. | 数据类型：conversation、text、preference、verdict、prompt、labelled；默"
            "认自动判断。"
        ),
    ),
]
Page = Annotated[
    str | None,
    typer.Option("--html", metavar="FILE", help=pick("Write the report as a page. | 将报告写成网页。")),
]
Show = Annotated[
    int | None,
    typer.Option(
        "--show",
        metavar="N",
        help=pick(
            "Show N rows as the model will see them, token by token. | 逐 token 显示模型将看到的前 N 行。"
        ),
    ),
]
Accept = Annotated[
    list[str] | None,
    typer.Option(
        "--accept",
        metavar="NAME",
        help=pick("A finding that is all right; may be repeated. | 接受某项发现，可重复。"),
    ),
]
Private = Annotated[
    bool,
    typer.Option(
        "--private/--no-private",
        help=pick("Look for personal data. | 是否查找个人信息。"),
        show_default=False,
    ),
]
Sample = Annotated[
    int | None,
    typer.Option(
        "--sample",
        metavar="N",
        help=pick(
            "Compare a sample of N rows for near duplicates; default: 200000. | 在 N 行抽样中查找近似重复；"
            "默认 200000。"
        ),
    ),
]
Columns = Annotated[
    str | None,
    typer.Option(
        "--columns",
        metavar="NAME=COLUMN,…",
        help=pick(
            "Which column is what, by name or number from 0: text=2,label=0. | 各列的含义（列名或从 0 "
            "起的序号）：text=2,label=0。"
        ),
    ),
]
Roles = Annotated[
    str | None,
    typer.Option(
        "--roles",
        metavar="NAME=ROLE,…",
        help=pick(
            "Which role is which: speaker=user,listener=assistant. | 角色的对应：speaker=user,listener="
            "assistant。"
        ),
    ),
]


def check(
    words: DataAndWords = None,
    model: ModelPath = None,
    held_out: HeldOut = None,
    kind: Kind = None,
    columns: Columns = None,
    roles: Roles = None,
    show: Show = None,
    html: Page = None,
    as_json: AsJson = False,
    accept: Accept = None,
    private: Private = True,
    sample: Sample = None,
    quiet: Quiet = False,
) -> None:
    """Find what would make training wrong, before it begins. | 在训练之前找出会让训练出错的问题。"""
    import sys

    from .console import Console

    _must_be_right(kind, show, sample, html)
    shape = {"columns": named_columns(columns, "--columns"), "roles": named_columns(roles, "--roles")}
    recipe = _recipe(words or [], model, held_out, kind, shape, accept)
    from ..engine import inspect
    from ..engine.events import Progress
    from . import findings
    from .show import json_text

    opened = recipe.model if model is not None else None
    if show is not None:
        rows = inspect.show(recipe.data, opened, kind, show)
        if as_json:
            print(json_text(findings.rows_as_dicts(rows)))
        else:
            findings.show_rows(rows)
        return
    with Console(quiet=quiet, file=sys.stderr) as console:
        report = inspect.check(
            recipe.data,
            opened,
            kind,
            private=private,
            **({} if sample is None else {"sample": sample}),
            seed=recipe.train.seed,
            on_progress=lambda *progress: console(Progress(*progress)),
        )
    _tell(report, as_json=as_json, html=html, has_model=opened is not None, quiet=quiet)
    raise typer.Exit(report.exit_code)


def _must_be_right(kind: str | None, show: int | None, sample: int | None, html: str | None) -> None:
    from ..data.examples import KINDS

    for option, number in (("--show", show), ("--sample", sample)):
        if number is not None and number < 1:
            raise RecipeError(
                say(
                    "{option} {number}: a whole number from 1 on. Write for example {option} 3.",
                    "{option} {number}：应为不小于 1 的整数。例如 {option} 3。",
                    option=option,
                    number=number,
                )
            )
    if show is not None and html is not None:
        raise RecipeError(
            say(
                "--show prints rows, --html writes the report: give one of them.",
                "--show 显示各行，--html 写出报告：请只给其中一个。",
            )
        )
    if kind is not None and kind not in KINDS:
        raise RecipeError(
            say(
                "--kind {kind}: allowed are {kinds}.",
                "--kind {kind}：可用 {kinds}。",
                kind=kind,
                kinds=join(KINDS),
            )
        )


def _tell(report: Report, *, as_json: bool, html: str | None, has_model: bool, quiet: bool) -> None:
    """The report on stdout, and as a page where that was asked for."""
    from ..evaluation.check_page import write
    from . import findings
    from .show import json_text

    if html is not None:
        write(report, Path(html))
    if as_json:
        print(json_text(report.as_dict()))
        return
    findings.show(report, has_model=has_model, quiet=quiet)
    if html is not None:
        print(say("The report: {path}", "报告：{path}", path=html))


def _recipe(
    words: Sequence[str],
    model: str | None,
    held_out: str | None,
    kind: str | None,
    shape: dict[str, Any],
    accept: list[str] | None,
) -> Recipe:
    """The recipe that a training run on this data would have; its model is a blank where none was named."""
    from ..recipe.load import load
    from ..recipe.tree import value_of

    files = [word for word in words if "=" not in word or os.path.exists(word)]
    if not files and not any(word.startswith("data.train=") for word in words):
        raise RecipeError(
            say(
                "Nothing to check. Type: attune check my.json",
                "没有要检查的数据。请输入：attune check my.json",
            )
        )
    given_shape = {key: value for key, value in shape.items() if value}
    data: dict[str, Any] = {"train": [{"path": path, **given_shape} for path in files]} if files else {}
    if held_out is not None:
        if not isinstance(value_of(held_out), str):
            raise RecipeError(
                say(
                    "--held-out {got}: name a file. A share is taken by prompt when training begins, and "
                    "leaks nothing.",
                    "--held-out {got}：请给出文件。训练时按提示划分的比例不会泄漏。",
                    got=held_out,
                )
            )
        data["held_out"] = held_out
    if accept:
        data["accept"] = accept
    given = {"objective": "pretrain" if kind == "text" else "sft", "model": model or "-", "data": data}
    return load(given, [word for word in words if word not in files])


def named_columns(text: str | None, option: str) -> dict[str, Any] | None:
    """``a=1,b=c`` as a mapping; numbers are numbers."""
    if text is None:
        return None
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if not pairs or not all(name.strip() and bar and value.strip() for name, bar, value in pairs):
        raise RecipeError(
            say(
                "{option} {text}: write name=value pairs with commas between them, as text=2,label=0.",
                "{option} {text}：请写成以逗号分隔的 名称=值，例如 text=2,label=0。",
                option=option,
                text=text,
            )
        )
    values = {name.strip(): value.strip() for name, _, value in pairs}
    return {name: int(value) if value.isdigit() else value for name, value in values.items()}
