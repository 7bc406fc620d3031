"""Random tiny models of many families, with weights large enough that the context matters."""

from __future__ import annotations

from typing import Any

import torch
import transformers

VOCABULARY = 97
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "tie_word_embeddings": False,
    "pad_token_id": 0,
}
_WINDOW: dict[str, Any] = {**SIZES, "sliding_window": 4, "head_dim": 8}
_TYPES = ["sliding_attention", "full_attention"]
_MIXED: dict[str, Any] = {**_WINDOW, "query_pre_attn_scalar": 8, "layer_types": _TYPES}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", SIZES),
    "qwen2": ("Qwen2", SIZES),
    "qwen3": ("Qwen3", {**SIZES, "head_dim": 8}),
    "mistral": ("Mistral", _WINDOW),
    "gemma2": ("Gemma2", {**_MIXED, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}),
    "gemma3": ("Gemma3Text", _MIXED),
    "granite": ("Granite", {**SIZES, "logits_scaling": 2.0, "attention_multiplier": 0.3}),
    "cohere": ("Cohere", {**SIZES, "logit_scale": 0.5, "tie_word_embeddings": True}),
    "gpt2": ("GPT2", {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}),
    "phi": ("Phi", SIZES),  # its head has a bias
}
"""Families that pack."""
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "mamba": (
        "Mamba",
        {"vocab_size": VOCABULARY, "hidden_size": 32, "state_size": 4, "num_hidden_layers": 2},
    ),
    # Both leave the border to the mask: attention itself is told of no window and no chunk.
    "phimoe": (
        "Phimoe",
        {**_WINDOW, "sliding_window": 1000, "num_local_experts": 2, "num_experts_per_tok": 1},
    ),
    "llama4": (
        "Llama4Text",
        {
            **SIZES,
            "head_dim": 8,
            "attention_chunk_size": 1000,
            "intermediate_size_mlp": 48,
            "num_local_experts": 2,
            "layer_types": ["chunked_attention", "full_attention"],
        },
    ),
    "gpt_oss": (
        "GptOss",
        {
            **_WINDOW,
            "num_local_experts": 2,
            "num_experts_per_tok": 1,
            "layer_types": _TYPES,
            "rope_scaling": None,
        },
    ),
}
"""Families that do not."""


def config(family: str) -> Any:
    name, options = {**FAMILIES, **OTHERS}[family]
    return getattr(transformers, f"{name}Config")(**options)


def build(family: str) -> Any:
    """The model in float32 and evaluation mode; equal calls give equal weights."""
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config(family))
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.25)
        elif "bias" in family or family in ("phi", "gpt2"):
            torch.nn.init.normal_(parameter, mean=0.5, std=0.2)
    return model.eval()
