"""``attune grpo``, ``rloo``, ``ppo`` and ``trpo``: a model, prompts, and what says how good an answer is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from ..recipe.messages import pick
from .sft import Adapter, HeldOut, ModelPath, Output, Seed, Words, asked
from .train import AcceptChanges, Fresh, Quiet, run

Prompts = Annotated[
    list[str] | None,
    typer.Option(
        "--prompts",
        "-p",
        metavar="FILE",
        help=pick(
            "File of prompts, with the right answers where a reward compares; may be repeated. "
            "| 提示文件（奖励需比较时含正确答案），可重复。"
        ),
    ),
]
RewardSpecs = Annotated[
    list[str] | None,
    typer.Option(
        "--reward",
        "-r",
        metavar="R",
        help=pick(
            "What is rewarded: a verifier (exact_number, format, regex:…, length:200 …), the folder of a "
            "reward model, or FILE.py:FUNCTION, whose code then runs; *0.2 behind it is its weight; may be "
            "repeated. | 奖励：校验器（exact_number、format、regex:…、length:200 等）、奖励模型目录，"
            "或 文件.py:函数（其代码会被运行）；后加 *0.2 为权重；可重复。"
        ),
    ),
]


def _command(objective: str, text: str) -> Callable[..., None]:
    """The command that trains with ``objective``; ``text`` is its help."""

    def command(
        words: Words = None,
        model: ModelPath = None,
        prompts: Prompts = None,
        reward: RewardSpecs = None,
        held_out: HeldOut = None,
        output: Output = None,
        adapter: Adapter = None,
        seed: Seed = None,
        fresh: Fresh = False,
        accept_changes: AcceptChanges = False,
        quiet: Quiet = False,
    ) -> None:
        chosen = {"name": objective, **({"rewards": reward} if reward else {})}
        recipe = asked(chosen, words or [], model, prompts or [], held_out, output, adapter, seed)
        run(recipe, fresh=fresh, accept_changes=accept_changes, quiet=quiet)

    command.__name__, command.__doc__ = objective, text
    return command


grpo = _command(
    "grpo",
    "Learn from rewards: answers to a prompt are compared with each other. "
    "| 从奖励中学习：同一提示的回答相互比较（GRPO）。",
)
rloo = _command(
    "rloo",
    "Learn from rewards: REINFORCE, each answer against the mean of the others. "
    "| 从奖励中学习：REINFORCE，以其余回答的平均为基线（RLOO）。",
)
ppo = _command(
    "ppo",
    "Learn from rewards, token by token, with a value head: PPO. | 从奖励中逐 token 学习，带价值头（PPO）。",
)
trpo = _command(
    "trpo",
    "Learn from rewards in steps that keep to a KL bound: TRPO. | 从奖励中学习，每步不超出 KL 上限（TRPO）。",
)
