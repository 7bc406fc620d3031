"""LoRA's options do what they say; its errors name the layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from attune.adapters import adalora, dora, fused, lora
from attune.adapters.contract import base_model, learnt
from attune.recipe.errors import RecipeError

LAYERS = ["down_proj", "gate_proj", "k_proj", "lm_head", "o_proj", "q_proj", "up_proj", "v_proj"]


def layers_of(model: Any) -> dict[str, Any]:
    return {name: layer for name, layer in model.named_modules() if hasattr(layer, "lora_A")}


def test_all_linear_leaves_the_head_alone() -> None:
    model = lora.attach(base_model(), lora.Config())
    found = {name.rpartition(".")[2] for name in layers_of(model)}
    assert found == set(LAYERS) - {"lm_head"}
    assert fused.fuse(model) == 14


@pytest.mark.parametrize(
    ("options", "scaling"),
    [({}, 2.0), ({"alpha": 4.0}, 0.5), ({"alpha": 4.0, "rank": 16, "rslora": True}, 1.0)],
)
def test_scaling(options: dict[str, Any], scaling: float) -> None:
    model = lora.attach(base_model(), lora.Config(**{"rank": 8, **options}))
    assert {layer.scaling["default"] for layer in layers_of(model).values()} == {scaling}


def test_masters_are_float32_over_a_bfloat16_base() -> None:
    model = lora.attach(base_model().bfloat16(), lora.Config())
    assert {p.dtype for p in learnt(model).values()} == {torch.float32}
    assert model.get_base_model().lm_head.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("wanted", [["query", "value"], ["nothing"], "no_such_.*", []])
def test_targets_that_match_nothing_list_the_layers(wanted: Any) -> None:
    with pytest.raises(RecipeError) as caught:
        lora.attach(base_model(), lora.Config(target_modules=wanted))
    text = str(caught.value)
    assert f"adapter.target_modules={wanted!r} matches no layer of this model." in text
    assert (
        "Layers that can be adapted: mlp (down_proj, gate_proj, up_proj), "
        "self_attn (k_proj, o_proj, q_proj, v_proj), lm_head; or all-linear." in text
    )


def test_a_pattern_that_is_no_pattern() -> None:
    with pytest.raises(
        RecipeError, match=r"adapter\.target_modules='\*proj' is no regular expression \(nothing to repeat"
    ):
        lora.attach(base_model(), lora.Config(target_modules="*proj"))


def test_targets_that_hold_no_matrix_to_adapt() -> None:
    with pytest.raises(RecipeError, match=r"Layers that can be adapted: mlp \(down_proj"):
        lora.attach(base_model(), lora.Config(target_modules=["mlp"]))


def test_one_of_several_targets_that_does_not_exist() -> None:
    with pytest.raises(RecipeError, match=r"adapter\.target_modules: 'v_porj'\. .*Did you mean 'v_proj'"):
        lora.attach(base_model(), lora.Config(target_modules=["q_proj", "v_porj"]))


@pytest.mark.parametrize(
    ("module", "options", "field"),
    [
        (lora, {"rank": 33}, "rank=33"),
        (lora, {"rank": 17, "target_modules": ["k_proj"]}, "rank=17"),
        (dora, {"rank": 100_000_000}, "rank=100000000"),
        (adalora, {"start_rank": 40}, "start_rank=40"),
    ],
)
def test_a_rank_above_the_size_of_all_matrices(module: Any, options: dict[str, Any], field: str) -> None:
    with pytest.raises(RecipeError) as caught:
        module.attach(base_model(), module.Config(**options))
    most = 16 if "target_modules" in options else 32
    assert str(caught.value) == (
        f"adapter.{field} is above the size of every matrix that it would correct (their smaller sides are "
        f"{most} at most). Give at most {most}, or use adapter=full, which trains the matrices themselves."
    )


def test_a_rank_above_the_size_of_some() -> None:
    lora.attach(base_model(), lora.Config(rank=32))
    lora.attach(base_model(), lora.Config(rank=40, target_modules=["embed_tokens"]))
