"""``attune classify``: texts and their labels make a classifier or a regressor."""

from __future__ import annotations

from .sft import Adapter, DataPaths, HeldOut, ModelPath, Output, Seed, Words, asked
from .train import AcceptChanges, Fresh, Quiet, run


def classify(
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
    """Train a classifier (or regressor) on labelled texts. | 用带标签的文本训练分类或回归模型。"""
    recipe = asked("classify", words or [], model, data or [], held_out, output, adapter, seed)
    run(recipe, fresh=fresh, accept_changes=accept_changes, quiet=quiet)
