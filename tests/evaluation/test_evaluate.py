"""Evaluation of a tiny model: losses and answers against plain computations, comparison, files, errors."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from attune.evaluation.evaluate import evaluate, saved
from attune.recipe.errors import DataError, ModelError, RunError
from attune.recipe.schema import Generation
from tests.evaluation.tiny_run import RECORD, ROWS, save_base, tokenizer, write_lines


def plain_loss(model: Any, messages: list[dict[str, str]]) -> tuple[float, int]:
    """Each answer's tokens and its stop token, by one forward an answer."""
    encoder = tokenizer()
    total, count = 0.0, 0
    for place, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt = encoder.apply_chat_template(messages[:place], add_generation_prompt=True, tokenize=False)
        asked = encoder(prompt, add_special_tokens=False)["input_ids"]
        answer = encoder(message["content"] + "<|im_end|>", add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logps = model(torch.tensor([asked + answer])).logits[0].log_softmax(-1)
        for offset, token in enumerate(answer):
            total -= logps[len(asked) + offset - 1, token].item()
        count += len(answer)
    return total, count


def kind(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """With the recipe's system message where there is none."""
    if messages[0]["role"] == "system":
        return messages
    return [{"role": "system", "content": "Be kind."}, *messages]


def test_loss_and_perplexity_are_those_of_a_plain_computation(run: Path) -> None:
    from peft import PeftModel

    found = evaluate(str(run))
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(json.loads((run / "run.json").read_text())["model"]),
        run / "final",
    ).eval()
    expected = [plain_loss(model, kind(row["messages"])) for row in ROWS]
    for row, (nll, count) in zip(found.rows, expected, strict=True):
        assert row["scores"][0]["nll"] == pytest.approx(nll, rel=1e-4)
        assert row["scores"][0]["num_tokens"] == count
    assert [row["scores"][0]["num_tokens"] for row in found.rows] == [10, 2, 12]
    loss = sum(nll for nll, _ in expected) / sum(count for _, count in expected)
    assert found.models[0]["scores"]["loss"]["mean"] == pytest.approx(loss, rel=1e-4)
    assert found.models[0]["scores"]["perplexity"]["mean"] == pytest.approx(math.exp(loss), rel=1e-3)


def test_answers_are_those_of_transformers_and_are_scored(run: Path, base: Path) -> None:
    found = evaluate(str(base), str(run / "held_out.jsonl"), generation=Generation(max_new_tokens=6))
    model, encoder = AutoModelForCausalLM.from_pretrained(base), tokenizer()
    for row, given in zip(found.rows, ROWS, strict=True):
        prompt = encoder.apply_chat_template(
            given["messages"][:-1], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        ids = model.generate(**prompt, max_new_tokens=6, do_sample=False, eos_token_id=[1, 3], pad_token_id=0)
        answer = ids[0, prompt["input_ids"].shape[1] :].tolist()
        assert row["predictions"][0] == encoder.decode(answer, skip_special_tokens=True).strip()
        scores = row["scores"][0]
        assert scores["length"] == len([token for token in answer if token not in (1, 3)])
        assert scores["cut"] == float(answer[-1] not in (1, 3))
    assert found.rows[0]["prompt"] == "几点开门？"
    assert found.rows[0]["reference"] == "十点。"
    assert found.rows[2]["prompt"] == "[system] Short.\n[user] Hi\n[assistant] Hello.\n[user] Bye"
    assert [row["row"] for row in found.rows] == [1, 2, 3]
    assert found.path is None, "a model folder is not written to"
    assert not (base / "evals").exists()


def test_right_answers_score_one(run: Path, tmp_path: Path) -> None:
    first = evaluate(str(run))
    rows = [
        {"messages": [*given["messages"][:-1], {"role": "assistant", "content": row["predictions"][0]}]}
        for given, row in zip(ROWS, first.rows, strict=True)
        if row["predictions"][0]
    ]
    again = evaluate(str(run), str(write_lines(tmp_path / "right.jsonl", rows)))
    assert again.models[0]["scores"]["exact_match"]["mean"] == 1.0
    assert again.models[0]["scores"]["rouge_l"]["mean"] == 1.0
    assert first.models[0]["scores"]["exact_match"]["mean"] == 0.0


def test_against_base_switches_the_adapter_off(run: Path, base: Path) -> None:
    found = evaluate(str(run), against="base")
    tuned, plain = (model["scores"]["loss"]["mean"] for model in found.models)
    assert [model["name"] for model in found.models] == ["tuned", "base"]
    assert found.models[1]["path"] == str(base)
    assert found.differences is not None
    assert found.differences["loss"]["mean"] == pytest.approx(tuned - plain)
    expected = [plain_loss(AutoModelForCausalLM.from_pretrained(base), kind(row["messages"])) for row in ROWS]
    assert plain == pytest.approx(sum(nll for nll, _ in expected) / sum(n for _, n in expected), rel=1e-4)
    headers, rows = found.table()
    assert headers == ["metric", "tuned", "base", "difference"]
    assert [row[0] for row in rows] == [
        "loss (nats a token)",
        "perplexity",
        "exact match",
        "ROUGE-L",
        "answer length (tokens)",
        "cut by max_new_tokens",
    ]
    assert all(len(row) == 4 for row in rows)


def test_against_base_of_a_run_that_trained_all_weights(run: Path, base: Path, tmp_path: Path) -> None:
    full = tmp_path / "runs" / "full"
    save_base(full / "final", seed=5)
    (full / "run.json").write_text(json.dumps({**RECORD, "adapter": "full", "model": str(base)}))
    found = evaluate(
        str(full), str(run / "held_out.jsonl"), against="base", generation=Generation(max_new_tokens=2)
    )
    same = evaluate(str(base), str(run / "held_out.jsonl"), generation=Generation(max_new_tokens=2))
    assert found.models[1]["scores"] == same.models[0]["scores"]
    assert found.models[0]["scores"]["loss"] != same.models[0]["scores"]["loss"]


def test_against_itself_differs_by_nothing(run: Path) -> None:
    found = evaluate(str(run), against=str(run))
    assert found.differences is not None
    assert all(gap["mean"] == gap["low"] == gap["high"] == 0 for gap in found.differences.values())
    assert [model["name"] for model in found.models] == [str(run), str(run)]


def test_it_is_written_and_summarised_and_written_over_by_the_same_question(run: Path) -> None:
    first = evaluate(str(run), against="base")
    assert first.path is not None
    assert first.path.parent == run / "evals"
    assert first.path.name.startswith("held_out-")
    assert json.loads(first.path.read_text(encoding="utf-8")) == first.as_dict()
    evaluate(str(run), against="base")
    assert len(list((run / "evals").iterdir())) == 1, "the same question, the same file, no scraps"
    other = evaluate(str(run), generation=Generation(max_new_tokens=2))
    scores = json.loads((run / "scores.json").read_text(encoding="utf-8"))
    assert other.path is not None
    assert set(scores) == {first.path.stem, other.path.stem}
    assert scores[first.path.stem]["scores"] == first.models[0]["scores"]
    assert scores[first.path.stem]["against"] == "base"
    assert len(saved(run)) == 2


def test_recipe_decides_generation_unless_told(run: Path) -> None:
    assert evaluate(str(run)).generation["max_new_tokens"] == 6
    told = evaluate(str(run), generation=Generation(max_new_tokens=3))
    assert all(row["scores"][0]["length"] <= 3 for row in told.rows)


def test_limit_is_a_sample_in_order(run: Path, tmp_path: Path) -> None:
    many = write_lines(tmp_path / "many.jsonl", [{"prompt": str(i), "completion": str(i)} for i in range(30)])
    found = evaluate(str(run), str(many), limit=4, generation=Generation(max_new_tokens=1))
    places = [row["row"] for row in found.rows]
    assert len(places) == found.num_rows == 4
    assert places == sorted(places)
    assert places != [1, 2, 3, 4], "the first rows of a sorted file would not stand for the file"


def test_progress_is_told_to_the_end(run: Path) -> None:
    told: list[tuple[str, int, int]] = []
    evaluate(str(run), against="base", on_progress=lambda what, done, total: told.append((what, done, total)))
    ended = {what for what, done, total in told if done == total}
    assert ended == {
        "scoring the reference answers",
        "answering",
        "scoring the reference answers (base)",
        "answering (base)",
    }


def test_unusable_rows_are_counted_and_named(run: Path, tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "test.jsonl", [{"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": ""}]
    )
    found = evaluate(str(run), str(path), generation=Generation(max_new_tokens=1))
    assert found.num_rows == 1
    assert [(one["path"], one["row"]) for one in found.rejected] == [(str(path), 2)]
    assert any(
        "Rows that cannot be used and are not scored: 1." in note and "row 2" in note for note in found.notes
    )


def test_long_prompts_lose_their_beginning_and_it_is_said(run: Path, tmp_path: Path) -> None:
    small = save_base(tmp_path / "small", window=64)
    path = write_lines(tmp_path / "long.jsonl", [{"prompt": "x" * 200 + "z", "completion": "y"}])
    found = evaluate(str(small), str(path), generation=Generation(max_new_tokens=8))
    assert (
        "Prompts of more than 56 tokens, which lost their beginning: 1 (the model's window is 64)."
        in found.notes
    )
    assert found.rows[0]["scores"][0]["num_tokens"] == 2
    text = "x" * 200 + "z<|im_end|>\n<|im_start|>assistant\n"
    prompt = tokenizer()(text, return_tensors="pt")["input_ids"][:, -56:]
    ids = AutoModelForCausalLM.from_pretrained(small).generate(
        prompt, max_new_tokens=8, do_sample=False, eos_token_id=[1, 3], pad_token_id=0
    )
    answer = tokenizer().decode(ids[0, 56:], skip_special_tokens=True).strip()
    assert found.rows[0]["predictions"] == [answer], "the end of the prompt is what stays"


def test_pretraining_runs_have_a_likelihood_only(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "texts"
    save_base(folder / "final", seed=3)
    (folder / "run.json").write_text(json.dumps({**RECORD, "objective": "pretrain", "model": str(base)}))
    (folder / "recipe.yaml").write_text(
        f"objective: pretrain\nmodel: {{path: {base}}}\ndata: {{train: [{{path: a}}]}}\n"
    )
    write_lines(folder / "held_out.jsonl", [{"text": "abc"}, {"text": "你好"}])
    found = evaluate(str(folder))
    assert set(found.models[0]["scores"]) == {"loss", "perplexity"}
    # no start token: the first byte has nothing before it; the end token is learnt
    assert [row["scores"][0]["num_tokens"] for row in found.rows] == [3, 6]
    assert found.rows[1]["prompt"] == "你好"
    assert found.rows[1]["predictions"] == [None]


def test_errors_say_what_to_type(run: Path, base: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"tiny-base is no run folder, and only a run holds rows of its own. Give a file: --data",
    ):
        evaluate(str(base))
    with pytest.raises(DataError, match=r"tunned: no such run folder. Did you mean .*runs/tuned\?"):
        evaluate(str(run.with_name("tunned")))
    with pytest.raises(DataError, match=r"limit=0: no row would be left. Give 1 or more"):
        evaluate(str(run), limit=0)
    (run / "held_out.jsonl").write_text("")
    with pytest.raises(
        DataError,
        match=r"held out no rows \(data.held_out=0, or too few prompts\). Give a file: --data FILE.",
    ):
        evaluate(str(run))
    useless = write_lines(tmp_path / "useless.jsonl", [{"prompt": "c", "completion": ""}])
    with pytest.raises(
        DataError, match=r"no row can be evaluated. Rows that cannot be used .*row 1: .* Give a file"
    ):
        evaluate(str(run), str(useless))
    with pytest.raises(DataError, match="no such file"):
        evaluate(str(run), str(tmp_path / "absent.json"))
    usable = write_lines(tmp_path / "usable.jsonl", ROWS)
    with pytest.raises(ModelError, match="No model at"):
        evaluate(str(run), str(usable), against=str(tmp_path / "absent"), on_progress=_must_not_begin)
    with pytest.raises(ModelError, match="No model at"):
        evaluate(str(tmp_path / "runs" / "absent"), str(usable))


def _must_not_begin(what: str, done: int, total: int) -> None:
    raise AssertionError("the first model answers although the second is not there")


def test_a_whole_model_has_no_base(run: Path, base: Path) -> None:
    with pytest.raises(
        RunError, match=r"is a whole model and does not say what it began with. .*--against <run"
    ):
        evaluate(
            str(base), str(run / "held_out.jsonl"), against="base", generation=Generation(max_new_tokens=1)
        )


def test_what_cannot_be_written_is_said(run: Path) -> None:
    (run / "evals").write_text("in the way")
    with pytest.raises(
        RunError, match=r"The evaluation cannot be written to .*evals.*Make room or mend the permissions"
    ):
        evaluate(str(run), generation=Generation(max_new_tokens=1))
