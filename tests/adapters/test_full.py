"""Full fine-tuning keeps its weights in float32."""

from __future__ import annotations

import torch

from attune.adapters import full
from attune.adapters.contract import base_model


def test_every_weight_learns_in_float32() -> None:
    model = full.attach(base_model().bfloat16().requires_grad_(False), full.Config())
    assert all(p.requires_grad and p.dtype == torch.float32 for p in model.parameters())
