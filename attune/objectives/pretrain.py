"""Pretraining: the likelihood of supervised fine-tuning, of every token of a text and of the end after it.

    L = - (1 / N) * sum over tokens t of log p(t | everything before t)

The first token of a text has nothing before it and is not learnt.
"""

from __future__ import annotations

from typing import Literal

from ..recipe.schema import Choice
from .sft import NEEDS, denominator, loss

__all__ = ["EXAMPLES", "LEARNING_RATE", "NEEDS", "Config", "denominator", "loss"]

EXAMPLES = "text"
LEARNING_RATE = 5e-4


class Config(Choice):
    """Causal language modelling of plain text. | 纯文本的因果语言建模。"""

    name: Literal["pretrain"] = "pretrain"
