"""``attune sft``: a model and a file are enough; and what it shares with ``attune pretrain``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..recipe.messages import pick
from .train import AcceptChanges, Fresh, Quiet, run

if TYPE_CHECKING:
    from ..recipe.schema import Recipe

Words = Annotated[list[str] | None, typer.Argument(metavar="key=value …", show_default=False)]
ModelPath = Annotated[
    str | None,
    typer.Option("--model", "-m", metavar="M", help=pick("Hugging Face id or folder. | 模型 id 或文件夹。")),
]
DataPaths = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        "-d",
        metavar="FILE",
        help=pick(
            "File, folder or glob to learn from; may be repeated. | 训练文件、文件夹或通配符，可重复。"
        ),
    ),
]
HeldOut = Annotated[
    str | None,
    typer.Option(
        "--held-out",
        metavar="FILE",
        help=pick("Held-out file, or the share of the prompts to keep. | 留出文件，或留出的提示占比。"),
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR",
        help=pick("The run's folder; default: a name made from the recipe. | 运行目录；默认由配方生成。"),
    ),
]
Adapter = Annotated[
    str | None,
    typer.Option(
        "--adapter",
        metavar="NAME",
        help=pick(
            "Which weights learn: {adapters}. See attune methods. | 训练方式：{adapters}。见 attune methods。"
        ),
    ),
]
Seed = Annotated[
    int | None, typer.Option("--seed", metavar="N", help=pick("Makes the run repeatable. | 使运行可复现。"))
]


def sft(
    words: Words = None,
    model: ModelPath = None,
    data: DataPaths = None,
    held_out: HeldOut = None,
    output: Output = None,
    adapter: Adapter = None,
    seed: Seed = None,
    fresh: Fresh = False,
    accept_changes: AcceptChanges = False,
    quiet: Quiet = False,
) -> None:
    """Fine-tune a model on questions and answers. | 用问答数据微调模型。"""
    recipe = asked("sft", words or [], model, data or [], held_out, output, adapter, seed)
    run(recipe, fresh=fresh, accept_changes=accept_changes, quiet=quiet)


def asked(
    objective: str | dict[str, Any],
    words: list[str],
    model: str | None,
    data: list[str],
    held_out: str | None,
    output: str | None,
    adapter: str | None,
    seed: int | None,
) -> Recipe:
    """The recipe that the options and the overrides make; raises RecipeError."""
    from ..recipe.load import load
    from ..recipe.tree import value_of

    files = {"train": data or None, "held_out": None if held_out is None else value_of(held_out)}
    given: dict[str, Any] = {
        "objective": objective,
        "model": model,
        "data": {key: value for key, value in files.items() if value is not None},
        "adapter": adapter,
        "train": {} if seed is None else {"seed": seed},
        "output": output,
    }
    return load({key: value for key, value in given.items() if value not in (None, {})}, words)
