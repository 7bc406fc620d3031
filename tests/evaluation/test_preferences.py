"""Ranks, wins and divergence: by hand, and through ``evaluate`` with an adapter and its base."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from attune.data.examples import Message, Origin, Preference, Verdict
from attune.data.layout import Segments
from attune.evaluation import preferences
from attune.evaluation.evaluate import evaluate
from attune.evaluation.judges import judge
from attune.evaluation.preferences import AnswerLogps
from attune.evaluation.questions import Question, read
from attune.evaluation.score import Said, Scored, score
from attune.models.load import load_for_inference
from attune.recipe.errors import RunError
from attune.recipe.schema import Generation
from tests.evaluation.tiny_run import write_lines

PAIRS = [
    {"prompt": "几点开门？", "chosen": "十点。", "rejected": "不知道，请问别人。"},
    {"prompt": "1 + 1?", "chosen": "It is 2.", "rejected": "3"},
    {"prompt": "Hi", "responses": ["Go.", "Hello.", "What?"], "scores": [1, 3, 2]},
]
QUESTION = (Message("user", "q"),)


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    return str(write_lines(tmp_path / "pairs.jsonl", PAIRS[:2]))


def blank(count: int, answers: list[str | None] | None = None) -> Scored:
    return Scored(answers or [None] * count, [{} for _ in range(count)], [], [None] * count)


def test_ranks_by_hand() -> None:
    """Sums -4 and -3 over four and one tokens: the better is likelier a token. Against the reference it has
    lost one nat, the other two: the reward is right by one. A row without ranks gets nothing.
    """
    mine = [AnswerLogps([-4.0, -3.0], [4, 1]), None, AnswerLogps([-1.0, -2.0, -1.5], [1, 1, 1])]
    reference = [AnswerLogps([-3.0, -1.0], [4, 1]), None, None]
    scored = blank(3)
    preferences.add_ranking(scored, mine, reference)
    assert scored.scores[0] == {"likelier": 1.0, "pair_accuracy": 1.0, "reward_margin": 1.0}
    assert scored.scores[1] == {}
    assert scored.scores[2] == {"likelier": pytest.approx(2 / 3)}


def test_verdicts_by_hand() -> None:
    """Followed where a good answer is likelier than the reference has it, and a bad one less likely."""
    answer = (Message("assistant", "a"),)
    verdicts = [Verdict(QUESTION, answer, good) for good in (True, True, False, False)]
    questions = [Question(Origin("q", row), one, QUESTION) for row, one in enumerate(verdicts, 1)]
    mine = [AnswerLogps([logp], [2]) for logp in (-1.0, -3.0, -1.0, -2.0)]
    scored = blank(4)
    preferences.add_verdicts(scored, questions, mine, [AnswerLogps([-2.0], [2])] * 4)
    assert [row["followed"] for row in scored.scores] == [1.0, 0.0, 0.0, 0.5]
    preferences.add_verdicts(alone := blank(4), questions, mine, None)
    assert alone.scores == [{}] * 4


def test_wins_by_hand() -> None:
    """Equal answers are a tie without asking; where one model did not answer there is no contest."""
    questions = [Question(Origin("q", row), Preference(QUESTION, ()), QUESTION) for row in range(1, 5)]
    first, second = blank(4, ["bb", "a", "bb", "x"]), blank(4, ["a", "bb", "bb", None])
    preferences.add_wins(first, second, questions, judge("regex:^b"))
    assert [row.get("win") for row in first.scores] == [1.0, 0.0, 0.5, None]
    assert [row.get("win") for row in second.scores] == [0.0, 1.0, 0.5, None]


def test_divergence_by_hand() -> None:
    said = Said(Segments([1], (([2, 3], [True, True]),)), -1.0, "yes")
    scored = replace(blank(2), said=[said, None])
    preferences.add_divergence(scored, [AnswerLogps([-2.5], [2]), None])
    assert scored.scores == [{"kl": 1.5}, {}]


def test_log_probabilities_are_the_models_own(run: Path, tmp_path: Path) -> None:
    """Compared with one plain forward pass an answer."""
    ranked = str(write_lines(tmp_path / "ranked.jsonl", PAIRS[2:]))
    loaded, questions = load_for_inference(str(run)), read(ranked, "preference").rows
    (found,) = preferences.ranked_logps(loaded, questions, lambda *_: None)
    assert found is not None
    plain = load_for_inference(str(run)).model  # with its own attention
    for text, total, length in zip(["Hello.", "What?", "Go."], found.sums, found.lengths, strict=True):
        start = loaded.template.prompt_ids([Message("user", "Hi")])
        ids = start + loaded.tokenizer(f"{text}<|im_end|>")["input_ids"]
        with torch.no_grad():
            logps = plain(torch.tensor([ids])).logits[0].log_softmax(-1)
        expected = sum(float(logps[at - 1, ids[at]]) for at in range(len(start), len(ids)))
        assert total == pytest.approx(expected, abs=1e-4)
        assert length == len(ids) - len(start)


def test_a_run_on_preferences(run: Path, pairs: str) -> None:
    """An SFT run too is asked how it ranks; its adapter is measured from its base."""
    found = evaluate(str(run), pairs, generation=Generation(max_new_tokens=2))
    scores = found.models[0]["scores"]
    assert {"loss", "likelier", "pair_accuracy", "reward_margin", "length"} <= set(scores)
    assert "win" not in scores
    assert [row["reference"] for row in found.rows] == ["十点。", "It is 2."]
    base = evaluate(str(run), pairs, against="base", generation=Generation(max_new_tokens=2))
    assert base.models[0]["scores"]["pair_accuracy"] == scores["pair_accuracy"]
    assert "pair_accuracy" not in base.models[1]["scores"], "the reference has no reward of its own"
    assert base.differences is not None
    assert "likelier" in base.differences
    assert "pair_accuracy" not in base.differences


def test_a_run_on_verdicts(run: Path, tmp_path: Path) -> None:
    """Its adapter is measured from its base, on good answers and on bad ones."""
    rows = [
        {"prompt": "Hi", "completion": text, "label": good} for text, good in (("Go.", False), ("Yo", True))
    ]
    data = str(write_lines(tmp_path / "verdicts.jsonl", rows))
    found = evaluate(str(run), data, generation=Generation(max_new_tokens=2))
    assert found.models[0]["scores"]["followed"]["n"] == 2
    assert "likelier" not in found.models[0]["scores"], "one answer has no order"


def test_a_judge_between_two_models(run: Path, pairs: str) -> None:
    found = evaluate(
        str(run), pairs, against="base", judge=judge("length:1"), generation=Generation(max_new_tokens=3)
    )
    scores: list[dict[str, Any]] = [model["scores"] for model in found.models]
    assert scores[0]["win"]["mean"] == pytest.approx(1 - scores[1]["win"]["mean"])
    loaded = load_for_inference(str(run))
    question, answered = read(pairs, "preference", "Be kind.").rows[:1], found.rows[0]["scores"][0]
    again = score(loaded, question, Generation(max_new_tokens=3), lambda *_: None)
    assert answered["length"] == len(again.answers) * 3.0
    with loaded.model.disable_adapter():
        (base,) = preferences.said_logps(loaded, again.said, lambda *_: None)
    assert base is not None
    assert again.said[0] is not None
    assert answered["kl"] == pytest.approx(again.said[0].logp - base.sums[0], abs=1e-4)
    assert "kl" not in scores[1]
    assert found.differences is not None
    assert "length" in found.differences
    with pytest.raises(RunError, match=r"A judge compares two models\. Name the other one: --against base"):
        evaluate(str(run), pairs, judge=judge("length:1"))


def test_prompts_and_verdicts_are_asked_too(run: Path, tmp_path: Path) -> None:
    prompts = str(write_lines(tmp_path / "q.jsonl", [{"prompt": "1 + 1?"}]))
    found = evaluate(str(run), prompts, generation=Generation(max_new_tokens=2))
    assert set(found.models[0]["scores"]) == {"length", "cut"}
    rows = [{"prompt": "1 + 1?", "completion": text, "label": text == "2"} for text in ("2", "3")]
    read_rows = read(str(write_lines(tmp_path / "v.jsonl", rows)), "verdict", "Be kind.").rows
    assert [one.reference for one in read_rows] == ["2", None]
    assert [turn.content for turn in read_rows[1].prompt] == ["Be kind.", "1 + 1?"]
