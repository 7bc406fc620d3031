"""Any other method of PEFT, by its name and with its own options: ``adapter={name: peft, method: vera}``.

It is passed through: PEFT builds it, PEFT's words are its options and PEFT's complaints its errors. attune
adds what it adds to every model: the probe that decides whether it packs, the loop, checkpoints,
evaluation. What such a method promises, and which learning rate it needs, its own paper says.
"""

# ruff: noqa: E501 (a help text holds both languages in one line)
from __future__ import annotations

import warnings
from typing import Any, Literal

from pydantic import Field

from ..models import trunk
from ..recipe import plugs
from ..recipe.errors import RecipeError
from ..recipe.messages import join, say
from . import targets
from .method import Method

PAPER = ""
TRAINS = "whatever the method of PEFT trains (passed through) | 由所选的 PEFT 方法决定（原样传递）"
LEARNING_RATE = 1e-3
MERGEABLE = True


class Config(Method):
    """Passed through to PEFT. | 原样传给 PEFT。"""

    name: Literal["peft"] = "peft"
    method: str
    """PEFT's name of the method (vera, loha, lokr, oft, boft, hra, …). | PEFT 中的方法名（vera、loha、lokr、oft、boft、hra 等）。"""
    options: dict[str, Any] = Field({})
    """Options of the method, in PEFT's words. | 该方法的选项（用 PEFT 的名称）。"""

    @property
    def virtual_tokens(self) -> int:
        """What the options say."""
        return int(self.options.get("num_virtual_tokens", 0))


def attach(model: Any, config: Config) -> Any:
    """The model as PEFT makes it. Raises RecipeError with PEFT's complaint where it refuses."""
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    methods = {str(kind.value).lower(): made for kind, made in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    if config.method.lower() not in methods:
        raise RecipeError(plugs.unknown("adapter.method", config.method, sorted(methods)))
    made = methods[config.method.lower()]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            settings = made(**{"task_type": "CAUSAL_LM", **config.options})
    except (TypeError, ValueError) as error:
        known = join(name for name in made.__dataclass_fields__ if not name.startswith("_"))
        raise RecipeError(
            say(
                "PEFT does not take adapter.options for {method}: {reason}. Its options: {known}.",
                "PEFT 不接受 {method} 的 adapter.options：{reason}。可用选项：{known}。",
                method=config.method,
                reason=error,
                known=known,
            )
        ) from None
    adapted = targets.attach_with_peft(model, settings)
    _try(adapted, config.method)
    return adapted


def _try(model: Any, method: str) -> None:
    """Some methods need more than tokens (a task, a label), or more of the loop than a forward pass of the
    base: that is found out now, not in the first step.
    """
    import torch

    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise RecipeError(
            say(
                "{method} of PEFT trains nothing on this model.",
                "PEFT 的 {method} 在该模型上不训练任何参数。",
                method=method,
            )
        )
    if next(model.parameters()).is_meta:
        return
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for part, shape in ((model, (3, 2)), (model.get_base_model(), (1, 3))):
                part.eval()(**_blank(model.get_base_model(), shape))
    except (ValueError, TypeError, RuntimeError, KeyError, AttributeError, AssertionError) as error:
        raise RecipeError(
            say(
                "{method} of PEFT cannot be used here: {reason}",
                "PEFT 的 {method} 无法在此使用：{reason}",
                method=method,
                reason=str(error).strip() or type(error).__name__,
            )
        ) from None


def _blank(base: Any, shape: tuple[int, int]) -> dict[str, Any]:
    """Texts of one token, or images with nothing on them."""
    import torch

    if trunk.reads_images(base):
        return {"pixel_values": trunk.blank(base, shape[0])}
    return {"input_ids": torch.zeros(shape, dtype=torch.long, device=base.device)}
