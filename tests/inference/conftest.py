"""Random tiny models of several families, with weights large enough that the context matters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from attune.data.template import ChatTemplate
from attune.models.load import Loaded

VOCABULARY = 61
_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "tie_word_embeddings": False,  # a tied random model says its last token again
}
_WINDOWED: dict[str, Any] = {**_SIZES, "num_hidden_layers": 3, "head_dim": 8, "sliding_window": 6}
_GEMMA3_LAYERS = ["sliding_attention", "full_attention", "sliding_attention"]
_FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", _SIZES),
    "qwen3": ("Qwen3", {**_SIZES, "head_dim": 8}),
    "mistral": ("Mistral", _WINDOWED),
    "gemma": ("Gemma", {**_SIZES, "head_dim": 8}),
    "gemma2": ("Gemma2", {**_WINDOWED, "query_pre_attn_scalar": 8, "attn_logit_softcapping": 2.0}),
    "gemma3": ("Gemma3Text", {**_WINDOWED, "query_pre_attn_scalar": 8, "layer_types": _GEMMA3_LAYERS}),
    "gpt2": (
        "GPT2",
        {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "bos_token_id": 1, "eos_token_id": 2},
    ),
    "mamba": (
        "Mamba",
        {
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "state_size": 4,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "tie_word_embeddings": False,
        },
    ),
}
_CLASSES = {"GPT2": "GPT2LMHeadModel", "Gemma3Text": "Gemma3ForCausalLM"}


def _tiny(family: str, seed: int = 0, **changed: Any) -> PreTrainedModel:
    name, sizes = _FAMILIES[family]
    torch.manual_seed(seed)
    config = getattr(transformers, f"{name}Config")(**{"vocab_size": VOCABULARY, **sizes, **changed})
    model = getattr(transformers, _CLASSES.get(name, f"{name}ForCausalLM"))(config)
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if weight.dim() > 1 and not key.endswith(("A_log", "conv1d.weight")):
                weight.normal_(0.0, 0.25)
    model.generation_config = transformers.GenerationConfig(pad_token_id=0)
    return model.eval()


@pytest.fixture(scope="session")
def tiny() -> Callable[..., PreTrainedModel]:
    """``tiny(family, seed=0, **config)``: a model in float32 and evaluation mode."""
    return _tiny


def _byte_tokenizer() -> PreTrainedTokenizerFast:
    """Every byte is one token: a Chinese character is three of them."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    model = models.BPE(vocab={byte: number for number, byte in enumerate(alphabet)}, merges=[])
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>")


@pytest.fixture
def byte_tokenizer() -> PreTrainedTokenizerFast:
    return _byte_tokenizer()


@pytest.fixture
def talker(byte_tokenizer: PreTrainedTokenizerFast) -> Loaded:
    """A random model that answers in bytes, with the plain template."""
    model = _tiny("llama", vocab_size=len(byte_tokenizer), max_position_embeddings=256)
    template = ChatTemplate.load(byte_tokenizer, "plain")
    return Loaded(model, byte_tokenizer, template, "talker", None)
