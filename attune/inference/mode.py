"""The state a model must be in while it generates, and its exact restoration afterwards.

Training gives a model attune's packed attention, dropout and sometimes an adapter wrapper; generating needs
transformers' own attention (it takes the cache and the mask), evaluation mode, and the model inside the
wrapper.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from transformers import PreTrainedModel

from ..models import adapted, virtual
from . import attention


@contextmanager
def standard_attention(model: PreTrainedModel) -> Iterator[None]:
    """Runs ``model`` with ``sdpa`` where it can (not with soft-capping or sinks; on a CPU in our form), else
    with ``eager``.
    """
    attention.register()
    sdpa = attention.NAME if model.device.type == "cpu" else "sdpa"
    wanted = sdpa if model._supports_sdpa else "eager"
    before = model.config._attn_implementation
    if before == wanted:
        yield
        return
    model.set_attn_implementation(wanted)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode; afterwards each module is in the mode it was in (they need not be alike)."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def generating(model: nn.Module) -> Iterator[None]:
    """Both of the above, for a transformers model or a PEFT model around one."""
    with evaluating(model), standard_attention(inner(model)):
        yield


def inner(model: nn.Module) -> PreTrainedModel:
    """The transformers model itself; what an adapter adds stands inside it."""
    return adapted.inner(model)


def has_virtual_tokens(model: nn.Module) -> bool:
    """Whether an adapter puts trained vectors before the prompt, which only PEFT's own forward does."""
    return virtual.is_at_work(model)
