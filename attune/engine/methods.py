"""Every fine-tuning method side by side: what it trains, how much of a model that is, what it needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from pydantic import ValidationError

from ..adapters.method import Method
from ..models.load import load_config
from ..models.memory import GIB
from ..recipe import plugs
from ..recipe.errors import RecipeError
from ..recipe.messages import pick, say
from ..recipe.schema import Model
from .estimate import Counts
from .plan import peak_bytes

NUM_TOKENS = 4096
"""Tokens of the pass that the memory is given for."""

_REFERENCE: dict[str, Any] = {
    "vocab_size": 151_936,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 40_960,
    "tie_word_embeddings": True,
}
"""The shape of Qwen3-0.6B."""


@dataclass(frozen=True, slots=True)
class Row:
    """One method with its default settings; numbers are None where it has none or does not fit the model."""

    name: str
    trains: str
    num_trained_parameters: int | None
    share: float | None
    """Of all parameters, the method's own among them."""
    memory_gib: float | None
    """Weights, gradients, moments and activations in bf16, without what the libraries hold."""
    merges: bool
    learning_rate: float
    settings: str
    paper: str
    note: str


def methods(model: str | None = None) -> list[Row]:
    """A row a method, on ``model`` (a hub id, a folder, a config.json) or on the shape of Qwen3-0.6B.

    Raises ModelError for a model that cannot be read.
    """
    config = _reference() if model is None else load_config(Model(path=model))
    return [_row(name, config) for name in plugs.names("adapters")]


def _reference() -> Any:
    from transformers import Qwen3Config

    return Qwen3Config(**_REFERENCE)


def _row(name: str, config: Any) -> Row:
    module = plugs.find("adapters", name)
    numbers: tuple[int, int, float] | None = None
    note = ""
    method = _defaults(module)
    if method is None:
        note = say("needs a setting that has no default", "有必填选项，无默认值")
    else:
        try:
            numbers = _numbers(module, method, config)
        except RecipeError as error:
            note = str(error)
    return Row(
        name=name,
        trains=pick(module.TRAINS),
        num_trained_parameters=None if numbers is None else numbers[1],
        share=None if numbers is None else numbers[1] / numbers[0],
        memory_gib=None if numbers is None else numbers[2],
        merges=module.MERGEABLE,
        learning_rate=module.LEARNING_RATE,
        settings="" if method is None else _settings(method),
        paper=module.PAPER,
        note=note,
    )


def _defaults(module: Any) -> Method | None:
    try:
        made: Method = module.Config()
    except ValidationError:
        return None
    return made


def _numbers(module: Any, method: Method, config: Any) -> tuple[int, int, float]:
    """Parameters in all, those that learn, and memory, from a model that has shapes and no numbers."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = module.attach(AutoModelForCausalLM.from_config(config), method)
    counts = Counts.of(model)
    tokens = NUM_TOKENS + method.virtual_tokens
    return counts.total, counts.trained, peak_bytes(method, config, "bf16", counts, tokens) / GIB


def _settings(method: Method) -> str:
    """The settings that say something; what is off or empty is left out."""
    silent: tuple[Any, ...] = (None, False, 0.0, 1.0, [], {})
    said = {name: value for name, value in method.model_dump().items() if name != "name"}
    return ", ".join(f"{name}={value}" for name, value in said.items() if value not in silent)
