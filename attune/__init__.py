"""From a base language model and your own data to a specialist: train, check, evaluate, merge.

The names below are imported when they are first used, so that ``import attune`` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .data.examples import Message
    from .engine.inspect import check
    from .engine.plan import plan
    from .engine.train import train
    from .evaluation.evaluate import evaluate
    from .inference.generate import generate
    from .models.merge import merge
    from .recipe.load import load as load_recipe
    from .recipe.schema import Generation, Recipe

__all__ = [
    "Generation",
    "Message",
    "Recipe",
    "__version__",
    "check",
    "evaluate",
    "generate",
    "load_recipe",
    "merge",
    "plan",
    "train",
]

_HOMES = {
    "Recipe": ("attune.recipe.schema", "Recipe"),
    "Generation": ("attune.recipe.schema", "Generation"),
    "Message": ("attune.data.examples", "Message"),
    "load_recipe": ("attune.recipe.load", "load"),
    "train": ("attune.engine.train", "train"),
    "check": ("attune.engine.inspect", "check"),
    "plan": ("attune.engine.plan", "plan"),
    "evaluate": ("attune.evaluation.evaluate", "evaluate"),
    "generate": ("attune.inference.generate", "generate"),
    "merge": ("attune.models.merge", "merge"),
}


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("attune")
    except PackageNotFoundError:
        return "0+unknown"  # a source tree that was never installed


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(f"module 'attune' has no attribute '{name}'")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
