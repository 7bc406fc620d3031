"""Every method through the engine: resumed to the bit, planned to the parameter, asked, merged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_engine import MakeRecipe, curve, save_model, weights_digest

from attune.adapters import bitfit, lora
from attune.adapters.contract import base_model
from attune.engine.attach import attach
from attune.engine.events import Event, StepEnd
from attune.engine.parts import open_model
from attune.engine.plan import plan
from attune.engine.train import train
from attune.inference.decode import generate
from attune.models.load import load_for_inference
from attune.models.merge import merge
from attune.models.policy import Policy
from attune.recipe import plugs
from attune.recipe.errors import ModelError, RecipeError
from attune.recipe.schema import Generation

METHODS: dict[str, dict[str, Any]] = {
    "full": {},
    "freeze": {"num_layers": 1},
    "lora": {"rank": 4, "lora_plus_ratio": 4.0},
    "rslora": {"rank": 8},
    "dora": {"rank": 4},
    "adalora": {"rank": 2, "start_rank": 4},
    "qlora": {"rank": 4},
    "ia3": {},
    "bitfit": {},
    "bottleneck": {"size": 8, "dropout": 0.2},
    "prompt": {"num_virtual_tokens": 6},
    "ptuning": {"num_virtual_tokens": 6},
    "prefix": {"num_virtual_tokens": 6},
    "peft": {"method": "vera", "options": {"r": 4}},
}


def adapter(name: str) -> dict[str, Any]:
    if name == "qlora":
        pytest.importorskip("bitsandbytes", reason="needs bitsandbytes, which is not here")
    return {"name": name, **METHODS[name]}


def test_no_method_is_forgotten_here() -> None:
    # The probe trains a head that scores, and no language model.
    assert set(METHODS) == set(plugs.names("adapters")) - {"probe"}


@pytest.mark.parametrize("name", ["bottleneck", "prompt", "adalora", "qlora"])
def test_a_run_goes_on_to_the_same_weights(name: str, recipe: MakeRecipe) -> None:
    def die(event: Event) -> None:
        if isinstance(event, StepEnd) and event.step == 4:
            raise KeyboardInterrupt

    whole = train(recipe("whole", adapter=adapter(name))).output
    broken = recipe("broken", adapter=adapter(name), save_steps=3)
    with pytest.raises(KeyboardInterrupt):
        train(broken, listeners=[die])
    again = train(broken).output
    assert weights_digest(again) == weights_digest(whole)
    assert curve(again) == curve(whole)


def test_a_start_from_the_data_is_found_again(recipe: MakeRecipe) -> None:
    """A run that goes on ends in the same bits as one that was not stopped."""
    asked = {"name": "lora", "rank": 4, "start": "eva"}
    whole = train(recipe("whole", adapter=asked)).output
    broken = recipe("broken", adapter=asked, save_steps=2)

    def die(event: Event) -> None:
        if isinstance(event, StepEnd) and event.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(broken, listeners=[die])
    assert weights_digest(train(broken).output) == weights_digest(whole)
    plain = train(recipe("plain", adapter={**asked, "start": "zero"})).output
    assert weights_digest(plain) != weights_digest(whole)
    assert (
        plan(recipe(adapter=asked)).num_trained_parameters
        == json.loads((whole / "run.json").read_text())["num_trained_parameters"]
    )
    assert merge(whole, whole / "merged").mean_kl <= 1e-6


@pytest.mark.parametrize("name", list(METHODS))
def test_the_plan_counts_what_the_run_trains(name: str, recipe: MakeRecipe) -> None:
    asked = recipe(adapter=adapter(name), max_steps=2)
    planned, ran = plan(asked), train(asked).state
    assert planned.num_trained_parameters == ran["num_trained_parameters"]
    assert planned.num_parameters == ran["num_parameters"]
    assert planned.learning_rate == ran["learning_rate"]
    assert ran["layout"] == "packed"


@pytest.mark.parametrize("name", list(METHODS))
def test_what_was_trained_answers(name: str, recipe: MakeRecipe) -> None:
    """The decoder's greedy answer is what the policy finds likeliest, token by token."""
    ran = train(recipe(adapter=adapter(name), learning_rate=2e-2))
    loaded = load_for_inference(str(ran.output), "cpu")
    prompt = [7, 8, 9, 10, 11]
    ((answer,),) = generate(loaded.model, [prompt], Generation(max_new_tokens=6), frozenset())
    ids = torch.tensor([prompt + answer.ids])
    with torch.no_grad():
        logits = loaded.model(input_ids=ids).logits[0, -7:-1]
    assert logits.argmax(-1).tolist() == answer.ids
    held_out = ran.state["held_out_loss"]
    assert held_out is not None
    policy = Policy(loaded.model)
    assert policy.packs, policy.reason


