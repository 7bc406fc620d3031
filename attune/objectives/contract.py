"""The suite that every objective joins, ours or a stranger's: subclass, and give the module in one fixture.

class TestMyObjective(ObjectiveContract):
    @pytest.fixture
    def objective(self):
        return my_objective
"""

from __future__ import annotations

from types import ModuleType
from typing import get_args

import torch

from ..data.layout import Batch, Segments, lay
from ..recipe.schema import Choice

KINDS = ("conversation", "text")


def pack(*rows: int) -> Batch:
    """Examples of different lengths in one row: each has a prompt of 2 tokens and ``row + 1`` learnt ones."""
    examples = []
    for row in rows:
        branch = (list(range(5, 6 + row)), [True] * (row + 1))
        examples.append((row, Segments([3, 4], (branch,))))
    return lay(examples)


def logps_of(batch: Batch) -> torch.Tensor:
    """Log-probabilities that depend on the example and the place in it, not on the pack; float32 ``[n]``."""
    rows = torch.tensor(batch.rows)[batch.branches]
    return -(0.3 + 0.1 * rows + 0.07 * batch.targets).float()


class ObjectiveContract:
    """Every test takes the fixture ``objective``."""

    def test_says_what_it_is(self, objective: ModuleType) -> None:
        assert "=" in (objective.__doc__ or ""), "the docstring holds the equation"
        assert objective.EXAMPLES in KINDS
        assert objective.NEEDS
        assert issubclass(objective.Config, Choice)
        (name,) = get_args(objective.Config.model_fields["name"].annotation)
        assert objective.Config().name == name == objective.__name__.rpartition(".")[2]

    def test_loss_is_one_differentiable_number_in_float32(self, objective: ModuleType) -> None:
        batch = pack(0, 1, 2)
        logps = logps_of(batch).requires_grad_()
        loss, _ = objective.loss(logps, batch, objective.Config())
        assert loss.shape == ()
        assert loss.dtype == torch.float32
        (gradient,) = torch.autograd.grad(loss, logps)
        assert torch.isfinite(gradient).all()
        assert (gradient != 0).any()

    def test_metrics_are_numbers_that_hold_no_graph(self, objective: ModuleType) -> None:
        batch = pack(1, 2)
        _, metrics = objective.loss(logps_of(batch).requires_grad_(), batch, objective.Config())
        for name, value in metrics.items():
            assert value.shape == (), name
            assert not value.requires_grad, name

    def test_it_is_a_pure_function(self, objective: ModuleType) -> None:
        batch = pack(0, 3)
        logps = logps_of(batch)
        before = logps.clone()
        first, _ = objective.loss(logps, batch, objective.Config())
        second, _ = objective.loss(logps, batch, objective.Config())
        assert torch.equal(first, second)
        assert torch.equal(logps, before)

    def test_packs_add_up(self, objective: ModuleType) -> None:
        """One pack of three examples equals three packs of one, in the loss and in the denominator."""
        config = objective.Config()
        whole, parts = pack(0, 1, 2), [pack(0), pack(1), pack(2)]
        loss, _ = objective.loss(logps_of(whole), whole, config)
        split = sum(objective.loss(logps_of(part), part, config)[0] for part in parts)
        torch.testing.assert_close(loss, split, rtol=1e-6, atol=1e-6)
        assert objective.denominator(whole) == sum(objective.denominator(part) for part in parts) > 0

    def test_a_pack_without_learnt_tokens_counts_nothing(self, objective: ModuleType) -> None:
        batch = lay([(0, Segments([3, 4], (([5], [False]),)))])
        loss, _ = objective.loss(torch.zeros(0), batch, objective.Config())
        assert float(loss) == 0.0
        assert objective.denominator(batch) == 0
