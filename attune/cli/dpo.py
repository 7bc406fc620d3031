"""``attune dpo``, ``kto``, ``orpo`` and ``simpo``: a model, and what people prefer."""

from __future__ import annotations

from collections.abc import Callable

from .sft import Adapter, DataPaths, HeldOut, ModelPath, Output, Seed, Words, asked
from .train import AcceptChanges, Fresh, Quiet, run


def _command(objective: str, text: str) -> Callable[..., None]:
    """The command that trains with ``objective``; ``text`` is its help."""

    def command(
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
        recipe = asked(objective, words or [], model, data or [], held_out, output, adapter, seed)
        run(recipe, fresh=fresh, accept_changes=accept_changes, quiet=quiet)

    command.__name__, command.__doc__ = objective, text
    return command


dpo = _command(
    "dpo",
    "Learn which of two answers is better: DPO; ipo, robust … by objective.loss. "
    "| 学习哪个回答更好：DPO；用 objective.loss 选 ipo、robust 等。",
)
kto = _command(
    "kto",
    "Learn from single answers that were called good or bad: KTO. | 从被评为好或坏的单个回答中学习：KTO。",
)
orpo = _command(
    "orpo", "Learn to answer and to prefer at once, without a reference: ORPO. | 同时学习回答与偏好：ORPO。"
)
simpo = _command(
    "simpo",
    "Learn which answer is better, without a reference: SimPO. | 无参考模型地学习哪个回答更好：SimPO。",
)
