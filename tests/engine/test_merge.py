"""Merging: the written model equals the adapter, and a difference is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_engine import LORA, MakeRecipe
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from attune.data.examples import Labelled, Message
from attune.engine.train import train
from attune.evaluation.scorer import Classifier, RewardModel
from attune.models import merge as module
from attune.models.load import load_any, load_for_inference
from attune.models.merge import merge
from attune.recipe.errors import ModelError, RunError
from attune.recipe.schema import Recipe


@pytest.fixture
def run(recipe: MakeRecipe) -> Path:
    return train(recipe(adapter=LORA, max_steps=4, learning_rate=5e-2)).output


def test_the_merged_folder_answers_like_the_adapter(run: Path, tmp_path: Path) -> None:
    report = merge(run, tmp_path / "merged")
    assert report.num_layers == 14
    assert report.mean_kl <= 1e-6
    assert report.top1_agreement == 1.0
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    with torch.no_grad():
        tuned = load_for_inference(str(run))
        expected = tuned.model(ids).logits
        with tuned.model.disable_adapter():
            untuned = tuned.model(ids).logits
        got = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")(ids).logits
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)
    assert (expected - untuned).abs().max() > 1e-3, "the adapter must have learnt something"


def test_by_hand(run: Path, tmp_path: Path) -> None:
    """W' = W + B A * alpha / rank, with alpha twice the rank."""
    tuned = load_for_inference(str(run)).model
    layer = tuned.get_base_model().model.layers[0].self_attn.q_proj
    expected = layer.base_layer.weight + 2.0 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    merge(run, tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").model.layers[0].self_attn.q_proj
    torch.testing.assert_close(merged.weight, expected, atol=1e-6, rtol=1e-5)


def test_a_mismatch_is_refused_and_nothing_is_left(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(path: str, **options: Any) -> Any:
        loaded = load_any(path, **options)
        if ".merging-" in path:
            with torch.no_grad():
                loaded.model.model.layers[0].self_attn.q_proj.weight.add_(0.5)
        return loaded

    monkeypatch.setattr(module, "load_any", spoil)
    with pytest.raises(RunError, match="not the trained one"):
        merge(run, tmp_path / "merged")
    assert sorted(path.name for path in tmp_path.iterdir() if "merg" in path.name) == []


def test_adapted_embeddings_and_head(recipe: MakeRecipe, tmp_path: Path) -> None:
    targets = ["q_proj", "embed_tokens", "lm_head"]
    adapted = train(recipe(adapter={**LORA, "target_modules": targets}, max_steps=4, learning_rate=5e-2))
    assert merge(adapted.output, tmp_path / "merged").mean_kl <= 1e-6


def test_a_whole_model_and_a_taken_folder_are_refused(recipe: MakeRecipe, run: Path, tmp_path: Path) -> None:
    whole = train(recipe("whole", max_steps=1)).output
    with pytest.raises(ModelError, match="whole model already"):
        merge(whole, tmp_path / "merged")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("mine")
    with pytest.raises(ModelError, match="exists and is not empty"):
        merge(run, tmp_path / "taken")
    assert (tmp_path / "taken" / "thesis.txt").read_text() == "mine"


def test_rounding_of_a_bfloat16_base_is_told(recipe: MakeRecipe, model_dir: Path, tmp_path: Path) -> None:
    """The result is stored as the base is; what that costs is measured."""
    from transformers import AutoTokenizer

    half = tmp_path / "half"
    AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.bfloat16).save_pretrained(half)
    AutoTokenizer.from_pretrained(model_dir).save_pretrained(half)
    tuned = train(recipe("run16", adapter=LORA, model=half, max_steps=4, learning_rate=1e-2)).output
    report = merge(tuned, tmp_path / "merged")
    assert report.dtype == "bfloat16"
    assert 0 < report.max_logit_difference < 0.1
    assert dataclasses.asdict(report)["num_compared"] > 20


@pytest.fixture
def quantized(recipe: MakeRecipe, model_dir: Path, tmp_path: Path) -> Path:
    """QLoRA over a base whose files are in bfloat16, and which is sure of what it says."""
    from transformers import AutoTokenizer

    pytest.importorskip("bitsandbytes", reason="needs bitsandbytes, which is not here")
    half = tmp_path / "half"
    base = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.bfloat16)
    for parameter in base.parameters():
        parameter.data *= 10 if parameter.ndim > 1 else 1
    base.save_pretrained(half)
    AutoTokenizer.from_pretrained(model_dir).save_pretrained(half)
    adapter = {"name": "qlora", "rank": 4}
    return train(recipe("four", adapter=adapter, model=half, max_steps=4, learning_rate=2e-2)).output


