"""Preferences and rewards through the command line: what is said of bad input; reward models as rewards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from attune.cli.main import run
from attune.evaluation.scorer import RewardModel
from tests.evaluation.tiny_run import save_base, save_reward_model, write_lines

REWARDS = """
def raises(answer):
    return {}["nothing"]

def nan(answer):
    return float("nan")

def two(answer):
    return [1.0, 2.0]

def same(answer):
    return 1.0
"""
QUIET = ["train.max_steps=1", "train.precision=fp32", "train.threads=1", "data.check=off", "--held-out", "0"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_base(tmp_path_factory.mktemp("policy") / "base"))


def said(capsys: pytest.CaptureFixture[str], words: list[str], code: int = 2) -> str:
    assert run(words) == code
    shown = capsys.readouterr()
    return shown.out + shown.err


PAIR = {"prompt": "Tea?", "chosen": "Jasmine.", "rejected": "None."}


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"rejected": "Jasmine."}, "the answers compared are the same"),
        ({"rejected": " "}, "rejected is empty"),
        ({"chosen": ""}, "chosen is empty"),
    ],
    ids=["equal", "rejected", "chosen"],
)
@pytest.mark.parametrize("command", ["dpo", "kto", "reward"])
def test_a_pair_that_teaches_nothing(
    command: str, wrong: dict[str, str], text: str, policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lines(Path("p.jsonl"), [PAIR, {**PAIR, **wrong}])
    told = said(capsys, [command, "-m", policy, "-d", "p.jsonl", *QUIET])
    assert text in told
    assert "p.jsonl" in told
    assert "row 2" in told
    assert "data.max_rejected_share" in told, "what to type instead"


def test_preferences_are_not_learnt_as_answers_unasked(
    policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lines(Path("p.jsonl"), [PAIR] * 2)
    told = said(capsys, ["sft", "-m", policy, "-d", "p.jsonl"])
    assert "holds rows of kind preference (format pairs)" in told
    assert "Use: attune dpo --data p.jsonl" in told
    convert = "attune convert p.jsonl --to messages --output chosen.jsonl"
    assert f"or learn the chosen answers: {convert}" in told
    assert run(convert.split()[1:]) == 0
    (row, _) = map(json.loads, Path("chosen.jsonl").read_text().splitlines())
    assert [turn["content"] for turn in row["messages"]] == ["Tea?", "Jasmine."]


def test_pairs_and_rankings_as_verdicts(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is two verdicts, in the run and in its check, and both say so."""
    write_lines(Path("p.jsonl"), [{**PAIR, "prompt": f"Tea {n}?"} for n in range(4)])
    answers = ["Green.", "Black.", "None."]
    rows = [{"prompt": f"Tea {n}?", "answers": answers, "ranks": [2, 1, 3]} for n in range(4)]
    write_lines(Path("r.jsonl"), rows)
    write_lines(Path("h.jsonl"), [{**PAIR, "prompt": "Coffee?"}])
    change = "each preference became two verdicts: its best answer is good, its worst bad"
    for name, style in (("p.jsonl", "pairs"), ("r.jsonl", "ranked")):
        told = said(capsys, ["kto", "-m", policy, "-d", name, "-o", name[0], *QUIET[:-1], "h.jsonl"], code=0)
        assert f"{name}: 4 rows, format {style} (jsonl, utf-8); {change}" in told
        assert "4 answers are called good and 4 bad (50.0% good)" in told
        assert "8 examples (2 held out)" in told, "the verdicts of a held-out pair are two"
        told = " ".join(said(capsys, ["check", name, "--kind", "verdict"], code=0).split())
        assert f"{name} 4 rows, kind verdict, format {style} (jsonl, utf-8); {change}" in told
        assert "good 4 50.0%" in told


@pytest.fixture
def prompts() -> str:
    Path("mine.py").write_text(REWARDS)
    return str(write_lines(Path("q.jsonl"), [{"prompt": f"Tea {n}?"} for n in range(4)]))


def rollout(policy: str, prompts: str, reward: str, *more: str) -> list[str]:
    options = ["objective.group_size=2", "objective.max_new_tokens=4", "objective.truncated=keep"]
    return ["grpo", "-m", policy, "-p", prompts, "-r", reward, "-o", "rl", *options, *QUIET, *more]


@pytest.mark.parametrize(
    ("reward", "text"),
    [
        ("raises", "The reward mine.py:raises failed on q.jsonl:"),
        ("nan", "The reward mine.py:nan gave nan for q.jsonl:"),
        ("two", "The reward mine.py:two gave [1.0, 2.0] for q.jsonl:"),
    ],
)
def test_a_reward_that_fails(
    reward: str, text: str, policy: str, prompts: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = said(capsys, rollout(policy, prompts, f"mine.py:{reward}"))
    assert text in told
    assert "The answer was: '" in told
    if reward == "raises":
        assert "KeyError: 'nothing' (mine.py, line 3)" in told


def test_a_prompt_that_leaves_no_room(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.py").write_text(REWARDS)
    write_lines(Path("long.jsonl"), [{"prompt": "Tea?"}, {"prompt": "tea " * 55}])
    told = said(capsys, rollout(policy, "long.jsonl", "mine.py:same", "objective.max_new_tokens=30"))
    assert "1 prompts and 30 tokens of an answer do not fit the model's window of 256 (long.jsonl:2)" in told
    assert "Give data.max_length=226" in told


def test_no_signal(policy: str, prompts: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, rollout(policy, prompts, "mine.py:same"), code=0)
    warning = "Step 1: no signal: to every prompt all answers earned the same, so nothing can be learnt"
    assert told.count(warning) == 2, "at once, and where the run ends"
    (step,) = events(Path("rl"), "step_end")
    assert (step["metrics"]["no_signal_share"], step["num_learnt_tokens"]) == (1.0, 0)


def test_a_reward_model_with_another_tokenizer(
    policy: str, prompts: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """It reads the text, in its own template and tokens, not the policy's ids."""
    from tests.engine.tiny_engine import save_model

    other = save_model(tmp_path / "bpe")
    place = save_reward_model(tmp_path / "rm")
    said(capsys, rollout(str(other), prompts, str(place)), code=0)
    shown = [json.loads(line) for line in Path("rl/samples.jsonl").read_text().splitlines()]
    talks = [
        [{"role": "user", "content": one["prompt"]}, {"role": "assistant", "content": one["answer"]}]
        for one in shown
    ]
    assert [one["reward"] for one in shown] == pytest.approx(RewardModel(str(place)).score(talks), rel=1e-4)
    assert len({one["reward"] for one in shown}) > 1
    told = said(capsys, ["eval", "rl", "--data", prompts, "--quiet"], code=0)
    assert "reward" in told


def test_a_folder_that_is_no_reward_model(
    policy: str, prompts: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = said(capsys, rollout(policy, prompts, "runs/absent"))
    assert "runs/absent" in told
    assert "no such reward (nor a file FILE.py:FUNCTION, nor a folder)" in told
    told = said(capsys, rollout(policy, prompts, policy))
    assert "is a language model: it gives answers, no scores" in told
    assert not Path("rl").exists(), "what failed before its first step is no unfinished run"
    said(capsys, rollout(policy, prompts, "mine.py:same"), code=0)


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]
