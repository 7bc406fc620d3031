"""One optimizer step: packs, log-probabilities, objective, backward, one denominator, clip, move.

Every reduction is a sum over the whole step's denominator, so that one pack of 8 examples equals 8 packs of
one, on one process or several: gradients are summed over processes, never averaged over means.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..data import pack
from ..data.cache import Store
from ..data.layout import Batch
from ..models.policy import Policy
from ..recipe.errors import RunError
from ..recipe.messages import join, say
from ..recipe.schema import Choice


@dataclass(frozen=True, slots=True)
class Micro:
    """How a step's work is cut: tokens a forward pass, this process and how many there are."""

    tokens: int
    rank: int = 0
    world: int = 1
    padded: bool = False
    """Rows of a pass are padded to the longest."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step did, over all processes."""

    loss: float
    grad_norm: float
    num_learnt: int
    num_tokens: int
    metrics: dict[str, float]
    """The objective's other numbers, each a mean over the same denominator as the loss."""


_EXAMPLES_AT_ONCE = 512
"""Held-out examples that are packed together; packing looks at every row for every example."""


def seed(run_seed: int, step: int, rank: int) -> None:
    """Gives the step random numbers (dropout) that depend on the three numbers only, not on what was drawn
    before: a resumed run needs no random state, on one process or many.
    """
    torch.manual_seed(int(np.random.SeedSequence((run_seed, step, rank)).generate_state(1)[0]))


def share_of_packs(store: Store, examples: Sequence[int], micro: Micro) -> list[list[int]]:
    """This process's packs of the step's examples. All processes compute the same cut."""
    lengths = [int(store.lengths[index]) for index in examples]
    rows = pack.packs(examples, lengths, micro.tokens, micro.world, padded=micro.padded)
    return rows[micro.rank :: micro.world]


def accumulate(
    policy: Policy,
    store: Store,
    examples: Sequence[int],
    micro: Micro,
    objective: ModuleType,
    config: Choice,
    accelerator: Any,
    penalty: Callable[[], Tensor] | None = None,
) -> Outcome:
    """Runs forward and backward over the step's examples, leaving the gradient of the mean in ``.grad``.
    ``penalty`` is the method's own on its weights; it is not in the loss that is reported.

    Raises RunError, naming the rows, where a pack's loss or the step's gradient is no number.
    """
    batches = [pack.batch(store, indices) for indices in share_of_packs(store, examples, micro)]
    counts = torch.tensor(
        [sum(getter(b) for b in batches) for getter in (objective.denominator, _learnt, _tokens)]
    )
    denominator, num_learnt, num_tokens = (int(n) for n in _summed(counts, policy, accelerator))
    sums = Sums(objective)
    shared = first_pass(policy, store, examples, micro, objective, config, accelerator)
    for batch in batches:
        batch = replace(batch, shared=shared)
        loss, metrics = objective.loss(_needed(policy, batch, objective), batch, config)
        (loss / max(1, denominator)).backward()
        sums.add(loss, metrics)
        if not math.isfinite(sums.loss):
            raise RunError(not_a_number(store, batch.rows, loss.item()))
    if penalty is not None:
        (penalty() / micro.world).backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad for p in policy.parameters() if p.grad is not None]
    if micro.world > 1:
        gradients = _reduce_gradients(policy, accelerator)
    norm = torch.nn.utils.get_total_norm(gradients)
    if not torch.isfinite(norm):
        raise RunError(not_a_number(store, examples, norm.item(), of_gradient=True))
    mean, metrics = sums.means(denominator, policy, accelerator)
    return Outcome(mean, float(norm), num_learnt, num_tokens, metrics)


def merged(outcomes: Sequence[Outcome]) -> Outcome:
    """Several updates as one step: counts are summed, the rest are means; without any, nothing was done."""
    num = max(1, len(outcomes))
    names = outcomes[0].metrics if outcomes else ()
    return Outcome(
        sum(one.loss for one in outcomes) / num,
        sum(one.grad_norm for one in outcomes) / num,
        sum(one.num_learnt for one in outcomes),
        sum(one.num_tokens for one in outcomes),
        {name: sum(one.metrics[name] for one in outcomes) / num for name in names},
    )


def move(
    policy: nn.Module,
    optimizer: torch.optim.Optimizer,
    learning_rate: float,
    max_norm: float | None,
    norm: float,
    after: Callable[[], None] | None = None,
) -> None:
    """Clips the gradient, whose norm is known, to ``max_norm``; sets the step size, steps, does what the
    method does ``after`` a step, forgets the gradient.
    """
    if max_norm is not None and norm > max_norm:
        torch.nn.utils.clip_grads_with_norm_(
            [p for p in policy.parameters() if p.grad is not None], max_norm, torch.tensor(norm)
        )
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get("rate", 1.0)
    optimizer.step()
    if after is not None:
        after()
    optimizer.zero_grad(set_to_none=True)