def test_lora_plus_moves_b_faster(recipe: MakeRecipe) -> None:
    """After one AdamW step from zero each number of B has moved by the step size."""
    moved = {}
    for ratio in (1.0, 4.0):
        asked = {"name": "lora", "rank": 4, "lora_plus_ratio": ratio}
        run = train(
            recipe(f"r{ratio}", adapter=asked, max_steps=1, warmup_steps=0.0, max_grad_norm=None)
        ).output
        model = load_for_inference(str(run), "cpu").model
        weights = [w for name, w in model.named_parameters() if "lora_B" in name]
        moved[ratio] = max(float(w.abs().max()) for w in weights)
    assert moved[1.0] == pytest.approx(1e-2, rel=1e-3)
    assert moved[4.0] == pytest.approx(4e-2, rel=1e-3)


@pytest.mark.parametrize("name", ["rslora", "dora", "adalora", "qlora", "ia3", "peft"])
def test_it_merges(name: str, recipe: MakeRecipe, tmp_path: Path) -> None:
    run = train(recipe(adapter=adapter(name), learning_rate=2e-2)).output
    report = merge(run, tmp_path / "merged")
    assert report.mean_kl <= 1e-6
    assert report.num_layers == (4 if name == "peft" else 14)
    assert report.num_compared > 20


def test_a_bias_that_the_architecture_can_hold_is_merged(recipe: MakeRecipe, tmp_path: Path) -> None:
    run = train(recipe(adapter=adapter("bitfit"), learning_rate=5e-2)).output
    assert merge(run, tmp_path / "merged").mean_kl <= 1e-6
    merged = load_for_inference(str(tmp_path / "merged"), "cpu").model
    assert merged.config.attention_bias
    assert merged.config.mlp_bias
    assert merged.model.layers[0].mlp.up_proj.bias.abs().max() > 0


def test_some_biases_are_merged_beside_zeros(recipe: MakeRecipe, tmp_path: Path) -> None:
    asked = {"name": "bitfit", "target_modules": ["q_proj", "v_proj"]}
    run = train(recipe(adapter=asked, learning_rate=5e-2)).output
    assert merge(run, tmp_path / "merged").mean_kl <= 1e-6
    merged = load_for_inference(str(tmp_path / "merged"), "cpu").model
    assert merged.model.layers[0].self_attn.k_proj.bias.abs().max() == 0
    assert not merged.config.mlp_bias


def test_a_bias_that_the_architecture_cannot_hold(recipe: MakeRecipe, tmp_path: Path) -> None:
    base = save_model(tmp_path / "qwen", family="Qwen3")
    run = train(recipe(adapter=adapter("bitfit"), model=base, max_steps=2)).output
    with pytest.raises(ModelError) as caught:
        merge(run, tmp_path / "merged")
    text = str(caught.value)
    assert "qwen3 has no place for a bias on down_proj, gate_proj, up_proj" in text
    assert "train with adapter.target_modules=[k_proj, o_proj, q_proj, v_proj]" in text
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("bottleneck", "nonlinearity between its two matrices"),
        ("prompt", r"virtual tokens \(PROMPT_TUNING\), which stand before the input"),
        ("ptuning", r"virtual tokens \(P_TUNING\)"),
        ("prefix", r"virtual tokens \(PREFIX_TUNING\)"),
        ("freeze", "is a whole model already"),
    ],
)
def test_what_does_not_merge_says_why(name: str, why: str, recipe: MakeRecipe, tmp_path: Path) -> None:
    run = train(recipe(adapter=adapter(name), max_steps=1)).output
    with pytest.raises(ModelError, match=why):
        merge(run, tmp_path / "merged")


def test_virtual_tokens_take_their_part_of_the_window(recipe: MakeRecipe) -> None:
    with pytest.raises(RecipeError, match=r"num_virtual_tokens=300 leaves no room .* window of 256 tokens"):
        plan(recipe(adapter={"name": "prompt", "num_virtual_tokens": 300}))
    with pytest.raises(RecipeError, match=r"max_length=200 is more than the model's window of 156"):
        plan(recipe(adapter={"name": "prompt", "num_virtual_tokens": 100}, data={"max_length": 200}))


@pytest.fixture
def two(recipe: MakeRecipe) -> list[Path]:
    """Two adapters of one base that have learnt different things."""
    return [
        train(recipe(f"r{seed}", adapter=adapter("lora"), seed=seed, learning_rate=2e-2)).output
        for seed in (1, 2)
    ]


