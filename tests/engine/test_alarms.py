"""Alarms ring once, for the right reason."""

from __future__ import annotations

import pytest

from attune.engine import alarms

CALM = {
    "entropy": 2.0,
    "reward": 0.2,
    "reward_std": 0.1,
    "answer_length": 20.0,
    "no_signal_share": 0.0,
    "truncated_share": 0.0,
    "kl": 0.0,
}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"entropy": 0.1}, "Step 2: entropy collapse: 0.1 nats a token, 2 at the start;"),
        ({"kl": 0.6}, "Step 2: the policy is 0.6 nats a token from the reference (limit 0.5)."),
        ({"no_signal_share": 1.0}, "Step 2: no signal: to every prompt all answers earned the same"),
        (
            {"reward": 0.4, "answer_length": 50.0},
            "Step 2: the reward rose to 0.4, and the answers went from 20",
        ),
        (
            {"reward": 0.4, "answer_length": 8.0},
            "Step 2: the reward rose to 0.4, and the answers went from 20",
        ),
        ({"truncated_share": 0.6}, "Step 2: 60% of the answers were cut at objective.max_new_tokens."),
    ],
)
def test_each_rings_once(change: dict[str, float], text: str) -> None:
    kept: dict[str, float] = {}
    assert alarms.ring(1, CALM, kept, None) == []
    (rung,) = alarms.ring(2, {**CALM, **change}, kept, None)
    assert rung.startswith(text)
    assert alarms.ring(3, {**CALM, **change}, kept, None) == []


@pytest.mark.parametrize("change", [{"entropy": 0.3}, {"reward": 0.4}, {"answer_length": 50.0}, {"kl": 0.4}])
def test_what_is_no_reason(change: dict[str, float]) -> None:
    kept: dict[str, float] = {}
    alarms.ring(1, CALM, kept, None)
    assert alarms.ring(2, {**CALM, **change}, kept, None) == []


def test_a_target_of_its_own_sets_the_limit() -> None:
    assert "(limit 0.02)" in alarms.ring(1, {**CALM, "kl": 0.03}, {}, 0.01)[0]


def test_a_run_without_a_reference_has_no_divergence() -> None:
    without = {name: value for name, value in CALM.items() if name != "kl"}
    assert alarms.ring(1, without, {}, None) == []
