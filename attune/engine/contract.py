"""What the loop asks of a method besides the contract of its room: however a step is cut into packs, the
gradient is the same, and a run that goes on from a checkpoint takes the same steps to the bit.

Joined as ``adapters/contract.py`` is, by subclassing with the method's configuration.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ..adapters.contract import AdapterContract, learnt
from ..adapters.method import Companion, Method
from ..data.cache import Store
from ..data.layout import Segments
from ..models.policy import Policy
from ..objectives import classify, sft
from ..recipe import plugs
from ..recipe.schema import Choice, Train
from . import checkpoint, optimize, step

NUM_STEPS = 3
_AT_ONCE, _ALONE = step.Micro(1000), step.Micro(1)


def rows(*, scores: bool) -> Store:
    """Four texts of 5 to 8 tokens, whose second half is learnt, or which have a class."""
    made = []
    for number in range(4):
        ids = [3 + (number * 11 + place * 7) % 50 for place in range(5 + number)]
        half = Segments(ids[:2], ((ids[2:], [True] * (len(ids) - 2)),))
        made.append(Segments(ids, (), (number % 3,)) if scores else half)
    return Store.build(made)


class Loop:
    """A run of three steps without its folder."""

    def __init__(self, model: Any, method: Method) -> None:
        self.policy = Policy(model, packs=True)
        self.objective: ModuleType = classify if self.policy.is_scoring else sft
        settings: Choice = classify.Config(task="classes") if self.policy.is_scoring else sft.Config()
        self.settings = settings
        self.store = rows(scores=self.policy.is_scoring)
        self.optimizer = optimize.adamw(self.policy, Train(), 1e-2, method.rate_of)
        make = getattr(plugs.find("adapters", method.name), "companion", None)
        self.companion: Companion | None = None if make is None else make(self.policy.model, NUM_STEPS)

    def gradient(self, micro: step.Micro = _AT_ONCE) -> dict[str, Tensor]:
        """Of the mean over all rows, by the parameter's name."""
        self.optimizer.zero_grad()
        penalty = None if self.companion is None else self.companion.penalty
        step.accumulate(
            self.policy, self.store, range(4), micro, self.objective, self.settings, None, penalty
        )
        return {name: p.grad for name, p in learnt(self.policy).items() if p.grad is not None}

    def steps(self, first: int, last: int) -> None:
        """The steps ``first`` to ``last``, counted from 1."""
        self.policy.train()
        for number in range(first, last + 1):
            step.seed(0, number, 0)
            self.gradient()
            self.optimizer.step()
            if self.companion is not None:
                self.companion.after_step(number)

    def save(self, folder: Path, number: int) -> None:
        """As the engine does it."""
        kept = None if self.companion is None else self.companion.state()
        checkpoint.write(folder, self.policy, self.optimizer, {"step": number}, kept)

    def go_on(self, folder: Path) -> None:
        """From the newest checkpoint in ``folder``."""
        found, _ = checkpoint.newest(folder)
        assert found is not None
        checkpoint.restore(found, self.policy, self.optimizer)
        if self.companion is not None:
            self.companion.restore(found.companion)


class LoopContract(AdapterContract):
    """Subclass, and give ``config``."""

    def test_the_cut_into_packs_never_matters(self, config: Method, family: str) -> None:
        loop = Loop(self.shaken(family, config).eval(), config)
        whole, alone = loop.gradient(), loop.gradient(_ALONE)
        assert whole.keys() == alone.keys()
        for name, gradient in whole.items():
            torch.testing.assert_close(alone[name], gradient, atol=1e-5, rtol=1e-4, msg=name)

    def test_it_goes_on_to_the_same_bits(self, config: Method, family: str, tmp_path: Path) -> None:
        loop = Loop(self.prepared(family, config), config)
        loop.steps(1, 2)
        loop.save(tmp_path, 2)
        loop.steps(3, NUM_STEPS)
        again = Loop(self.prepared(family, config), config)
        again.go_on(tmp_path)
        again.steps(3, NUM_STEPS)
        expected, got = learnt(loop.policy), learnt(again.policy)
        assert got.keys() == expected.keys()
        assert all(torch.equal(got[name], expected[name]) for name in expected)
