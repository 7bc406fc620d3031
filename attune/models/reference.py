"""The reference: what a policy was before it learnt; with an adapter, the policy with the adapter off."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from .adapted import is_adapter
from .policy import Policy


@contextlib.contextmanager
def as_reference(policy: Policy) -> Iterator[Policy]:
    """Inside, ``policy`` is its own reference: adapter off, evaluation mode, no gradient. One copy of the
    weights serves both. Without an adapter it is the reference only as long as it has not learnt.
    """
    modes = [(module, module.training) for module in policy.modules()]
    policy.eval()
    is_off = policy.model.disable_adapter() if is_adapter(policy.model) else contextlib.nullcontext()
    try:
        with torch.no_grad(), is_off:
            yield policy
    finally:
        for module, was_training in modes:
            module.training = was_training
