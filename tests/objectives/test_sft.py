"""Supervised fine-tuning on four numbers, and the contract."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch

from attune.data.layout import Segments, lay
from attune.objectives import sft
from attune.objectives.contract import ObjectiveContract


class TestSft(ObjectiveContract):
    @pytest.fixture
    def objective(self) -> ModuleType:
        return sft


def test_four_numbers_by_hand() -> None:
    """Two answers of one and three tokens: N = 4, so a token weighs the same in both."""
    short, long = Segments([1], (([2], [True]),)), Segments([1], (([2, 3, 4], [True] * 3),))
    batch = lay([(0, short), (1, long)])
    logps = torch.tensor([-1.0, -0.5, -0.25, -2.0], requires_grad=True)
    loss, metrics = sft.loss(logps, batch, sft.Config())
    assert sft.denominator(batch) == 4
    assert float(loss) == 3.75
    assert metrics == {}
    loss.backward()
    assert logps.grad is not None
    assert logps.grad.tolist() == [-1.0] * 4


def test_the_first_token_of_an_answer_without_a_prompt_is_not_counted() -> None:
    batch = lay([(0, Segments([], (([2, 3, 4], [True] * 3),)))])
    assert sft.denominator(batch) == 2
