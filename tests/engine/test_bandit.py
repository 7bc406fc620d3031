"""A bandit whose every number is known: a softmax over a few arms, one token an answer.

The hidden state is the vector of logits and the head is the identity, so the engine's own steps run on it,
and probabilities and divergences are closed forms.
"""

from __future__ import annotations

from collections.abc import Collection
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attune.data.cache import Store
from attune.data.layout import Batch, Segments
from attune.engine import step
from attune.engine.conjugate import TrustRegion
from attune.models.logps import Head, logps_and_entropy
from attune.objectives import grpo, ppo, rloo, trpo
from attune.objectives._online import Experience, Online

REWARDS = torch.tensor([0.1, 0.5, 0.9, 0.3])
BEST, NUM_ANSWERS = 2, 24
MICRO = step.Micro(1000)


class Bandit(nn.Module):
    """The part of a Policy that the engine asks."""

    has_states = True
    device = torch.device("cpu")

    def __init__(self, num_arms: int = 4) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(num_arms))
        self.value = nn.Parameter(torch.zeros(()))
        self.layer = nn.Linear(num_arms, num_arms, bias=False).requires_grad_(False)
        self.layer.weight.copy_(torch.eye(num_arms))
        self.base = SimpleNamespace(get_output_embeddings=lambda: self.layer)

    @property
    def scaled_head(self) -> Head:
        return Head(self.layer.weight)

    @property
    def probabilities(self) -> Tensor:
        return self.logits.detach().softmax(0)

    def states(self, batch: Batch) -> Tensor:
        return self.logits[None].repeat(batch.num_learnt, 1)

    def measure(self, batch: Batch, also: Collection[str] = ()) -> dict[str, Tensor]:
        found, entropy = logps_and_entropy(self.states(batch), batch.targets, self.scaled_head)
        assert entropy is not None
        values = self.value.expand(batch.num_learnt)
        return {"logps": found, "entropy": entropy, "values": values}

    def forward(self, batch: Batch) -> Tensor:
        return self.measure(batch)["logps"]


def pulled(
    bandit: Bandit, objective: ModuleType, config: Online, arms: list[int], rewards: Tensor = REWARDS
) -> Store:
    """A rollout: these arms, what they earned, and what the objective makes of it."""
    store = Store.build([Segments([0], tuple(([arm], [True]) for arm in arms))])
    logps = bandit.probabilities.log()[arms]
    values = bandit.value.detach().expand(len(arms)).clone()
    seen = Experience(rewards[arms], (len(arms),), (1,) * len(arms), logps, logps, values)
    given = objective.estimate(seen, config, config.beta)
    return Store(
        store.ids,
        store.learn,
        store.segments,
        store.examples,
        store.origins,
        given={name: part.numpy() for name, part in given.items()},
    )


def drawn(bandit: Bandit, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.multinomial(bandit.probabilities, NUM_ANSWERS, True, generator=generator).tolist()


def trust_region(bandit: Bandit, config: trpo.Config) -> TrustRegion:
    setup: Any = SimpleNamespace(
        recipe=SimpleNamespace(objective=config, train=SimpleNamespace(learning_rate=None)),
        policy=bandit,
        objective=trpo,
        accelerator=None,
        micro=MICRO,
        notices=[],
    )
    bandit.value.requires_grad_(False)
    return TrustRegion(setup)


def descend(bandit: Bandit, optimizer: Any, objective: ModuleType, config: Online, store: Store) -> None:
    outcome = step.accumulate(bandit, store, [0], MICRO, objective, config, None)  # type: ignore[arg-type]
    step.move(bandit, optimizer, optimizer.param_groups[0]["lr"], None, outcome.grad_norm)


@pytest.mark.parametrize(
    ("objective", "config"),
    [
        (grpo, grpo.Config()),
        (grpo, grpo.Config(scale="none", average="token", beta=0.01)),
        (rloo, rloo.Config()),
        (ppo, ppo.Config(inner_epochs=3)),
    ],
    ids=["grpo", "grpo-variant", "rloo", "ppo"],
)
def test_the_right_arm_is_found(objective: ModuleType, config: Any) -> None:
    bandit = Bandit()
    optimizer = torch.optim.Adam(bandit.parameters(), lr=0.1)
    for at in range(60):
        store = pulled(bandit, objective, config, drawn(bandit, at))
        for _ in range(config.inner_epochs):
            descend(bandit, optimizer, objective, config, store)
    assert bandit.probabilities[BEST] > 0.9


def test_trpo_finds_it_and_every_step_keeps_to_its_bound() -> None:
    """The divergence is a closed form here: sum over arms of p log(p / q)."""
    bandit, config = Bandit(), trpo.Config(max_kl=0.02)
    region = trust_region(bandit, config)
    largest = 0.0
    for at in range(60):
        before = bandit.probabilities.double()
        outcome = region.update(pulled(bandit, trpo, config, drawn(bandit, at)), [0])
        kl = float((before * (before / bandit.probabilities.double()).log()).sum())
        assert kl <= config.max_kl * (1 + 1e-4)
        assert outcome.metrics["step_kl"] == pytest.approx(kl, abs=1e-6)
        largest = max(largest, kl)
    assert largest > 0.5 * config.max_kl, "the bound is used, not just kept"
    assert bandit.probabilities[BEST] > 0.9


def test_the_trust_region_step_is_the_natural_gradient() -> None:
    """Softmax: F = diag(p) - p p^T and g = F times the arms' rewards, so the step is along these."""
    bandit, config = Bandit(), trpo.Config(max_kl=1e-4, damping=0.0, cg_iterations=4)
    arms = [0, 1, 2, 3] * 6
    trust_region(bandit, config).update(pulled(bandit, trpo, config, arms), [0])
    moved = bandit.logits.detach() - bandit.logits.detach().mean()
    wanted = REWARDS - REWARDS.mean()
    torch.testing.assert_close(moved / moved.norm(), wanted / wanted.norm(), rtol=1e-3, atol=1e-4)


def test_a_step_that_helps_nothing_is_not_taken() -> None:
    bandit, config = Bandit(), trpo.Config()
    store = pulled(bandit, trpo, config, [1, 1, 1, 1])
    outcome = trust_region(bandit, config).update(store, [0])
    assert outcome.metrics == {"step_kl": 0.0, "step_share": 0.0}
    assert not bandit.logits.any()


@pytest.mark.parametrize(("clip", "moves"), [(0.0, False), (0.2, True)])
def test_ppo_with_clip_zero_does_not_move_after_its_first_inner_step(clip: float, moves: bool) -> None:
    """Two arms: the first step moves both the right way, and every ratio is then outside the clip."""
    bandit, config = Bandit(2), ppo.Config(clip_low=clip, clip_high=clip, value_weight=0.0)
    optimizer = torch.optim.SGD(bandit.parameters(), lr=0.05)
    store = pulled(bandit, ppo, config, [0, 1, 1, 0], torch.tensor([1.0, 0.0]))
    descend(bandit, optimizer, ppo, config, store)
    once = bandit.logits.detach().clone()
    assert once[0] > 0 > once[1]
    for _ in range(3):
        descend(bandit, optimizer, ppo, config, store)
    assert torch.equal(bandit.logits.detach(), once) is not moves
