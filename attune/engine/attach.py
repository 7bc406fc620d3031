"""From a recipe's method to the model that carries it; the engine knows no method by name."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from ..adapters import fused
from ..adapters.method import Begin, Companion, Method
from ..data import pack
from ..data.cache import Store
from ..models import adapted, heads, tokens
from ..models.policy import Policy
from ..models.precision import DTYPES
from ..recipe import plugs
from ..recipe.errors import RecipeError
from ..recipe.messages import say
from ..recipe.schema import Recipe
from .step import Micro

_LOOKED_AT = 64
"""Examples from which a method may begin."""


def method_of(recipe: Recipe) -> Method:
    """The fine-tuning method with its options."""
    assert isinstance(recipe.adapter, Method), "an adapter's Config is a Method"
    return recipe.adapter


def base_dtype(recipe: Recipe, precision: str) -> torch.dtype:
    """Of the weights as they are loaded: float32 where some of the base's own learn."""
    return torch.float32 if method_of(recipe).trains_base else DTYPES[precision]


def attach(recipe: Recipe, model: Any, tokenizer: Any) -> Any:
    """``model`` with the recipe's adapter, and rows for its new tokens, which ``tokenizer`` has already.

    Raises RecipeError for a model that carries an adapter, and what the method does not take.
    """
    method = method_of(recipe)
    if adapted.carries_adapter(model):
        raise RecipeError(
            say(
                "{path} carries an adapter already: what is trained now would correct the two together, and "
                "be saved without the first. Merge that one (attune merge {path} --output <folder>) and "
                "train from the folder.",
                "{path} 上已有适配器：现在训练的将是对二者之和的修正，保存时却不含前者。请先合并"
                "（attune merge {path} --output <文件夹>），再从该文件夹训练。",
                path=recipe.model.path,
            )
        )
    if method.tokens:
        wanted = tokens.ids(tokenizer, method.tokens)
        model = tokens.fit(model, max(wanted) + 1)
        method = method.model_copy(update={"train_tokens": wanted})
    tuned = plugs.find("adapters", method.name).attach(model, method)
    if heads.is_scoring(tuned):
        heads.learn(tuned)
    fused.fuse(tuned)
    return tuned


def companion_of(recipe: Recipe, policy: Policy, num_steps: int) -> Companion | None:
    """What the method does beside the gradient, where it does anything."""
    make = getattr(plugs.find("adapters", recipe.adapter.name), "companion", None)
    if make is None:
        return None
    made: Companion = make(policy.model, num_steps)
    return made


def begin(recipe: Recipe, policy: Policy, store: Store, micro: Micro) -> None:
    """Lets a method that begins from the training data look at some of it. All processes see the same, and a
    run that goes on sees what it saw before: its checkpoint may turn out damaged.
    """
    start: Begin | None = getattr(plugs.find("adapters", recipe.adapter.name), "begin", None)
    if start is None or not len(store):
        return
    examples = pack.order(len(store), 0, recipe.train.seed)[:_LOOKED_AT]
    lengths = [int(store.lengths[index]) for index in examples]
    # One by one where rows would be padded: what stands for nothing must not be looked at.
    rows = pack.packs(examples, lengths, micro.tokens) if policy.packs else [[index] for index in examples]
    policy.eval()
    start(policy.model, method_of(recipe), (partial(_run, policy, store, row) for row in rows))


def _run(policy: Policy, store: Store, row: Sequence[int]) -> None:
    policy.token_states(pack.batch(store, row))
