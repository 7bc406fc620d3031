"""``attune pretrain``: causal language modelling of plain text, from scratch or continued."""

from __future__ import annotations

from typing import Annotated

import typer

from ..recipe.messages import pick
from .sft import Adapter, DataPaths, HeldOut, Output, Seed, Words, asked
from .train import AcceptChanges, Fresh, Quiet, run

ModelOrConfig = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="M",
        help=pick(
            "A config.json (random weights), a folder or a Hugging Face id. "
            "| config.json（随机权重）、文件夹或模型 id。"
        ),
    ),
]


def pretrain(
    words: Words = None,
    model: ModelOrConfig = None,
    data: DataPaths = None,
    held_out: HeldOut = None,
    output: Output = None,
    adapter: Adapter = None,
    seed: Seed = None,
    fresh: Fresh = False,
    accept_changes: AcceptChanges = False,
    quiet: Quiet = False,
) -> None:
    """Train a model on plain text, from scratch or continued. | 用纯文本训练模型，从零开始或继续。"""
    recipe = asked("pretrain", words or [], model, data or [], held_out, output, adapter, seed)
    run(recipe, fresh=fresh, accept_changes=accept_changes, quiet=quiet)
