"""A policy as its own reference: adapter off, evaluation mode, no gradient, and afterwards as it was."""

from __future__ import annotations

from typing import Any

import torch

from attune.data.layout import Segments, lay
from attune.models.policy import Policy
from attune.models.reference import as_reference

from .tiny import build

BATCH = lay([(0, Segments([3, 4], (([5, 6], [True, True]), ([7], [True]))))])


def adapted(dropout: float = 0.0) -> Any:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=4, target_modules="all-linear", lora_dropout=dropout, task_type="CAUSAL_LM")
    model = get_peft_model(build("llama"), config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.1)
    return model


def test_with_an_adapter_it_is_the_base() -> None:
    policy, base = Policy(adapted()), Policy(build("llama"))
    moved = policy(BATCH)
    with as_reference(policy) as reference:
        logps = reference(BATCH)
    assert not logps.requires_grad
    torch.testing.assert_close(logps, base(BATCH).detach(), atol=1e-6, rtol=0)
    assert not torch.allclose(moved, logps, atol=1e-3)
    torch.testing.assert_close(policy(BATCH), moved)


def test_dropout_is_off_inside_and_the_mode_is_kept() -> None:
    policy = Policy(adapted(dropout=0.5)).train()
    frozen = policy.base.get_output_embeddings().eval()
    with as_reference(policy) as reference:
        assert torch.equal(reference(BATCH), reference(BATCH))
        assert not policy.training
    assert policy.training
    assert not frozen.training


def test_without_an_adapter_it_is_the_policy_as_it_stands() -> None:
    policy = Policy(build("llama"))
    with as_reference(policy) as reference:
        assert torch.equal(reference(BATCH), policy(BATCH))