@torch.no_grad()
def held_out_loss(
    policy: Policy,
    store: Store,
    micro: Micro,
    objective: ModuleType,
    config: Choice,
    accelerator: Any,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[float, dict[str, float], int]:
    """The objective's mean over all held-out examples, its metrics, and their denominator."""
    was_training = policy.training
    policy.eval()
    sums, count, num_done = Sums(objective), 0, 0
    shared = first_pass(policy, store, range(len(store)), micro, objective, config, accelerator)
    for start in range(0, len(store), _EXAMPLES_AT_ONCE):
        examples = range(start, min(start + _EXAMPLES_AT_ONCE, len(store)))
        for indices in share_of_packs(store, examples, micro):
            batch = replace(pack.batch(store, indices), shared=shared)
            sums.add(*objective.loss(_needed(policy, batch, objective), batch, config))
            count += objective.denominator(batch)
            num_done += len(indices) * micro.world
            if on_progress is not None and num_done < len(store):
                on_progress(num_done, len(store))
    if on_progress is not None:
        on_progress(len(store), len(store))
    policy.train(was_training)
    count = int(_summed(torch.tensor([count]), policy, accelerator)[0])
    return (*sums.means(count, policy, accelerator), count)


@torch.no_grad()
def first_pass(
    policy: Policy,
    store: Store,
    examples: Sequence[int],
    micro: Micro,
    objective: ModuleType,
    config: Choice,
    accelerator: Any,
) -> Tensor | None:
    """What the objective's ``first_pass`` finds on the mismatched answers of ``examples``, summed over packs
    and processes; None where there are none. In evaluation mode: it is an estimate, and nothing learns from
    it.
    """
    if store.mismatched is None:
        return None
    was_training = policy.training
    policy.eval()
    found = []
    for start in range(0, len(examples), _EXAMPLES_AT_ONCE):
        for indices in share_of_packs(store.mismatched, examples[start : start + _EXAMPLES_AT_ONCE], micro):
            batch = pack.batch(store.mismatched, indices)
            found.append(objective.first_pass(policy(batch), batch, config).cpu())
    policy.train(was_training)
    total = torch.stack(found).sum(0) if found else torch.zeros(objective.FIRST_PASS)
    return _summed(total, policy, accelerator).cpu()


class Sums:
    """The loss and the metrics of an objective, summed over packs; double precision, on the CPU.

    An objective whose packs have metrics names them in ``METRICS``, so that a process without a pack adds
    zeros in the same places.
    """

    def __init__(self, objective: ModuleType) -> None:
        self._names = tuple(getattr(objective, "METRICS", ()))
        self._sums = torch.zeros(1 + len(self._names), dtype=torch.float64)

    @property
    def loss(self) -> float:
        return float(self._sums[0])

    def add(self, loss: Tensor, metrics: dict[str, Tensor]) -> None:
        assert set(metrics) == set(self._names), "METRICS names what loss() returns"
        values = [loss.detach(), *(metrics[name] for name in self._names)]
        self._sums += torch.stack([value.double() for value in values]).cpu()

    def means(self, count: int, policy: Policy, accelerator: Any) -> tuple[float, dict[str, float]]:
        """Over all processes, by the step's denominator."""
        loss, *metrics = (_summed(self._sums, policy, accelerator) / max(1, count)).tolist()
        return loss, dict(zip(self._names, metrics, strict=True))


def _needed(policy: Policy, batch: Batch, objective: ModuleType) -> Tensor | dict[str, Tensor]:
    """What the objective asks the policy for: ``logps`` [n] of the learnt tokens, ``scores``, or several
    numbers of the learnt tokens by name.
    """
    need, *more = objective.NEEDS
    if more:
        return policy.measure(batch, more)
    given: Tensor = policy(batch) if need == "logps" else policy.scores(batch)
    return given


def _learnt(batch: Batch) -> int:
    return batch.num_learnt


def _tokens(batch: Batch) -> int:
    return batch.num_tokens


def any_process(flag: bool, policy: Policy, accelerator: Any) -> bool:
    """True on all processes where it is true on one."""
    return bool(_summed(torch.tensor([int(flag)]), policy, accelerator)[0])


def not_a_number(store: Store, examples: Sequence[int], value: float, *, of_gradient: bool = False) -> str:
    """Names the rows on which the loss or the gradient is infinite or NaN."""
    rows = store.where(examples)
    return say(
        "The {what} became {value} on the rows {rows}{more}. Lower train.learning_rate, use "
        "train.precision=fp32, or look at those rows. No weight has been touched by it, "
        "nor any checkpoint.",
        "在第 {rows}{more} 行上{what}变为 {value}。请降低 train.learning_rate、使用 train.precision=fp32，"
        "或检查这些行。权重未受影响，已有检查点完好。",
        what=say("gradient", "梯度") if of_gradient else say("loss", "损失"),
        value=value,
        rows=join(rows[:20]),
        more=" …" if len(rows) > 20 else "",
    )


def _summed(values: Tensor, policy: Policy, accelerator: Any) -> Tensor:
    """The sum over processes."""
    if accelerator is None or accelerator.num_processes == 1:
        return values
    reduced = accelerator.reduce(values.to(policy.device), reduction="sum")
    assert isinstance(reduced, Tensor)
    return reduced


def _reduce_gradients(policy: Policy, accelerator: Any) -> list[Tensor]:
    """Sums gradients over processes in one message; a process that had no pack contributes zeros."""
    parameters = [p for p in policy.parameters() if p.requires_grad]
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])
    flat = accelerator.reduce(flat, reduction="sum")
    start = 0
    for parameter in parameters:
        parameter.grad = flat[start : start + parameter.numel()].view_as(parameter)
        start += parameter.numel()
    return [p.grad for p in parameters if p.grad is not None]
