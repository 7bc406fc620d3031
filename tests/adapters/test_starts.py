"""EVA: A begins as the principal components of what the layers get, B at zero."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import peft
import pytest
import torch
import transformers
from torch import Tensor

from attune.adapters import fused, lora
from attune.adapters.contract import FAMILIES, base_model, logits
from attune.recipe.errors import RecipeError

RANK = 4
IDS = torch.stack([torch.randperm(61, generator=torch.Generator().manual_seed(n))[:24] for n in range(6)])


AFTER_A_NORM = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "c_attn", "c_fc")


def spread(family: str = "llama") -> Any:
    """A model whose norms give inputs with strong and weak directions, as those of trained models have: among
    equals no component is the first.
    """
    model = base_model(family)
    for name, weight in model.named_parameters():
        if weight.ndim == 1 and name.endswith("weight"):
            weight.data = 0.5 ** torch.arange(len(weight)) - (1.0 if family == "gemma3" else 0.0)
    return model


def begun(family: str = "llama", ids: Tensor = IDS, **options: Any) -> Any:
    config = lora.Config(**{"rank": RANK, "start": "eva", **options})
    model = lora.attach(spread(family), config)
    fused.fuse(model)
    passes: list[Callable[[], object]] = [partial(model, part) for part in ids.split(3)]
    lora.begin(model, config, passes)
    return model


def layers(model: Any) -> dict[str, Any]:
    return {name: layer for name, layer in model.named_modules() if hasattr(layer, "lora_A")}


@pytest.mark.parametrize("family", list(FAMILIES))
def test_it_starts_as_the_base_from_peft_s_components(family: str) -> None:
    ours = begun(family)
    torch.testing.assert_close(logits(ours), logits(spread(family)), atol=1e-5, rtol=1e-5)
    assert not any(layer._forward_pre_hooks for layer in layers(ours).values())
    settings = peft.LoraConfig(
        r=RANK,
        lora_alpha=2 * RANK,
        target_modules="all-linear",
        init_lora_weights="eva",
        eva_config=peft.EvaConfig(rho=1.0, tau=0.999),
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = peft.get_peft_model(spread(family), settings)
        batches = [{"input_ids": part} for part in IDS.split(3)]
        peft.initialize_lora_eva_weights(theirs, batches, show_progress_bar=False)
    mine, its = layers(ours), layers(theirs)
    assert mine.keys() == its.keys()
    for name, layer in mine.items():
        a, b = (each.lora_A["default"].weight.detach() for each in (layer, its[name]))
        torch.testing.assert_close(a @ a.T, torch.eye(RANK), atol=1e-4, rtol=0)
        if name.endswith(AFTER_A_NORM):
            torch.testing.assert_close((a @ b.T).abs(), torch.eye(RANK), atol=0.05, rtol=0)


def test_by_hand() -> None:
    """Of one batch: the right singular vectors of the centred inputs of a layer, the strongest first."""
    model = begun(ids=IDS[:3])
    with torch.no_grad():
        trunk = spread().model
        x = trunk.layers[0].input_layernorm(trunk.embed_tokens(IDS[:3])).flatten(0, 1)
        expected = torch.linalg.svd(x - x.mean(0), full_matrices=False)[2][:RANK]
    attention = model.get_base_model().model.layers[0].self_attn
    for layer in (attention.q_proj, attention.k_proj, attention.v_proj):
        found = layer.lora_A["default"].weight
        torch.testing.assert_close((found @ expected.T).abs(), torch.eye(RANK), atol=1e-3, rtol=0)
        assert not layer.lora_B["default"].weight.any()


def test_equal_data_give_equal_starts() -> None:
    first, second = begun(), begun()
    for mine, other in zip(layers(first).values(), layers(second).values(), strict=True):
        assert torch.equal(mine.lora_A["default"].weight, other.lora_A["default"].weight)


def test_what_cannot_begin_so() -> None:
    with pytest.raises(RecipeError, match=r"no part of the training data has 4 tokens, as many as adapter"):
        begun(ids=IDS[:1, :3])
    with pytest.raises(RecipeError, match=r"start=eva: .*embed_tokens holds no matrix to factorise"):
        begun(target_modules=["embed_tokens", "q_proj"])
    sizes = {**FAMILIES["llama"][1], "intermediate_size": 8}
    narrow = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes))
    with pytest.raises(RecipeError, match=r"rank=9 is more than the 8 singular vectors of .*down_proj"):
        lora.attach(narrow, lora.Config(rank=9, start="eva"))
