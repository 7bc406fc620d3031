"""``attune classify``: texts or images and their labels make a classifier or a regressor."""

from __future__ import annotations

from typing import Annotated

import typer

from ..recipe.messages import pick
from .sft import Adapter, HeldOut, ModelPath, Output, Seed, Words, asked
from .train import AcceptChanges, Fresh, Quiet, run

LabelledData = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        "-d",
        metavar="FILE",
        help=pick(
            "Texts or images with labels: a file, a glob, or a folder with a sub-folder of images a class; "
            "may be repeated. A missing or damaged image is told with its row and left out; too many of them "
            "(data.max_rejected_share) stop the run. "
            "| 带标签的文本或图片：文件、通配符，或每类一个子文件夹的图片目录，可重复。"
            "缺失或损坏的图片会指明所在行并排除；超过 data.max_rejected_share 则停止。"
        ),
    ),
]


def classify(
    words: Words = None,
    model: ModelPath = None,
    data: LabelledData = None,
    held_out: HeldOut = None,
    output: Output = None,
    adapter: Adapter = None,
    seed: Seed = None,
    fresh: Fresh = False,
    accept_changes: AcceptChanges = False,
    quiet: Quiet = False,
) -> None:
    """Train a classifier on labelled texts or images. | 用带标签的文本或图片训练分类或回归模型。"""
    recipe = asked("classify", words or [], model, data or [], held_out, output, adapter, seed)
    run(recipe, fresh=fresh, accept_changes=accept_changes, quiet=quiet)