def test_what_the_merge_of_four_bits_costs_is_told(quantized: Path, tmp_path: Path) -> None:
    """The codes' values are no bfloat16 numbers: they are rounded, and by how much is measured on what the
    run held out.
    """
    report = merge(quantized, tmp_path / "merged")
    assert report.dtype == "bfloat16"
    assert 0 < report.mean_kl < 1e-3
    assert f"mean KL {report.mean_kl:.2g}" in dict(report.lines())["reloaded and compared"]
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert not hasattr(merged.config, "quantization_config")
    tuned = load_for_inference(str(quantized))
    row = json.loads((quantized / "held_out.jsonl").read_text().splitlines()[0])
    ids = torch.tensor([tuned.tokenizer(row["messages"][0]["content"])["input_ids"]])
    with torch.no_grad():
        mine, theirs = (model(ids).logits.float().log_softmax(-1)[0] for model in (tuned.model, merged))
    kl = (mine.exp() * (mine - theirs)).sum(-1)
    assert 0 < float(kl.mean()) < 10 * report.mean_kl
    assert merge(quantized / "final", tmp_path / "again").num_compared == report.num_compared


def test_a_merge_into_the_numbers_before_they_were_rounded_is_refused(
    quantized: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Easily done by hand: but what was trained corrects the codes, not the numbers they were made of."""
    from peft import PeftModel

    def careless(runs: Any, *rest: Any, dequantized: bool = False) -> Any:
        opened = load(runs, *rest)
        if not dequantized:
            return opened
        base = AutoModelForCausalLM.from_pretrained(tmp_path / "half", dtype=torch.float32)
        return dataclasses.replace(opened, model=PeftModel.from_pretrained(base, opened.path))

    load = module.combine.load
    monkeypatch.setattr(module.combine, "load", careless)
    with pytest.raises(RunError, match=r"mean KL .* \(at most 2e-02 would be rounding\)"):
        merge(quantized, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens"])
def test_one_matrix_for_embedding_and_head_is_parted(
    target: str, recipe: MakeRecipe, model_dir: Path, tmp_path: Path
) -> None:
    from transformers import AutoConfig, AutoTokenizer

    config = AutoConfig.from_pretrained(model_dir)
    config.tie_word_embeddings = True
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "tied")
    AutoTokenizer.from_pretrained(model_dir).save_pretrained(tmp_path / "tied")
    adapter = {**LORA, "target_modules": ["q_proj", target]}
    tuned = train(recipe(adapter=adapter, model=tmp_path / "tied", max_steps=4, learning_rate=5e-2)).output
    assert merge(tuned, tmp_path / "merged").mean_kl <= 1e-6
    assert not AutoConfig.from_pretrained(tmp_path / "merged").tie_word_embeddings


ROWS: dict[str, list[dict[str, Any]]] = {
    "classes": [
        {"text": f"{('hot', 'cold', 'ten')[n % 3]} tea {n}", "label": "abc"[n % 3]} for n in range(18)
    ],
    "several": [{"text": f"tea {n}", "labels": ["a", "b"][: n % 3]} for n in range(18)],
    "number": [{"text": " ".join(["tea"] * (1 + n % 7)), "label": 40.5 * (n % 7)} for n in range(18)],
    "reward": [{"prompt": f"{n}?", "chosen": f"hot {n}.", "rejected": f"cold {n}."} for n in range(18)],
}


@pytest.fixture
def score(recipe: MakeRecipe, tmp_path: Path) -> Any:
    """A run whose model gives scores, after a few large steps."""

    def make(what: str, adapter: Any, name: str = "run", **more: Any) -> Path:
        path = tmp_path / f"{what}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS[what]))
        data = {"train": str(path), "held_out": 0.2, "check": "off"}
        settings = {"max_steps": 3, "learning_rate": 2e-2, **more}
        asked = recipe(name, adapter=adapter, data=data, **settings).model_dump()
        asked["objective"] = "reward" if what == "reward" else "classify"
        return train(Recipe.model_validate(asked)).output

    return make


MERGING = {
    "lora": {"rank": 4},
    "rslora": {"rank": 8},
    "dora": {"rank": 4},
    "adalora": {"rank": 2, "start_rank": 4},
    "qlora": {"rank": 4},
    "ia3": {},
    "bitfit": {},
    "peft": {"method": "loha", "options": {"r": 2, "target_modules": "all-linear"}},
}


@pytest.mark.parametrize("name", list(MERGING))
def test_a_classifier_of_every_method_that_merges(name: str, score: Any, tmp_path: Path) -> None:
    if name == "qlora":
        pytest.importorskip("bitsandbytes", reason="needs bitsandbytes, which is not here")
    run = score("classes", {"name": name, **MERGING[name]})
    report = merge(run, tmp_path / "merged")
    assert (report.compared, report.top1_agreement) == ("inputs", 1.0)
    assert report.num_compared > 6
    assert report.mean_kl <= 1e-6
    asked = [Labelled("", row["text"]) for row in ROWS["classes"]]
    expected = Classifier(str(run)).predict(asked)
    torch.testing.assert_close(
        Classifier(str(tmp_path / "merged")).predict(asked), expected, atol=1e-5, rtol=1e-4
    )
    assert expected.std(0).max() > 1e-3, "it must have learnt something"
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")
    assert theirs.config.id2label == {0: "a", 1: "b", 2: "c"}


@pytest.mark.parametrize("what", ["several", "number", "reward"])
def test_other_scores_are_merged_and_compared(what: str, score: Any, tmp_path: Path) -> None:
    run = score(what, LORA)
    report = merge(run, tmp_path / "merged")
    assert report.mean_kl <= 1e-6
    assert (report.top1_agreement is None) == (what != "several")
    told = dict(report.lines())["reloaded and compared"]
    assert told.startswith(f"the scores of {report.num_compared} inputs: largest difference")
    assert ("same first choice" in told) == (what == "several")
    if what == "reward":
        talk = [[Message("user", "7?"), Message("assistant", "hot 7.")]]
        expected = RewardModel(str(run)).score(talk)
        assert RewardModel(str(tmp_path / "merged")).score(talk) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("what", ["classes", "several", "number"])
def test_other_scores_are_refused(
    what: str, score: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(path: str, **options: Any) -> Any:
        opened = load_any(path, **options)
        if ".merging-" in path:
            with torch.no_grad():
                opened.model.score.weight.mul_(0.9)
        return opened

    run = score(what, LORA)
    monkeypatch.setattr(module, "load_any", spoil)
    with pytest.raises(RunError, match="not the trained one"):
        merge(run, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize(
    ("adapter", "why"),
    [
        ({"name": "bottleneck", "size": 8}, "nonlinearity between its two matrices"),
        ({"name": "prefix", "num_virtual_tokens": 4}, r"virtual tokens \(PREFIX_TUNING\)"),
        ("probe", "is a whole model already"),
    ],
)
def test_a_classifier_that_does_not_merge_says_why(
    adapter: Any, why: str, score: Any, tmp_path: Path
) -> None:
    run = score("classes", adapter, max_steps=1)
    with pytest.raises(ModelError, match=why):
        merge(run, tmp_path / "merged")


def test_two_classifiers_cannot_be_combined(score: Any, tmp_path: Path) -> None:
    runs = [score("classes", LORA, name, max_steps=1) for name in ("one", "two")]
    with pytest.raises(ModelError, match="PEFT cannot combine these adapters"):
        merge(runs, tmp_path / "merged")
