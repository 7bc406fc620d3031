"""The tiny model and rows of the engine's tests, and how runs are compared; child processes use it too."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

from attune.data.template import ChatTemplate
from attune.data.tokenizer import train_tokenizer
from attune.recipe.schema import Recipe

MakeRecipe = Callable[..., Recipe]

LORA = {"name": "lora", "rank": 4, "dropout": 0.2}

_WORDS = (
    "opens",
    "closes",
    "dumplings",
    "soup",
    "tea",
    "table",
    "noodles",
    "at",
    "ten",
    "nine",
    "hot",
    "cold",
)


def rows(count: int) -> list[dict[str, str]]:
    """Questions and answers of different lengths, the same every time."""
    made = []
    for number in range(count):
        ask = " ".join(_WORDS[(number * 5 + place * 3) % len(_WORDS)] for place in range(2 + number % 4))
        answer = " ".join(
            _WORDS[(number * 7 + place * 2) % len(_WORDS)] for place in range(1 + number * 3 % 8)
        )
        made.append({"instruction": f"{number} {ask}?", "input": "", "output": f"{answer}."})
    return made


def write_rows(path: Path, count: int) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(count)), encoding="utf-8")
    return path


def save_model(
    folder: Path, *, hidden: int = 32, attention_dropout: float = 0.0, family: str = "Llama"
) -> Path:
    """A Llama (or another of its kind) of two layers with random weights, its tokenizer and the ChatML
    template.
    """
    tokenizer = train_tokenizer((" ".join(row.values()) for row in rows(40)), 300)
    ChatTemplate.load(tokenizer, "chatml")
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(
        vocab_size=300,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        attention_dropout=attention_dropout,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def weights_file(run: Path) -> Path:
    """Where ``run`` keeps its result."""
    (file,) = run.glob("final/*model.safetensors")
    return file


def weights_digest(run: Path) -> str:
    """SHA-256 of the weights in ``run/final``, byte for byte."""
    return hashlib.sha256(weights_file(run).read_bytes()).hexdigest()


def events(run: Path, kind: str) -> list[dict[str, Any]]:
    """The events of one kind in ``run/metrics.jsonl``."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def curve(run: Path) -> list[tuple[int, float, float, float]]:
    """Step, loss, gradient norm and learning rate of every step that was logged, in the order of the file."""
    return [(e["step"], e["loss"], e["grad_norm"], e["learning_rate"]) for e in events(run, "step_end")]


def train_quietly(recipe: dict[str, Any]) -> None:
    """What a child process does."""
    from attune.engine.train import train

    torch.set_num_threads(1)
    train(Recipe.model_validate(recipe))
