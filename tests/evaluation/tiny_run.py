"""A tiny Llama with a byte tokenizer, rows for it, and what the engine writes about a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

from attune.models import heads

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ROWS = [
    {"messages": [{"role": "user", "content": "几点开门？"}, {"role": "assistant", "content": "十点。"}]},
    {"messages": [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"}]},
    {
        "messages": [
            {"role": "system", "content": "Short."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": "Bye"},
            {"role": "assistant", "content": "Bye!"},
        ]
    },
]
RECORD: dict[str, Any] = {
    "state": "finished",
    "name": "tuned",
    "objective": "sft",
    "adapter": "lora",
    "started": "2026-11-21T14:00:00+00:00",
    "finished": "2026-11-21T14:03:22+00:00",
    "seconds": 202.3,
    "versions": {"attune": "0.1.0", "torch": "2.13.0"},
    "seed": 42,
    "data": [
        {
            "path": "a.json",
            "format": "alpaca",
            "num_rows": 12,
            "num_used": 10,
            "num_rejected": 2,
            "sha256": "ab12cd34ef567890",
        }
    ],
    "num_examples": 8,
    "num_held_out": 2,
    "num_steps": 40,
    "num_trained_parameters": 1024,
    "num_parameters": 65536,
    "precision": "fp32",
    "layout": "packed",
    "tokens_per_second": 1098.4,
    "peak_memory_gib": 1.84,
    "final_loss": 0.5871,
    "held_out_loss": 0.8123,
    "warnings": [],
    "platform": "Linux, 2 cores",
}


def tokenizer() -> PreTrainedTokenizerFast:
    """Every byte is a token; four special ones."""
    special = ["<|pad|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(special + alphabet)}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens(special)
    made = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token=special[0], eos_token=special[1])
    made.chat_template = CHATML
    return made


def write_lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def save_base(folder: Path, seed: int = 0, *, window: int = 256) -> Path:
    torch.manual_seed(seed)
    made = tokenizer()
    LlamaForCausalLM(_config(made, window)).save_pretrained(folder)
    made.save_pretrained(folder)
    return folder


def save_reward_model(folder: Path, seed: int = 0) -> Path:
    """As ``attune reward`` leaves one whose weights all learnt, with a tokenizer of its own: bytes."""
    torch.manual_seed(seed)
    made = tokenizer()
    config = _config(made, 256)
    heads.describe(config, heads.REWARD, made.pad_token_id)
    LlamaForSequenceClassification(config).save_pretrained(folder)
    made.save_pretrained(folder)
    return folder


def _config(made: PreTrainedTokenizerFast, window: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(made),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=window,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
