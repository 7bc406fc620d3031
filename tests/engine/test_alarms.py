"""Alarms ring once, for the right reason, and are silent up to their bounds."""

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
RINGS = [
    (
        "sampling",
        {"sampling_kl": 0.2},
        "Step 2: what samples is 0.2 nats a token from the policy (limit 0.1)",
    ),
    ("entropy", {"entropy": 0.1}, "Step 2: entropy collapse: 0.1 nats a token, 2 at the start;"),
    ("kl", {"kl": 0.6}, "Step 2: the policy is 0.6 nats a token from the reference (limit 0.5)."),
    ("no_signal", {"no_signal_share": 1.0}, "Step 2: no signal: to every prompt all answers earned the same"),
    (
        "length",
        {"reward": 0.4, "answer_length": 50.0},
        "Step 2: the reward rose to 0.4, and the answers went from 20 to 50",
    ),
    (
        "length",
        {"reward": 0.4, "answer_length": 8.0},
        "Step 2: the reward rose to 0.4, and the answers went from 20 to 8",
    ),
    (
        "truncated",
        {"truncated_share": 0.6},
        "Step 2: 60% of the answers were cut at objective.max_new_tokens.",
    ),
]
SILENT = [
    ("sampling", {"sampling_kl": 0.1}),
    ("entropy", {"entropy": 0.2}),
    ("kl", {"kl": 0.5}),
    ("no_signal", {"no_signal_share": 0.99}),
    ("length", {"reward": 0.4}),
    ("length", {"reward": 0.4, "answer_length": 40.0}),
    ("length", {"reward": 0.4, "answer_length": 10.0}),
    ("length", {"reward": 0.3, "answer_length": 50.0}),
    ("length", {"answer_length": 8.0}),
    ("truncated", {"truncated_share": 0.5}),
]


def rung(kept: dict[str, float]) -> set[str]:
    return {name.removeprefix("alarm.") for name in kept if name.startswith("alarm.")}


@pytest.mark.parametrize(("name", "change", "text"), RINGS)
def test_each_rings_once(name: str, change: dict[str, float], text: str) -> None:
    kept: dict[str, float] = {}
    assert alarms.ring(1, CALM, kept, None) == []
    (said,) = alarms.ring(2, {**CALM, **change}, kept, None)
    assert said.startswith(text)
    assert rung(kept) == {name}
    assert alarms.ring(3, {**CALM, **change}, kept, None) == []


@pytest.mark.parametrize(("name", "change"), SILENT)
def test_up_to_its_bound_none_rings(name: str, change: dict[str, float]) -> None:
    kept: dict[str, float] = {}
    alarms.ring(1, CALM, kept, None)
    assert alarms.ring(2, {**CALM, **change}, kept, None) == [], name


def test_every_alarm_is_here() -> None:
    """When everything is wrong, those ring that are tested above, each with a sentence of its own."""
    kept: dict[str, float] = {}
    alarms.ring(1, CALM, kept, None)
    wrong = {key: value for _, change, _ in RINGS for key, value in change.items()}
    assert len(alarms.ring(2, {**CALM, **wrong}, kept, None)) == len(rung(kept))
    assert rung(kept) == {name for name, *_ in RINGS} == {name for name, _ in SILENT}


def test_what_was_first_and_what_has_rung_goes_with_a_checkpoint() -> None:
    kept: dict[str, float] = {}
    alarms.ring(1, CALM, kept, None)
    alarms.ring(2, {**CALM, "kl": 0.6}, kept, None)
    again = dict(kept)
    assert alarms.ring(3, {**CALM, "kl": 0.6, "entropy": 0.3}, again, None) == []
    (said,) = alarms.ring(4, {**CALM, "kl": 0.6, "entropy": 0.1}, again, None)
    assert said.startswith("Step 4: entropy collapse: 0.1 nats a token, 2 at the start;")


def test_a_target_of_its_own_sets_the_limit() -> None:
    assert "(limit 0.02)" in alarms.ring(1, {**CALM, "kl": 0.03}, {}, 0.01)[0]
    assert alarms.ring(1, {**CALM, "kl": 0.019}, {}, 0.01) == []


def test_a_run_without_a_reference_has_no_divergence() -> None:
    without = {name: value for name, value in CALM.items() if name != "kl"}
    assert alarms.ring(1, without, {}, None) == []
