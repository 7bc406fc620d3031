"""The suite that every objective joins, ours or a stranger's: subclass, and give the module in one fixture.

class TestMyObjective(ObjectiveContract):
    @pytest.fixture
    def objective(self):
        return my_objective

What the loss gets follows from what the module declares: batches of its ``EXAMPLES``, log-probabilities or
scores as it ``NEEDS``, weights and mismatched answers where it asks for them. An objective whose examples or
numbers are others overrides ``example`` or ``given``.
"""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import get_args

import numpy as np
import torch

from ..data.cache import Store
from ..data.examples import KINDS
from ..data.layout import Batch, Segments, lay
from ..data.mismatch import mismatched
from ..data.pack import batch as lay_rows
from ..recipe.schema import Choice

NUM_ROWS = 4


def logps_of(batch: Batch) -> torch.Tensor:
    """Log-probabilities that depend on the example and the place in it, not on the pack; float32 ``[n]``."""
    rows = torch.tensor(batch.rows, dtype=torch.long)[batch.branches]
    return -(0.3 + 0.1 * rows + 0.07 * batch.targets).float()


def scores_of(batch: Batch, num_scores: int = 1) -> torch.Tensor:
    """Scores that depend on the example and the length of the branch, not on the pack; float32 ``[b, k]``."""
    lengths = batch.per_branch(torch.ones(batch.num_learnt))
    first = 0.3 * torch.tensor(batch.rows) - 0.2 * lengths
    return torch.stack([first + 0.1 * place for place in range(num_scores)], dim=1).float()


def _branch(length: int, first: int = 5) -> tuple[list[int], list[bool]]:
    return list(range(first, first + length)), [True] * length


class ObjectiveContract:
    """Every test takes the fixture ``objective``."""

    def example(self, objective: ModuleType, row: int) -> Segments:
        """One of ``NUM_ROWS`` examples of different lengths and prompts; every other ranking has three
        answers.
        """
        prompt = [3, 4 + row]
        if objective.EXAMPLES == "preference":
            return Segments(
                prompt, tuple(_branch(row + k + 1, 5 + k) for k in range(2 + row % 2)), (float("nan"),)
            )
        if objective.EXAMPLES == "verdict":
            return Segments(prompt, (_branch(row + 1),), (float(row % 2),))
        return Segments(prompt, (_branch(row + 1),))

    def given(self, objective: ModuleType, batch: Batch) -> torch.Tensor:
        """What the policy would give."""
        return logps_of(batch) if objective.NEEDS == ("logps",) else scores_of(batch)

    def store(self, objective: ModuleType) -> Store:
        """All examples, with what the engine adds to them."""
        store = Store.build(self.example(objective, row) for row in range(NUM_ROWS))
        if hasattr(objective, "arrange"):
            store = objective.arrange(store, objective.Config())
        if getattr(objective.Config(), "needs_mismatched", False):
            store = replace(store, mismatched=_with_reference(mismatched(store, seed=0, max_length=64)))
        return _with_reference(store)

    def pack(self, objective: ModuleType, *rows: int) -> Batch:
        """Some of the examples in one row of tokens; what a first pass finds, it finds on all of them."""
        store = self.store(objective)
        batch = lay_rows(store, rows)
        if store.mismatched is None:
            return batch
        first = lay_rows(store.mismatched, range(NUM_ROWS))
        return replace(batch, shared=objective.first_pass(logps_of(first), first, objective.Config()))

    def test_says_what_it_is(self, objective: ModuleType) -> None:
        assert "=" in (objective.__doc__ or ""), "the docstring holds the equation"
        assert objective.EXAMPLES in KINDS
        assert objective.NEEDS
        assert issubclass(objective.Config, Choice)
        (name,) = get_args(objective.Config.model_fields["name"].annotation)
        assert objective.Config().name == name == objective.__name__.rpartition(".")[2]

    def test_loss_is_one_differentiable_number_in_float32(self, objective: ModuleType) -> None:
        batch = self.pack(objective, 0, 1, 2)
        given = self.given(objective, batch).requires_grad_()
        loss, _ = objective.loss(given, batch, objective.Config())
        assert loss.shape == ()
        assert loss.dtype == torch.float32
        (gradient,) = torch.autograd.grad(loss, given)
        assert torch.isfinite(gradient).all()
        assert (gradient != 0).any()

    def test_metrics_are_the_declared_numbers_and_hold_no_graph(self, objective: ModuleType) -> None:
        batch = self.pack(objective, 1, 2)
        given = self.given(objective, batch).requires_grad_()
        _, metrics = objective.loss(given, batch, objective.Config())
        assert set(metrics) == set(getattr(objective, "METRICS", ()))
        for name, value in metrics.items():
            assert value.shape == (), name
            assert not value.requires_grad, name

    def test_it_is_a_pure_function(self, objective: ModuleType) -> None:
        batch = self.pack(objective, 0, 3)
        given = self.given(objective, batch)
        before = given.clone()
        first, _ = objective.loss(given, batch, objective.Config())
        second, _ = objective.loss(given, batch, objective.Config())
        assert torch.equal(first, second)
        assert torch.equal(given, before)

    def test_packs_add_up(self, objective: ModuleType) -> None:
        """One pack of three examples equals three packs of one: loss, metrics and denominator."""
        config = objective.Config()
        whole, parts = self.pack(objective, 0, 1, 2), [self.pack(objective, row) for row in range(3)]
        loss, metrics = objective.loss(self.given(objective, whole), whole, config)
        pieces = [objective.loss(self.given(objective, part), part, config) for part in parts]
        torch.testing.assert_close(loss, sum(piece for piece, _ in pieces), rtol=1e-6, atol=1e-6)
        for name, value in metrics.items():
            torch.testing.assert_close(value, sum(more[name] for _, more in pieces), rtol=1e-6, atol=1e-6)
        assert objective.denominator(whole) == sum(objective.denominator(part) for part in parts) > 0

    def test_an_empty_pack_counts_nothing(self, objective: ModuleType) -> None:
        empty = lay([])
        if objective.EXAMPLES in ("text", "conversation"):
            empty = lay([(0, Segments([3, 4], (([5], [False]),)))])
        assert objective.denominator(empty) == 0


def _with_reference(store: Store) -> Store:
    """Log-probabilities under a reference that no policy above equals."""
    return replace(store, reference=np.linspace(-1.5, -0.2, int(store.num_learnt.sum()), dtype=np.float32))
