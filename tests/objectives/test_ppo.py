"""PPO: by hand, with both forms of the leash."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch

from attune.objectives import advantages, ppo

from .online_cases import LENGTHS, OnlineContract, batch_of, experience


class TestContract(OnlineContract):
    @pytest.fixture
    def objective(self) -> ModuleType:
        return ppo

    @pytest.fixture(params=[{}, {"kl": "loss", "entropy_weight": 0.1}])
    def config(self, request: pytest.FixtureRequest) -> ppo.Config:
        return ppo.Config(**request.param)


def test_the_reward_comes_with_the_last_token_and_the_leash_with_each() -> None:
    seen = experience()
    assert seen.reference is not None
    assert seen.values is not None
    given = ppo.estimate(seen, ppo.Config(gamma=0.9, lam=0.8), 0.2)
    rewards = -0.2 * (seen.logps - seen.reference)
    for place, reward in zip((1, 2, 5, 7), seen.rewards.tolist(), strict=True):
        rewards[place] += reward
    expected = advantages.gae(rewards, seen.values, LENGTHS, 0.9, 0.8)
    torch.testing.assert_close(given["returns"], expected + seen.values)
    torch.testing.assert_close(given["advantages"], advantages.whiten(expected))
    assert "reference" not in given


def test_the_leash_in_the_loss_leaves_the_reward_alone() -> None:
    seen = experience()
    given = ppo.estimate(seen, ppo.Config(kl="loss", lam=1.0), 0.2)
    assert seen.values is not None
    wanted = advantages.returns(advantages.at_the_end(seen.rewards, LENGTHS), LENGTHS, 1.0)
    torch.testing.assert_close(given["returns"], wanted)
    assert given["beta"].tolist() == pytest.approx([0.2] * 8)


def test_the_loss_by_hand() -> None:
    """One answer of two tokens: ratios e^0.5 (clipped at 1.2) and 1, advantages 1 and -1."""
    given = {
        "old": torch.tensor([-1.0, -2.0]),
        "advantages": torch.tensor([1.0, -1.0]),
        "values": torch.tensor([0.0, 0.0]),
        "returns": torch.tensor([1.0, 0.5]),
        "reference": torch.tensor([-1.0, -2.0]),
        "beta": torch.tensor([0.5, 0.5]),
    }
    config = ppo.Config(value_weight=0.1, value_clip=0.2, entropy_weight=0.01, kl="loss")
    seen = {
        "logps": torch.tensor([-0.5, -2.0]),
        "entropy": torch.tensor([3.0, 1.0]),
        "values": torch.tensor([0.8, 0.1]),
    }
    policy = -1.2 + 1.0
    # the first value has moved by 0.8: the error at 0.2 is larger; the second has moved by 0.1 only
    values = 0.5 * 0.8**2 + 0.5 * 0.4**2
    k3 = float(torch.tensor(-0.5).exp()) + 0.5 - 1
    expected = policy + 0.1 * values - 0.01 * 4.0 + 0.5 * k3
    batch = batch_of({name: torch.cat([part, part, part, part]) for name, part in given.items()}, (0,))
    loss, metrics = ppo.loss(seen, batch, config)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert float(metrics["value_loss"]) == pytest.approx(values, rel=1e-5)
    assert float(metrics["clip_share"]) == 1.0
    assert ppo.denominator(batch) == 2


def test_the_adaptive_leash() -> None:
    """A tenth of the relative error, of which at most a fifth counts."""
    config = ppo.Config(kl_target=0.1)
    assert ppo.adapted(1.0, 0.11, config) == pytest.approx(1.01)
    assert ppo.adapted(1.0, 5.0, config) == pytest.approx(1.02)
    assert ppo.adapted(1.0, 0.0, config) == pytest.approx(0.98)
    assert ppo.adapted(1.0, 5.0, ppo.Config()) == 1.0
