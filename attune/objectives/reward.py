"""A reward model: one score an answer, higher for the better one (Bradley-Terry).

    L = (1 / N) * sum over examples of mean over pairs (c, r) of
        - log sigma(r_c - r_r - scale * margin)  +  center * (r_c + r_r)^2

The answers of an example are ranked, the best first; each is compared with every one after it (Ouyang et al.,
arXiv 2203.02155, equation 1). The margin is the row's own, between its best and its worst answer (Touvron et
al., arXiv 2307.09288, section 3.2.2). The last term keeps rewards around zero, which the first leaves open
(Eisenstein et al., arXiv 2312.09244). N counts the examples of the whole optimizer step.
"""

# ruff: noqa: E501 (a help text holds both languages in one line)
from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ..recipe.schema import Choice
from ._preference import denominator, pairs_of

if TYPE_CHECKING:  # a recipe that names this objective must not wait for torch
    import torch

    from ..data.layout import Batch

__all__ = ["EXAMPLES", "METRICS", "NEEDS", "Config", "denominator", "loss"]

EXAMPLES = "preference"
NEEDS = ("scores",)
METRICS = ("accuracy", "margin", "chosen_reward", "rejected_reward")
"""Sums over examples, of means over an example's pairs; a tie is half right."""


class Config(Choice):
    """Reward model from ranked answers. | 由排序回答训练奖励模型。"""

    name: Literal["reward"] = "reward"
    margin_scale: float = Field(0.0, ge=0)
    """How much of a row's margin the rewards must be apart; 0 ignores margins, 1 is Llama 2's. | 奖励差须超过数据中 margin 的多少倍；0 为忽略，1 为 Llama 2 的做法。"""
    center: float = Field(0.01, ge=0)
    """Strength with which rewards are kept around zero. | 使奖励保持在零附近的强度。"""


def loss(
    scores_bk: torch.Tensor, batch: Batch, config: Config
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The sum over examples; ``scores_bk``: float32 ``[b, 1]``, one reward an answer."""
    from torch.nn.functional import logsigmoid

    rewards = scores_bk[:, 0]
    pairs = pairs_of(batch, rewards)
    better, worse = rewards[pairs.better], rewards[pairs.worse]
    gap = better - worse
    wanted = config.margin_scale * _margins(batch, pairs.better, pairs.worse, rewards)
    losses = -logsigmoid(gap - wanted) + config.center * (better + worse).square()
    with_signs = (gap.detach().sign() + 1) / 2
    return pairs.mean(losses), {
        "accuracy": pairs.mean(with_signs),
        "margin": pairs.mean(gap.detach()),
        "chosen_reward": pairs.mean(better.detach()),
        "rejected_reward": pairs.mean(worse.detach()),
    }


def _margins(batch: Batch, better: torch.Tensor, worse: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """``[p]``: the row's margin for the pair of its best and worst answer; 0 for others, and where none is known."""
    examples = batch.examples.to(like.device)
    if not batch.values.shape[1]:
        return like.new_zeros(len(better))
    margins = batch.values[:, 0].to(like).nan_to_num(0.0)[examples[better]]
    is_best = (examples == examples.roll(1)).logical_not()
    is_best[:1] = True
    is_worst = (examples == examples.roll(-1)).logical_not()
    is_worst[-1:] = True
    return margins * (is_best[better] & is_worst[worse])