def test_a_weighted_sum_of_two_by_hand(two: list[Path], model_dir: Path, tmp_path: Path) -> None:
    def weight(path: Path) -> torch.Tensor:
        found: torch.Tensor = load_for_inference(str(path), "cpu").model.model.layers[0].mlp.up_proj.weight
        return found

    whole = [
        merge(run, tmp_path / f"m{place}") and weight(tmp_path / f"m{place}") for place, run in enumerate(two)
    ]
    report = merge(two, tmp_path / "both", weights=[0.75, 0.5])
    base = weight(model_dir)
    expected = base + 0.75 * (whole[0] - base) + 0.5 * (whole[1] - base)
    torch.testing.assert_close(weight(tmp_path / "both"), expected, atol=1e-5, rtol=1e-4)
    assert report.source == f"{two[0]} + {two[1]}"


@pytest.mark.parametrize("how", ["ties", "dare", "dare_ties"])
def test_two_are_combined(how: Any, two: list[Path], tmp_path: Path) -> None:
    assert merge(two, tmp_path / "both", how=how).mean_kl <= 1e-6


def test_what_cannot_be_combined_says_why(two: list[Path], recipe: MakeRecipe, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"2 adapters and 3 weights: .* --weights 0\.5,0\.5"):
        merge(two, tmp_path / "m", weights=[1, 2, 3])
    ia3 = train(recipe("ia3", adapter=adapter("ia3"), max_steps=1)).output
    with pytest.raises(
        ModelError, match=r"is IA3 over .*, the first is LORA over .* one method over one base"
    ):
        merge([two[0], ia3], tmp_path / "m")
    other = train(recipe("r8", adapter={"name": "lora", "rank": 8}, max_steps=1)).output
    with pytest.raises(
        ModelError, match=r"PEFT cannot combine these adapters by --how ties: .* linear takes"
    ):
        merge([two[0], other], tmp_path / "m", how="ties")
    bitfit = train(recipe("bitfit", adapter=adapter("bitfit"), max_steps=1)).output
    with pytest.raises(ModelError, match=r"cannot be combined with others: .* Merge it alone"):
        merge([two[0], bitfit], tmp_path / "m")


def test_new_tokens_are_learnt_saved_and_merged(recipe: MakeRecipe, rows_path: Path, tmp_path: Path) -> None:
    """The model has no spare row: one is added, and everything finds it again."""
    rows_path.write_text(rows_path.read_text(encoding="utf-8").replace("soup", "<soup>"), encoding="utf-8")
    asked = {"name": "lora", "rank": 4, "train_tokens": ["<soup>", 7]}
    planned, run = plan(recipe(adapter=asked)), train(recipe(adapter=asked, learning_rate=2e-2))
    assert planned.num_trained_parameters == run.state["num_trained_parameters"]
    loaded = load_for_inference(str(run.output), "cpu")
    assert loaded.tokenizer.convert_tokens_to_ids("<soup>") == 300
    assert loaded.tokenizer("a<soup>")["input_ids"][-1] == 300
    layer = loaded.model.get_input_embeddings()
    assert layer(torch.tensor([300])).abs().sum() > 0
    assert merge(run.output, tmp_path / "merged").mean_kl <= 1e-6
    merged = load_for_inference(str(tmp_path / "merged"), "cpu")
    assert merged.model.config.vocab_size == 301
    *_, notices = open_model(recipe(adapter={**asked, "train_tokens": ["t", 7, "<soup>"]}))
    assert ("info", "New tokens: <soup>.") in notices
    assert ("info", "The vocabulary has these tokens already; their rows learn: t.") in notices
    with pytest.raises(RecipeError, match=r"train_tokens: an empty text is no token"):
        plan(recipe(adapter={**asked, "train_tokens": ["", 7]}))
    with pytest.raises(RecipeError, match=r"train_tokens=999: ids of this tokenizer go from 0 to 299"):
        plan(recipe(adapter={**asked, "train_tokens": [999]}))


def test_whole_modules_are_learnt_saved_and_merged(recipe: MakeRecipe, tmp_path: Path) -> None:
    asked = {"name": "lora", "rank": 4, "modules_to_save": ["lm_head"]}
    run = train(recipe(adapter=asked, learning_rate=2e-2))
    assert plan(recipe(adapter=asked)).num_trained_parameters == run.state["num_trained_parameters"]
    assert merge(run.output, tmp_path / "merged").mean_kl <= 1e-6
    with pytest.raises(RecipeError, match=r"adapter\.modules_to_save: 'head'\..*lm_head"):
        plan(recipe(adapter={**asked, "modules_to_save": ["head"]}))


def test_a_model_that_carries_an_adapter_gets_no_second(recipe: MakeRecipe) -> None:
    """PEFT's around the model, one that transformers put into it, ours: all are seen."""
    inside = lora.attach(base_model(), lora.Config(rank=4)).get_base_model()
    for model in (
        lora.attach(base_model(), lora.Config(rank=4)),
        inside,
        bitfit.attach(base_model(), bitfit.Config()),
    ):
        with pytest.raises(
            RecipeError, match=r"carries an adapter already: .* Merge that one \(attune merge"
        ):
            attach(recipe(adapter="ia3"), model, None)
