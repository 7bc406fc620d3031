"""``attune dpo``, ``kto``, ``orpo`` and ``simpo``: each asks for its own objective."""

from __future__ import annotations

from typing import Any

import pytest

from attune.cli import dpo, sentences
from attune.cli.main import run
from attune.engine.events import EvalEnd


@pytest.mark.parametrize("name", ["dpo", "kto", "orpo", "simpo"])
def test_the_recipe(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(dpo, "run", lambda recipe, **options: asked.append((recipe, options)))
    words = ["--model", "m", "--data", "prefs.json", "--seed", "7", "objective.beta=0.3", "--quiet"]
    assert run([name, *words]) == 0
    ((recipe, options),) = asked
    assert (recipe.objective.name, recipe.objective.beta, recipe.train.seed) == (name, 0.3, 7)
    assert (recipe.model.path, recipe.adapter.name) == ("m", "lora")
    assert options == {"fresh": False, "accept_changes": False, "quiet": True}


@pytest.mark.parametrize(
    ("name", "word"), [("dpo", "DPO"), ("kto", "KTO"), ("orpo", "ORPO"), ("simpo", "SimPO")]
)
def test_the_help(name: str, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    assert word in capsys.readouterr().out


def test_a_wrong_loss_is_told_with_those_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["dpo", "--model", "m", "--data", "d.json", "objective.loss=ippo"]) == 2
    said = capsys.readouterr().err
    assert "objective.loss: got the text 'ippo'. Allowed: sigmoid, sigmoid_norm, hinge" in said
    assert "Did you mean 'ipo'?" in said


def test_the_evaluation_tells_the_accuracy_and_no_perplexity() -> None:
    event = EvalEnd(4, 0.5, None, 9, False, {"accuracy": 0.715, "margin": 0.1})
    assert sentences.evaluation(event) == "step 4: held-out loss 0.5, accuracy 0.715"
