"""A model is left exactly as it was found."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from transformers import PreTrainedModel

from attune.inference.attention import NAME as DECODE
from attune.inference.mode import evaluating, standard_attention
from attune.models import attention

Tiny = Callable[..., PreTrainedModel]


@pytest.mark.parametrize(("family", "used"), [("llama", DECODE), ("gemma2", "eager")])
def test_attention_is_switched_and_restored(tiny: Tiny, family: str, used: str) -> None:
    attention.register()
    model = tiny(family)
    model.set_attn_implementation(attention.NAME)
    with standard_attention(model):
        assert model.config._attn_implementation == used
        assert model.model.config._attn_implementation == used
    assert model.config._attn_implementation == attention.NAME


def test_attention_is_restored_after_an_error(tiny: Tiny) -> None:
    attention.register()
    model = tiny("llama")
    model.set_attn_implementation(attention.NAME)
    with pytest.raises(KeyError), standard_attention(model):
        raise KeyError
    assert model.config._attn_implementation == attention.NAME


def test_every_module_gets_its_own_mode_back(tiny: Tiny) -> None:
    model = tiny("llama").train()
    model.model.layers[0].eval()
    before = [module.training for module in model.modules()]
    with evaluating(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == before
