"""``attune probe``: how much of a task a model's representations already hold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..recipe.errors import RecipeError
from ..recipe.messages import pick, say
from .classify import LabelledData
from .plan import AsJson
from .sft import HeldOut, ModelPath, Words
from .train import Quiet

ProbeOutput = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR",
        help=pick("Folder for report.html and probe.json. | 保存 report.html 与 probe.json 的文件夹。"),
    ),
]
_WORDS = ("layers", "pooling", "folds", "task", "seed")


def probe(
    words: Words = None,
    model: ModelPath = None,
    data: LabelledData = None,
    held_out: HeldOut = None,
    output: ProbeOutput = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """What a model knows: a linear fit to its features. | 在冻结特征上拟合线性模型，检验模型的表示。"""
    import sys

    from ..recipe.tree import value_of
    from .console import Console
    from .show import json_text, table

    options = _options(words or [])
    if model is None or not data:
        raise RecipeError(
            say(
                "A probe needs a model and labelled rows. Type: attune probe --model M --data labelled.csv",
                "探针需要模型与带标签的数据。请输入：attune probe --model M --data labelled.csv",
            )
        )
    from ..recipe.load import load

    asked: dict[str, Any] = {"train": data, "held_out": 0.2 if held_out is None else value_of(held_out)}
    section = load({"objective": "classify", "model": model, "data": asked}, []).data
    with Console(quiet=quiet, file=sys.stderr if as_json else None) as console:
        from ..engine.events import Notice, Progress
        from ..evaluation.probe import probe as probe_model

        found = probe_model(
            model, section, **options, on_progress=lambda *progress: console(Progress(*progress))
        )
        for level, text in found.notices:
            console(Notice(level, text))
    if as_json:
        print(json_text(found.as_dict()))
    else:
        table(*found.sweep())
        table(*found.table())
    if output is not None:
        from ..data.durable import write_json
        from ..evaluation.probe_page import write

        write(found, Path(output) / "report.html")
        write_json(Path(output) / "probe.json", found.as_dict())
        if not as_json:
            print(say("Report: {path}", "报告：{path}", path=Path(output) / "report.html"))


def _options(words: list[str]) -> dict[str, Any]:
    """``key=value`` words; raises RecipeError for unknown ones and for numbers that are none."""
    from ..recipe.plugs import unknown

    found: dict[str, Any] = {}
    for word in words:
        name, _, value = word.partition("=")
        if name not in _WORDS:
            raise RecipeError(
                unknown(say("probe: no such option", "probe：没有这个选项"), name, list(_WORDS))
            )
        if name in ("folds", "seed"):
            if not value.isdigit() or (name == "folds" and int(value) < 2):
                raise RecipeError(
                    say(
                        "{name}={value}: give a whole number{more}.",
                        "{name}={value}：请给出整数{more}。",
                        name=name,
                        value=value,
                        more=say(", at least 2", "，至少为 2") if name == "folds" else "",
                    )
                )
            found[name] = int(value)
        else:
            found[name] = value
    return found
