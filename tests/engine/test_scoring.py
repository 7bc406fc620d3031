"""Runs whose models give scores, from a file to a folder that transformers and PEFT read alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import PeftModel
from tiny_engine import MakeRecipe, events, weights_digest

from attune.data.examples import Labelled, Message
from attune.engine import checkpoint
from attune.engine.plan import plan
from attune.engine.train import train
from attune.evaluation.evaluate import evaluate
from attune.evaluation.predict import predict
from attune.evaluation.scorer import Classifier, RewardModel
from attune.models.load import load_for_inference, load_for_scoring
from attune.recipe.errors import DataError, Interrupted, ModelError, RecipeError, RunError
from attune.recipe.schema import Recipe
from tests.data.defects import png

WORDS = ("dumplings", "soup", "tea", "noodles", "table", "opens", "ten")
GOOD, BAD = ("hot", "nine"), ("cold", "closes")


def texts(count: int) -> list[tuple[str, str]]:
    """A text and whether it holds a good word or a bad one; both are told apart by that word alone."""
    made = []
    for number in range(count):
        marks, label = (GOOD, "good") if number % 3 else (BAD, "bad")
        around = [WORDS[(number * 5 + place) % len(WORDS)] for place in range(2 + number % 4)]
        around.insert(number % len(around), marks[number % 2])
        made.append((" ".join(around), label))
    return made


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def classify(recipe: MakeRecipe, tmp_path: Path) -> MakeRecipe:
    labelled = write(tmp_path / "labelled.jsonl", [{"text": t, "label": y} for t, y in texts(48)])

    def make(name: str = "run", objective: Any = "classify", data: Any = labelled, **more: Any) -> Recipe:
        asked = recipe(name, data={"train": str(data), "held_out": 0.15, "check": "off"}, **more)
        return Recipe.model_validate({**asked.model_dump(), "objective": objective})

    return make


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    rows = [
        {"prompt": f"{number}?", "chosen": f"{good} tea.", "rejected": f"{bad} tea."}
        for number, (good, bad) in enumerate((GOOD[n % 2], BAD[n % 2]) for n in range(24))
    ]
    return write(tmp_path / "pairs.jsonl", rows)


def transformers_scores(run: Path, asked: list[str], base: Path) -> torch.Tensor:
    """By transformers (and PEFT) alone, in one padded batch."""
    folder = run / "final"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    auto = transformers.AutoModelForSequenceClassification
    if (folder / "adapter_config.json").is_file():
        head = json.loads((folder / "head.json").read_text())
        model = auto.from_pretrained(base, num_labels=len(head["id2label"]))
        model.config.pad_token_id = head["pad_token_id"]
        model = PeftModel.from_pretrained(model, folder)
    else:
        model = auto.from_pretrained(folder)
    batch = tokenizer(asked, padding=True, padding_side="right", return_tensors="pt")
    with torch.no_grad():
        logits: torch.Tensor = model.eval()(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    return logits


@pytest.mark.parametrize("adapter", ["full", "probe", {"name": "lora", "rank": 4}, {"name": "prefix"}])
def test_a_classifier_is_an_ordinary_folder(
    adapter: Any, classify: MakeRecipe, model_dir: Path, tmp_path: Path
) -> None:
    result = train(classify(adapter=adapter, max_steps=4))
    assert result.state["labels"]["names"] == ["bad", "good"]
    assert result.state["layout"] == "packed"
    asked = [text for text, _ in texts(9)]
    model = Classifier(str(result.output))
    assert model.labels.names == ("bad", "good")
    ours = model.predict([Labelled("", text) for text in asked])
    theirs = transformers_scores(result.output, asked, model_dir).softmax(1)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_it_learns_and_is_scored(classify: MakeRecipe, tmp_path: Path) -> None:
    asked = classify(adapter={"name": "lora", "rank": 8}, max_steps=40, learning_rate=5e-3)
    result = train(asked)
    found = evaluate(result.output)
    scores = found.models[0]["scores"]
    assert scores["accuracy"]["mean"] >= 0.8
    assert found.figures["classes"] == ["bad", "good"]
    assert sum(map(sum, found.figures["confusion"])) == found.num_rows
    assert {row["reference"] for row in found.rows} == {"bad", "good"}
    assert events(result.output, "eval_end")[-1]["metrics"]["error"] <= 0.2
    assert events(result.output, "eval_end")[-1]["perplexity"] is None

    fresh = write(tmp_path / "new.jsonl", [{"id": n, "text": t} for n, (t, _) in enumerate(texts(6))])
    num, unread = predict(str(result.output), str(fresh), tmp_path / "out" / "p.csv")
    assert (num, unread) == (6, [])
    lines = (tmp_path / "out" / "p.csv").read_text().splitlines()
    assert lines[0] == "id,text,prediction,p(bad),p(good)"
    said = [line.split(",")[2] for line in lines[1:]]
    assert sum(one == label for one, (_, label) in zip(said, texts(6), strict=True)) >= 5


def test_a_reward_model_learns_the_order_and_is_an_ordinary_folder(
    classify: MakeRecipe, pairs: Path, model_dir: Path
) -> None:
    asked = classify(
        objective="reward", data=pairs, adapter={"name": "lora", "rank": 8}, max_steps=30, learning_rate=1e-2
    )
    result = train(asked)
    found = evaluate(result.output)
    assert found.models[0]["scores"]["pair_accuracy"]["mean"] == 1.0
    model = RewardModel(str(result.output))
    talk = [[Message("user", "7?"), Message("assistant", f"{word} tea.")] for word in (*GOOD, *BAD)]
    rewards = model.score(talk)
    assert min(rewards[:2]) > max(rewards[2:])
    rendered = [model.template.render(turns) for turns in talk]
    stop = model.template.stop
    ids = [text[: text.rindex(stop) + len(stop)] for text in rendered]
    theirs = transformers_scores(result.output, ids, model_dir)[:, 0]
    torch.testing.assert_close(torch.tensor(rewards), theirs, atol=1e-5, rtol=1e-4)
    alone = [model.score([turns])[0] for turns in talk]
    assert rewards == pytest.approx(alone, abs=1e-5)


def test_a_padding_token_that_ends_answers_is_replaced(classify: MakeRecipe, pairs: Path) -> None:
    """The tiny tokenizer pads with its stop token or not; the model's configuration never does."""
    result = train(classify(objective="reward", data=pairs, max_steps=1))
    config = transformers.AutoConfig.from_pretrained(result.output / "final")
    model = RewardModel(str(result.output))
    assert config.pad_token_id != model.template.stop_id
    assert (config.num_labels, config.problem_type, config.id2label) == (1, "regression", {0: "reward"})


