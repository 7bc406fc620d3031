"""Pretraining: the arithmetic is that of sft; what differs is the kind of example and the step size."""

from __future__ import annotations

from types import ModuleType

import pytest

from attune.objectives import pretrain, sft
from attune.objectives.contract import ObjectiveContract


class TestPretrain(ObjectiveContract):
    @pytest.fixture
    def objective(self) -> ModuleType:
        return pretrain


def test_it_learns_texts_with_the_arithmetic_of_sft() -> None:
    assert pretrain.EXAMPLES == "text"
    assert pretrain.loss is sft.loss
    assert pretrain.denominator is sft.denominator
    assert pretrain.LEARNING_RATE == 5e-4
