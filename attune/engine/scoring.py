"""What a run needs whose objective asks for scores instead of log-probabilities: a head described by the
data.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data.cache import Store
from ..data.images import ImageReader
from ..data.prepare import Prepared
from ..models import heads
from ..recipe import plugs
from ..recipe.schema import Choice, Recipe


def needs_scores(recipe: Recipe) -> bool:
    """Whether the model gets a head that scores."""
    return "scores" in plugs.find("objectives", recipe.objective.name).NEEDS


def settled(recipe: Recipe, data: Prepared) -> Choice:
    """The objective's options, with what the labels of the training rows decide.

    Raises RecipeError for options that do not fit the labels.
    """
    settle = getattr(plugs.find("objectives", recipe.objective.name), "settled", None)
    if settle is None or data.labels is None:
        return recipe.objective
    chosen: Choice = settle(recipe.objective, data.labels)
    return chosen


def describe(recipe: Recipe, config: Any, tokenizer: Any, data: Prepared) -> None:
    """Writes into the model's ``config`` what its scores will mean, before the model is made."""
    if needs_scores(recipe):
        settled(recipe, data)
        labels = data.labels or heads.REWARD
        if isinstance(tokenizer, ImageReader):
            heads.describe(config, labels)
            return
        pad = heads.padding(tokenizer, _ends(data.train))
        heads.describe(config, labels, pad, tokenizer.sep_token_id)


def _ends(store: Store) -> set[int]:
    """The last tokens of all prompts and branches."""
    places = np.unique(store.segments[1:]) - 1
    return set(store.ids[places[places >= 0]].tolist())
