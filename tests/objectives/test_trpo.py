"""TRPO's surrogate by hand; its step is tested in tests/engine/test_conjugate.py."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch

from attune.objectives import rloo, trpo

from .online_cases import OnlineContract, batch_of, experience


class TestContract(OnlineContract):
    @pytest.fixture
    def objective(self) -> ModuleType:
        return trpo

    @pytest.fixture
    def config(self) -> trpo.Config:
        return trpo.Config(beta=0.1)


def test_the_surrogate_has_no_clip() -> None:
    given = trpo.estimate(experience(), trpo.Config(), 0.0)
    batch = batch_of(given)
    loss, _ = trpo.loss(given["old"] + 1.0, batch, trpo.Config())
    torch.testing.assert_close(loss, -torch.e * given["advantages"].sum())
    assert trpo.denominator(batch) == 8


def test_the_advantages_are_those_of_rloo() -> None:
    ours = trpo.estimate(experience(), trpo.Config(beta=0.3), 0.3)
    theirs = rloo.estimate(experience(), rloo.Config(beta=0.3), 0.3)
    assert torch.equal(ours["advantages"], theirs["advantages"])
