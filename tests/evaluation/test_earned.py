"""What answers earn in an evaluation: a run's own rewards, those that a person names, and their refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attune.cli.main import run as attune
from attune.data.examples import Origin, Prompt
from attune.data.layout import Segments
from attune.evaluation import compare, earned
from attune.evaluation.evaluate import evaluate
from attune.evaluation.questions import Question
from attune.evaluation.rewards import rewards
from attune.evaluation.score import Said, Scored
from attune.recipe.load import generation_of
from tests.evaluation.tiny_run import RECORD, save_base, save_reward_model, write_lines

FUNCTIONS = """
def long(answer, bonus):
    return len(answer) + bonus
"""
PROMPTS = [{"prompt": f"Table {n}?", "reference": "ten", "bonus": n / 10} for n in range(4)]


@pytest.fixture
def learnt(tmp_path: Path, base: Path) -> Path:
    """A finished run of GRPO, all of whose weights learnt: the base model in another place."""
    folder = tmp_path / "grpo"
    save_base(folder / "final", seed=3)
    (folder / "run.json").write_text(json.dumps({**RECORD, "objective": "grpo", "model": str(base)}))
    (tmp_path / "mine.py").write_text(FUNCTIONS)
    (folder / "recipe.yaml").write_text(
        f"objective: {{name: grpo, rewards: ['{tmp_path}/mine.py:long', 'length:2*0.5'], "
        f"max_new_tokens: 5}}\nmodel: {base}\ndata: a.json\nadapter: full\n"
    )
    write_lines(folder / "held_out.jsonl", PROMPTS)
    return folder


def test_a_run_is_scored_by_what_it_learnt_from(learnt: Path, base: Path) -> None:
    found = evaluate(learnt, against=base)
    assert found.generation["max_new_tokens"] == 5, "as much room as in the rollouts"
    ours = found.models[0]["scores"]
    assert list(ours)[-3:] == ["reward", "reward/mine.py:long", "reward/length:2"]
    assert {"length", "cut", "exact_match"} <= ours.keys()
    for number, row in enumerate(found.rows):
        for model in (0, 1):
            scores = row["scores"][model]
            part, short = scores["reward/mine.py:long"], scores["reward/length:2"]
            assert part - len(row["predictions"][model]) - number / 10 >= -1e-9, "white space counts too"
            assert scores["reward"] == pytest.approx(part + 0.5 * short)
    means = [one["scores"]["reward"]["mean"] for one in found.models]
    assert found.differences is not None
    assert found.differences["reward"]["mean"] == pytest.approx(means[0] - means[1])
    headers, rows = found.table()
    assert headers == ["metric", "grpo", "tiny-base", "difference"]
    assert [row[0] for row in rows][-3:] == ["reward", "mine.py:long", "length:2"]
    shown = (learnt / "scores.json").read_text()
    assert "reward/mine.py:long" in shown


def test_the_text_is_rewarded_as_it_was_generated() -> None:
    question = Question(Origin("a", 1), Prompt((), extra={"bonus": 1}))
    found = Scored(["x"], [{}], [], [Said(Segments([1], (([2], [True]),)), 0.0, " x ")])
    earned.add_rewards(found, [question], rewards(["regex:^x$"]))
    assert found.scores == [{"reward": 1.0}], "one part is the sum"
    spaces = rewards(["length:1", "regex:q"])
    earned.add_rewards(found, [question], spaces)
    assert found.scores == [{"reward": 1.0, "reward/length:1": 1.0, "reward/regex:q": 0.0}]
    names = [metric.name for metric in compare.metrics_in(["reward/b | c", "cut", "reward"])]
    assert names == ["cut", "reward", "reward/b | c"]


def test_any_model_by_a_named_reward(base: Path, tmp_path: Path) -> None:
    data = write_lines(tmp_path / "qa.jsonl", [{"question": "Hm?", "answer": "ten", "bonus": 3}])
    (tmp_path / "mine.py").write_text(FUNCTIONS)
    found = evaluate(base, str(data), rewards=[f"{tmp_path}/mine.py:long"])
    assert found.rows[0]["scores"][0]["reward"] >= 3, "the other columns are there for the reward"
    assert evaluate(base, str(data)).models[0]["scores"].keys() >= {"loss"}, "as ever without one"


def test_rows_without_a_reference(learnt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The run's own rewards are left out with a sentence; a named one is an error."""
    text = (learnt / "recipe.yaml").read_text().replace("length:2*0.5", "exact_number")
    (learnt / "recipe.yaml").write_text(text)
    bare = str(write_lines(tmp_path / "bare.jsonl", [{"prompt": "Hm?", "bonus": 0}]))
    found = evaluate(learnt, bare)
    assert "reward" not in found.models[0]["scores"]
    assert found.notes[0].startswith(
        "The run's own rewards are left out: exact_number compares with the right"
    )
    assert attune(["eval", str(learnt), "--data", bare, "--reward", "exact_number"]) == 2
    assert "and 1 of 1 rows have none" in capsys.readouterr().err


def test_a_model_that_gives_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = save_reward_model(tmp_path / "rm")
    data = write_lines(tmp_path / "p.jsonl", [{"prompt": "Hm?", "chosen": "a", "rejected": "b"}])
    assert attune(["eval", str(place), "--data", str(data), "--reward", "json"]) == 2
    assert (
        "gives scores, no answers: there is nothing to reward. Leave out --reward" in capsys.readouterr().err
    )


def test_the_room_of_an_answer(learnt: Path) -> None:
    assert generation_of(learnt, (), as_trained=True).max_new_tokens == 5
    assert generation_of(learnt, ["max_new_tokens=9"], as_trained=True).max_new_tokens == 9
    assert generation_of(learnt, ()).max_new_tokens > 5, "a chat has more"
