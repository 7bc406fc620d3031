"""The step of a trust region: natural gradient by conjugate gradients, then a search that keeps the bound.

    F x = g,    s = sqrt(2 max_kl / (x . F x)) x,    theta' = theta + 2^-k s   with the smallest k for which
    the surrogate has risen and the mean over tokens of KL(p_old || p) is at most max_kl

Schulman et al., arXiv 1502.05477, appendix C. F is the exact Fisher matrix of the trained parameters: the
mean over learnt tokens of J^T (diag(p) - p p^T) J, J the derivative of the logits. Its product with a vector
needs no matrix: J v is the derivative of J^T u by u (backward through the backward pass), and J^T w is one
more backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..data import pack
from ..data.cache import Store
from ..data.layout import Batch
from ..models.logps import curvature, divergence, logps
from ..models.policy import Policy
from ..objectives.trpo import Config
from ..recipe.errors import RecipeError
from ..recipe.messages import say
from . import step
from .setup import Setup


def conjugate_gradient(
    product: Callable[[Tensor], Tensor], wanted: Tensor, iterations: int, tolerance: float = 1e-10
) -> tuple[Tensor, Tensor]:
    """``x`` with ``product(x)`` near ``wanted``, and what is left of ``wanted``; both of its shape.

    Hestenes & Stiefel, 1952. ``product`` is a symmetric positive matrix times a vector. Stops early where the
    square of what is left is below ``tolerance`` times that of ``wanted``.
    """
    found, left, along = torch.zeros_like(wanted), wanted.clone(), wanted.clone()
    size = left @ left
    enough = tolerance * size
    for _ in range(iterations):
        if size <= enough:
            break
        moved = product(along)
        length = size / (along @ moved)
        found += length * along
        left -= length * moved
        size, before = left @ left, size
        along = left + (size / before) * along
    return found, left


def fisher_product(
    policy: Policy, batch: Batch, parameters: Sequence[nn.Parameter], vector: Tensor
) -> Tensor:
    """The sum over the learnt tokens of ``batch`` of their Fisher matrices, times ``vector``; flat."""
    with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no second derivative
        hidden = policy.states(batch)
        seed = torch.zeros_like(hidden, requires_grad=True)
        pulled = torch.autograd.grad(hidden, parameters, seed, create_graph=True, allow_unused=True)
        parts = torch.split(vector, [p.numel() for p in parameters])
        along = [(g.flatten() * v).sum() for g, v in zip(pulled, parts, strict=True) if g is not None]
        (pushed,) = torch.autograd.grad(torch.stack(along).sum(), seed, retain_graph=True)
        back = curvature(hidden.detach(), pushed, policy.scaled_head)
        found = torch.autograd.grad(hidden, parameters, back, allow_unused=True)
    return flat([torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)])


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """End to end, as one vector."""
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


class TrustRegion:
    """Takes the place of the optimizer where an objective says ``TRUST_REGION``."""

    def __init__(self, setup: Setup) -> None:
        assert isinstance(setup.recipe.objective, Config)
        self.setup, self.policy, self.config = setup, setup.policy, setup.recipe.objective
        self.parameters = [p for p in self.policy.parameters() if p.requires_grad]
        self._must_leave_the_head_alone()
        if setup.recipe.train.learning_rate is not None:
            text = say(
                "train.learning_rate does nothing here: objective=trpo finds its own step, as far as "
                "objective.max_kl allows.",
                "train.learning_rate 在此不起作用：objective=trpo 在 objective.max_kl 允许的范围内"
                "自行决定步长。",
            )
            setup.notices.append(("warning", text))

    def update(self, store: Store, examples: Sequence[int]) -> step.Outcome:
        """One step on the examples. Besides the gradient's outcome its metrics are ``step_kl``, what the
        policy moved (nats a token), and ``step_share``, how much of the full step was taken (0: none was
        good).
        """
        setup, config = self.setup, self.config
        outcome = step.accumulate(
            self.policy, store, examples, setup.micro, setup.objective, config, setup.accelerator
        )
        gradient = -flat([torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters])
        self.policy.zero_grad(set_to_none=True)
        batches = [pack.batch(store, own) for own in step.share_of_packs(store, examples, setup.micro)]
        count = max(1, outcome.num_learnt)

        def product(vector: Tensor) -> Tensor:
            found = [fisher_product(self.policy, batch, self.parameters, vector) for batch in batches]
            return self._summed(sum(found, torch.zeros_like(vector))) / count

        if not gradient.any():
            return replace(outcome, metrics={"step_kl": 0.0, "step_share": 0.0})
        damping = config.damping * (gradient @ product(gradient)) / (gradient @ gradient)
        found, left = conjugate_gradient(
            lambda vector: product(vector) + damping * vector, gradient, config.cg_iterations
        )
        curved = found @ (gradient - left)  # x . F x, damping included
        moved = found * (2 * config.max_kl / curved.clamp(min=1e-30)).sqrt()
        kl, share = self._search(batches, moved, outcome.loss, count)
        return replace(outcome, metrics={"step_kl": kl, "step_share": share})

    @torch.no_grad()
    def _search(
        self, batches: Sequence[Batch], moved: Tensor, loss: float, count: int
    ) -> tuple[float, float]:
        """Takes as much of the step as is good: its divergence and its share of the whole."""
        start = flat(self.parameters)
        old = [self.policy.states(batch) for batch in batches]
        for halvings in range(self.config.backtracks + 1):
            share = 0.5**halvings
            self._put(start + share * moved)
            new_loss, kl = self._looked_at(batches, old, count)
            if new_loss < loss and kl <= self.config.max_kl:
                return kl, share
        self._put(start)
        return 0.0, 0.0

    def _looked_at(self, batches: Sequence[Batch], old: Sequence[Tensor], count: int) -> tuple[float, float]:
        """The loss and the divergence from the policy that sampled, means over all learnt tokens."""
        sums, head = torch.zeros(2, dtype=torch.float64), self.policy.scaled_head
        for batch, before in zip(batches, old, strict=True):
            after = self.policy.states(batch)
            batch = batch.to(after.device)
            found, _ = self.setup.objective.loss(logps(after, batch.targets, head), batch, self.config)
            sums += torch.stack([found.double(), divergence(before, after, head).double().sum()]).cpu()
        loss, kl = (self._summed(sums) / count).tolist()
        return loss, kl

    def _put(self, values: Tensor) -> None:
        parts = torch.split(values, [p.numel() for p in self.parameters])
        for parameter, part in zip(self.parameters, parts, strict=True):
            parameter.copy_(part.view_as(parameter))

    def _summed(self, values: Tensor) -> Tensor:
        """The sum over processes."""
        accelerator: Any = self.setup.accelerator
        if accelerator is None or accelerator.num_processes == 1:
            return values
        found: Tensor = accelerator.reduce(values.to(self.policy.device), reduction="sum")
        return found.to(values.device)

    def _must_leave_the_head_alone(self) -> None:
        """Old and new policy are compared under one head."""
        layer = self.policy.base.get_output_embeddings()
        if self.policy.has_states and type(layer) is nn.Linear and not layer.weight.requires_grad:
            return
        raise RecipeError(
            say(
                "objective=trpo moves an adapter on the layers, and adapter={name} changes the "
                "output head (or the head stands not apart). Use adapter=lora without lm_head, or "
                "objective=ppo.",
                "objective=trpo 只移动各层上的适配器，而 adapter={name} 会改变输出层"
                "（或输出层无法单独取出）。"
                "请用不含 lm_head 的 adapter=lora，或 objective=ppo。",
                name=self.setup.recipe.adapter.name,
            )
        )