def test_a_run_that_goes_on_ends_in_the_same_bits(
    classify: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(classify("whole", adapter={"name": "lora", "rank": 4}, save_steps=2))
    write_checkpoint, written = checkpoint.write, []

    def stop_after_one(*args: Any, **kwargs: Any) -> Path:
        written.append(write_checkpoint(*args, **kwargs))
        raise Interrupted("here")

    monkeypatch.setattr(checkpoint, "write", stop_after_one)
    asked = classify("parts", adapter={"name": "lora", "rank": 4}, save_steps=2)
    with pytest.raises(Interrupted):
        train(asked)
    monkeypatch.undo()
    assert written
    parts = train(asked)
    assert weights_digest(parts.output) == weights_digest(whole.output)


def test_numbers_and_several_classes(classify: MakeRecipe, tmp_path: Path) -> None:
    rows = [{"text": text, "label": len(text) / 10} for text, _ in texts(24)]
    number = train(classify("number", data=write(tmp_path / "n.jsonl", rows), max_steps=2))
    assert set(evaluate(number.output).models[0]["scores"]) == {"mse", "r2", "pearson", "spearman"}
    rows = [
        {"text": text, "labels": [label] if n % 4 else ["long", label]}
        for n, (text, label) in enumerate(texts(24))
    ]
    several = train(classify("several", data=write(tmp_path / "s.jsonl", rows), max_steps=2))
    assert several.state["labels"]["names"] == ["bad", "good", "long"]
    found = evaluate(several.output)
    assert set(found.models[0]["scores"]) >= {"accuracy", "micro_f1", "calibration_error"}
    with pytest.raises(ModelError, match="gives 3 scores an answer"):
        RewardModel(str(several.output))


def test_held_out_labels_that_training_lacks_stop_the_run(classify: MakeRecipe, tmp_path: Path) -> None:
    held = write(tmp_path / "held.jsonl", [{"text": "hot tea", "label": "odd"}])
    asked = classify()
    data = asked.data.model_copy(update={"held_out": Recipe.model_validate(
        {**asked.model_dump(), "data": {"train": str(held), "held_out": str(held)}}
    ).data.held_out})  # fmt: skip
    with pytest.raises(DataError, match=r"held\.jsonl:1: the label 'odd' is not among the 2"):
        train(asked.model_copy(update={"data": data}))


def test_what_gives_scores_and_what_gives_answers_are_told_apart(
    classify: MakeRecipe, model_dir: Path, tmp_path: Path
) -> None:
    result = train(classify(max_steps=1))
    with pytest.raises(ModelError, match="gives scores, no answers"):
        load_for_inference(str(result.output))
    with pytest.raises(ModelError, match="is a language model: it gives answers, no scores"):
        load_for_scoring(str(model_dir))
    with pytest.raises(RunError, match="there is nothing to compare"):
        evaluate(result.output, against="base")
    with pytest.raises(DataError, match=r"predictions are written to a new \.csv file"):
        predict(str(result.output), "a.csv", "a.txt")
    empty = tmp_path / "empty.csv"
    empty.write_text("id,size\n1,2\n")
    with pytest.raises(DataError, match=r"no row holds a text or an image .*columns: id, size\."):
        predict(str(result.output), str(empty), tmp_path / "p.csv")


def test_the_probe_needs_a_head(recipe: MakeRecipe) -> None:
    with pytest.raises(RecipeError, match="adapter=probe trains the head of a classifier"):
        train(recipe(adapter="probe"))


def test_a_conversation_without_an_answer_has_no_reward(classify: MakeRecipe, pairs: Path) -> None:
    model = RewardModel(str(train(classify(objective="reward", data=pairs, max_steps=1)).output))
    with pytest.raises(DataError, match="conversation 1 does not end with the assistant's turn"):
        model.score([[Message("user", "7?")]])


def test_images_are_no_texts(classify: MakeRecipe, tmp_path: Path) -> None:
    rows = [{"image_path": f"{n}.png", "label": ("cat", "dog")[n % 2]} for n in range(12)]
    for row in rows:
        (tmp_path / row["image_path"]).write_bytes(png())
    with pytest.raises(DataError, match="an image, and this model reads texts"):
        train(classify(data=write(tmp_path / "images.jsonl", rows)))


def test_the_plan_counts_the_head(classify: MakeRecipe) -> None:
    planned = plan(classify(adapter="probe"))
    assert planned.num_trained_parameters == 2 * 32
