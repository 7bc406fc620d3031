"""``attune plan``: what a run would do, before any weight is read."""

from __future__ import annotations

from typing import Annotated

import typer

from ..recipe.messages import pick
from .train import FileAndWords, split

AsJson = Annotated[
    bool,
    typer.Option("--json", help=pick("Print JSON, and nothing else, on stdout. | 标准输出只打印 JSON。")),
]


def plan(words: FileAndWords = None, as_json: AsJson = False) -> None:
    """Rows, steps, memory and time, before any weight is read. | 读权重之前，先算行数、步数、内存与时间。"""
    from ..recipe.load import dump, load
    from .show import json_text, pairs

    source, overrides = split(words or [])
    recipe = load(source, overrides)

    from ..engine.plan import plan as plan_recipe

    planned = plan_recipe(recipe)
    if as_json:
        print(json_text({"recipe": recipe.model_dump(mode="json"), **planned.as_dict()}))
    else:
        print(dump(recipe))
        pairs(planned.lines())
