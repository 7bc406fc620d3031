"""Trust region policy optimization: the largest step along the natural gradient that keeps to a KL bound.

    maximise  g . s   so that   1/2 s . F s <= max_kl;      s = sqrt(2 max_kl / (x . F x)) x,   F x = g
    L = - 1/N * sum over tokens t of r_t A_t,    r_t = p(t) / p_old(t),    A_i = R_i - mean of the others' R_j

Schulman et al., arXiv 1502.05477, equation 14 and appendix C: x by conjugate gradients, the step shrunk until the
surrogate rises and the divergence KL(p_old || p), over the whole vocabulary at every learnt token, is at most
max_kl. F is that divergence's curvature (``engine/conjugate.py``). Where we differ: the mean reward of the
prompt's other answers stands for the value function, and F is damped.

Shapes: ``n`` learnt tokens, ``b`` answers.
"""

# ruff: noqa: E501 (a help text holds both languages in one line)
from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ._online import Experience, Online
from .rloo import estimate as _leave_one_out

if TYPE_CHECKING:
    from torch import Tensor

    from ..data.layout import Batch

NEEDS = ("logps",)
EXAMPLES = "prompt"
METRICS = ()
TRUST_REGION = True
"""The engine takes the step of ``engine/conjugate.py`` in the place of AdamW's."""


class Config(Online):
    """Trust region policy optimization. | 信赖域策略优化。"""

    name: Literal["trpo"] = "trpo"
    max_kl: float = Field(0.01, gt=0)
    """How far a step may move the policy: KL(old || new), nats a token. | 每步策略变化的上限：KL(旧 || 新)，每 token 的 nat 数。"""
    cg_iterations: int = Field(10, ge=1)
    """Conjugate gradient iterations. | 共轭梯度迭代次数。"""
    damping: float = Field(0.1, ge=0)
    """Added to the curvature, as a share of its mean along the first direction. | 加到曲率上的阻尼，为其沿首个方向平均值的比例。"""
    backtracks: int = Field(10, ge=0)
    """How often a step may be halved; after that it is not taken. | 步长最多减半的次数；之后放弃该步。"""


def estimate(experience: Experience, config: Config, beta: float) -> dict[str, Tensor]:
    """What the loss is given of a rollout, each ``[n]``: RLOO's; ``beta`` is the leash of this step."""
    return _leave_one_out(experience, config, beta)


def denominator(batch: Batch) -> int:
    """What this pack adds to N: its learnt tokens."""
    return batch.num_learnt


def loss(logps_n: Tensor, batch: Batch, config: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """The sum over the pack; ``logps_n`` float32 ``[n]``. Of ``batch.given``: ``old`` and ``advantages``."""
    del config
    return -((logps_n - batch.given["old"]).exp() * batch.given["advantages"]).sum(), {}
