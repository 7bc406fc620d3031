"""What a person asks wrongly of a method is told in words, with what is allowed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers

from attune.adapters import adalora, bitfit, bottleneck, freeze, ia3, lora, peft, prompt
from attune.adapters.contract import base_model
from attune.models import adapted
from attune.recipe.errors import ModelError, RecipeError


def mamba() -> Any:
    sizes = {"vocab_size": 61, "hidden_size": 32, "state_size": 4, "num_hidden_layers": 2}
    return transformers.MambaForCausalLM(transformers.MambaConfig(**sizes))


def told(module: Any, config: Any, model: Any = None) -> str:
    with pytest.raises(RecipeError) as caught:
        module.attach(base_model() if model is None else model, config)
    return str(caught.value)


def test_more_layers_than_there_are() -> None:
    text = told(freeze, freeze.Config(num_layers=3))
    assert text.startswith("adapter.num_layers=3 is more than the model's 2 layers. Give at most 2, or use")


def test_a_pattern_of_no_parameter() -> None:
    text = told(freeze, freeze.Config(pattern="encoder.*"))
    assert (
        "adapter.pattern='encoder.*' matches no parameter. Their names are like: model.embed_tokens" in text
    )


@pytest.mark.parametrize("pattern", [".*", r"(model|lm_head)\..*"])
def test_a_pattern_of_every_parameter(pattern: str) -> None:
    text = told(freeze, freeze.Config(pattern=pattern))
    assert text.startswith(f"adapter.pattern={pattern!r} matches every parameter: nothing would be frozen.")
    assert "Use adapter=full, or a pattern of some; their names are like: model.embed_tokens" in text


def test_a_pattern_that_is_none() -> None:
    assert "adapter.pattern='*' is no regular expression" in told(freeze, freeze.Config(pattern="*"))


@pytest.mark.parametrize(
    ("module", "config"),
    [
        (ia3, ia3.Config(target_modules=["query"])),
        (adalora, adalora.Config(target_modules=["query"])),
        (bitfit, bitfit.Config(target_modules=["query"])),
    ],
)
def test_layers_that_do_not_exist(module: Any, config: Any) -> None:
    text = told(module, config)
    assert "adapter.target_modules=['query'] matches no layer of this model" in text
    assert "mlp (down_proj, gate_proj" in text


def test_layers_without_a_matrix() -> None:
    assert "matches no layer of this model" in told(bitfit, bitfit.Config(target_modules=["mlp"]))


def test_no_bias_to_learn() -> None:
    text = told(bitfit, bitfit.Config(biases="existing"))
    assert text == "adapter.biases=existing: this model (llama) has no bias. Use adapter.biases=all."


def test_a_model_without_the_two_sublayers() -> None:
    text = told(bottleneck, bottleneck.Config(), mamba())
    assert (
        "No feed-forward module was found in the layers of this model; their parts are: norm, mixer" in text
    )


def test_a_model_without_a_stack_of_layers() -> None:
    model = base_model()
    model.config.num_hidden_layers = 7
    assert "No stack of 7 layers was found in this model (llama)" in told(
        bottleneck, bottleneck.Config(), model
    )


def test_more_factors_than_a_matrix_has() -> None:
    text = told(lora, lora.Config(rank=20, start="pissa"))
    assert "adapter.rank=20 is more than the 16 singular vectors of" in text
    assert "Give at most 16, or use adapter.start=zero." in text


def test_an_embedding_has_no_factors() -> None:
    text = told(lora, lora.Config(rank=4, start="olora", target_modules=["embed_tokens", "q_proj"]))
    assert "embed_tokens holds no matrix to factorise. Leave it out of adapter.target_modules" in text


def test_what_peft_refuses_is_told_in_its_words() -> None:
    text = told(prompt, prompt.Config(), mamba())
    assert text.startswith(
        "PEFT cannot put PROMPT_TUNING on this model (mamba): Please specify `num_attention"
    )


@pytest.mark.parametrize(
    ("method", "options", "why"),
    [
        ("vare", {}, "adapter.method: 'vare'. Allowed: ada"),
        ("vera", {"rank": 4}, "PEFT does not take adapter.options for vera: "),
        ("vera", {"rank": 4}, "Its options: task_type, "),
        ("c3a", {"block_size": 25}, "PEFT cannot put C3A on this model (llama): The block size should be"),
        ("poly", {"r": 2, "n_tasks": 2}, "poly of PEFT cannot be used here: task_ids should not be None"),
    ],
)
def test_what_is_passed_through_and_refused(method: str, options: dict[str, Any], why: str) -> None:
    assert why in told(peft, peft.Config(method=method, options=options))


def test_a_method_of_peft_that_trains_nothing_here() -> None:
    text = told(peft, peft.Config(method="osf"), base_model("gpt2"))
    assert text == "osf of PEFT trains nothing on this model."


def test_a_folder_of_ours_that_does_not_fit(tmp_path: Path) -> None:
    bottleneck.attach(base_model(), bottleneck.Config(size=8)).save_pretrained(tmp_path)
    place = tmp_path / "adapter_config.json"
    settings = json.loads(place.read_text())
    settings["options"]["size"] = 4
    place.write_text(json.dumps(settings))
    with pytest.raises(
        ModelError, match=r"does not fit its base: 12 tensors differ \(model\.layers\.0\.mlp\.down"
    ):
        adapted.load(base_model(), tmp_path)
    settings["attune_adapter"] = "bottelneck"
    place.write_text(json.dumps(settings))
    with pytest.raises(RecipeError, match="Did you mean 'bottleneck'"):
        adapted.load(base_model(), tmp_path)
