"""From a recipe's method to the model that carries it; the engine knows no method by name."""

from __future__ import annotations

from typing import Any

import torch

from ..adapters import fused
from ..adapters.method import Companion, Method
from ..models import heads, tokens
from ..models.policy import Policy
from ..models.precision import DTYPES
from ..recipe import plugs
from ..recipe.schema import Recipe


def method_of(recipe: Recipe) -> Method:
    """The fine-tuning method with its options."""
    assert isinstance(recipe.adapter, Method), "an adapter's Config is a Method"
    return recipe.adapter


def base_dtype(recipe: Recipe, precision: str) -> torch.dtype:
    """Of the weights as they are loaded: float32 where some of the base's own learn."""
    return torch.float32 if method_of(recipe).trains_base else DTYPES[precision]


def attach(recipe: Recipe, model: Any, tokenizer: Any) -> Any:
    """``model`` with the recipe's adapter, and rows for its new tokens, which ``tokenizer`` has already."""
    method = method_of(recipe)
    if method.tokens:
        wanted = tokens.ids(tokenizer, method.tokens)
        model = tokens.fit(model, max(wanted) + 1)
        method = method.model_copy(update={"train_tokens": wanted})
    adapted = plugs.find("adapters", method.name).attach(model, method)
    if heads.is_scoring(adapted):
        heads.learn(adapted)
    fused.fuse(adapted)
    return adapted


def companion_of(recipe: Recipe, policy: Policy, num_steps: int) -> Companion | None:
    """What the method does beside the gradient, where it does anything."""
    make = getattr(plugs.find("adapters", recipe.adapter.name), "companion", None)
    if make is None:
        return None
    made: Companion = make(policy.model, num_steps)
    return made
