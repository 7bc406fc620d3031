"""``attune reward``: ranked answers make a reward model."""

from __future__ import annotations

from .sft import Adapter, DataPaths, HeldOut, ModelPath, Output, Seed, Words, asked
from .train import AcceptChanges, Fresh, Quiet, run


def reward(
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
    """Train a reward model on chosen and rejected answers. | 用成对的优劣回答训练奖励模型。"""
    recipe = asked("reward", words or [], model, data or [], held_out, output, adapter, seed)
    run(recipe, fresh=fresh, accept_changes=accept_changes, quiet=quiet)
