"""``attune grpo``, ``rloo``, ``ppo`` and ``trpo``: each asks for its own objective, with its rewards."""

from __future__ import annotations

from typing import Any

import pytest

from attune.cli import grpo, sentences
from attune.cli.main import run
from attune.engine.events import EvalEnd, RolloutEnd, StepEnd


@pytest.mark.parametrize("name", ["grpo", "rloo", "ppo", "trpo"])
def test_the_recipe(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(grpo, "run", lambda recipe, **options: asked.append((recipe, options)))
    words = ["--model", "m", "--prompts", "p.json", "--reward", "exact_number", "-r", "length:20*0.1"]
    assert run([name, *words, "objective.beta=0.3", "--fresh"]) == 0
    ((recipe, options),) = asked
    assert (recipe.objective.name, recipe.objective.beta) == (name, 0.3)
    assert recipe.objective.rewards == ["exact_number", "length:20*0.1"]
    assert [source.path for source in recipe.data.train] == ["p.json"]
    assert options == {"fresh": True, "accept_changes": False, "quiet": False}


def test_rewards_may_stand_in_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(grpo, "run", lambda recipe, **_: asked.append(recipe))
    assert run(["grpo", "-m", "m", "-p", "p.json", "objective.rewards=[exact, json]"]) == 0
    assert asked[0].objective.rewards == ["exact", "json"]


@pytest.mark.parametrize("name", ["grpo", "rloo", "ppo", "trpo"])
def test_the_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "--reward, -r R What is rewarded: a verifier" in said
    assert "whose code then runs" in said


def test_an_option_of_another_method_is_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["trpo", "-m", "m", "-p", "p.json", "-r", "json", "objective.clip_low=0.1"]) == 2
    assert "clip_low" in capsys.readouterr().err


def test_samples_and_rewards_are_shown() -> None:
    shown = {"prompt": "2 + 2\n= ?", "answer": "x" * 90, "reward": 0.25}
    (line,) = sentences.samples(RolloutEnd(3, 8, 80, 10.0, 8.0, 0.5, [shown]))
    assert line == f"  step 3, reward 0.25: 2 + 2 = ? → {'x' * 59}…"
    assert sentences.samples(RolloutEnd(3, 8, 80, 10.0, 8.0, 0.5)) == []
    metrics = {"reward": 0.5, "kl": 0.01, "answer_length": 12.0, "entropy": 1.0}
    step = StepEnd(1, 2, 0.5, 0.1, 1e-3, 1.0, 5, 9, 3.0, 0.1, 1.0, 1.0, metrics)
    assert "reward 0.5  KL 0.01  tokens an answer 12" in sentences.numbers(step)


def test_the_evaluation_tells_the_reward() -> None:
    event = EvalEnd(4, -0.25, None, 9, True, {"reward": 0.25})
    assert sentences.evaluation(event) == "step 4: held-out reward 0.25 (best so far)"
