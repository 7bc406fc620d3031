"""Seconds of the parts of a step, measured on one and on two layers of random weights: the other layers are a
multiplication.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import torch

from ..inference import decode
from ..models import heads
from ..models.images import policy_of
from ..models.policy import Policy
from ..recipe import plugs
from ..recipe.errors import RecipeError
from ..recipe.schema import Generation, Recipe
from . import scoring
from .attach import attach, base_dtype

_DECODED = 8
"""Tokens a row whose sampling is timed."""


class Stopwatch:
    """Times a model of the recipe's widths."""

    def __init__(
        self, recipe: Recipe, tokenizer: Any, config: Any, precision: str, device: torch.device
    ) -> None:
        self.num_layers = _num_alike(config) or 1
        depths = range(1, 1 + min(2, self.num_layers))
        self.policies = [_shallow(recipe, tokenizer, config, precision, device, depth) for depth in depths]

    def seconds(self, work: Callable[[Policy], object]) -> float:
        """Of ``work`` with the whole model."""
        one, *more = (_best(work, policy) for policy in self.policies)
        return one + max(0.0, sum(more) - one) * (self.num_layers - 1) if more else one

    def sampling(self, prompts: list[list[int]], num_samples: int) -> tuple[float, float]:
        """Of reading the prompts and choosing a first token of each sample, and of one more token of all."""

        def until(count: int) -> float:
            generation = Generation(max_new_tokens=count, temperature=1.0)
            return self.seconds(
                lambda policy: decode.generate(
                    policy.model, prompts, generation, frozenset(), num_samples=num_samples
                )
            )

        first = until(1)
        return first, max(0.0, until(1 + _DECODED) - first) / _DECODED


def _best(work: Callable[[Policy], object], policy: Policy) -> float:
    """The best of three, after a warm-up."""
    work(policy)
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        work(policy)
        if policy.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begun)
        policy.zero_grad(set_to_none=True)
    return min(times)


def with_layers(config: Any, depth: int) -> Any:
    """A copy of a model's configuration with its first ``depth`` layers."""
    small = copy.deepcopy(config)
    text = small.get_text_config()
    if _num_alike(small):
        text.num_hidden_layers = depth
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:depth]
    return small


def _num_alike(config: Any) -> int | None:
    """Layers of one shape; None where there are stages of several."""
    text = config.get_text_config()
    found: int | None = None if getattr(text, "depths", None) else getattr(text, "num_hidden_layers", None)
    return found


def _shallow(
    recipe: Recipe, tokenizer: Any, config: Any, precision: str, device: torch.device, depth: int
) -> Policy:
    """A model of ``depth`` layers; of one whose layers are not counted so (ResNet), all."""
    small = with_layers(config, depth)
    dtype = base_dtype(recipe, precision)
    kind = heads.auto_class(small, scoring.needs_scores(recipe))
    model = kind.from_config(small, trust_remote_code=recipe.model.trust_remote_code)
    model = model.to(device=device, dtype=dtype)
    try:
        model = attach(recipe, model, tokenizer)
    except RecipeError:
        # The whole model took the method: it names layers that so few do not have. It is timed as if all
        # weights learnt, which is no faster.
        model.requires_grad_(True)
    policy = policy_of(model, tokenizer, packing=recipe.train.packing == "auto")
    if "values" in plugs.find("objectives", recipe.objective.name).NEEDS:
        policy.add_value_head()
    return policy
