"""Full fine-tuning: every weight learns, kept in float32 whatever the precision of the arithmetic."""

from __future__ import annotations

from typing import Any, Literal

from ..recipe.schema import Choice

LEARNING_RATE = 1e-5
MERGEABLE = False


class Config(Choice):
    """All weights. | 全部权重。"""

    name: Literal["full"] = "full"


def attach(model: Any, config: Config) -> Any:
    """The model with every weight learning, in float32."""
    del config
    return model.float().requires_grad_(True)
