"""The fused LoRA layer against PEFT's own, forward and backward; folders read by either side."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from attune.adapters.fused import fuse


class Holder(nn.Module):
    """PEFT wants a model around a layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)  # type: ignore[no-any-return]


def pair(kind: str, bias: bool, dtype: torch.dtype, **options: Any) -> tuple[Any, Any]:
    """Equal layers; the second is fused."""
    made = []
    for _ in range(2):
        torch.manual_seed(0)
        layer = Conv1D(20, 12) if kind == "conv1d" else nn.Linear(12, 20, bias=bias)
        model = get_peft_model(
            Holder(layer.to(dtype)),
            LoraConfig(r=4, target_modules=["layer"], fan_in_fan_out=kind == "conv1d", **options),
        )
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(weight)
        made.append(model.train())
    assert fuse(made[1]) == 1
    return made[0], made[1]


def run(model: Any, dtype: torch.dtype) -> tuple[Tensor, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, 7, 12, generator=generator).to(dtype).requires_grad_()
    torch.manual_seed(5)
    output = model(x)
    (output.float() * torch.randn(output.shape, generator=generator)).sum().backward()
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return output, {**grads, "x": x.grad}


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize(("kind", "bias"), [("linear", False), ("linear", True), ("conv1d", True)])
def test_forward_and_backward_in_float32(kind: str, bias: bool, rslora: bool, dropout: float) -> None:
    theirs, mine = pair(kind, bias, torch.float32, lora_dropout=dropout, use_rslora=rslora, lora_alpha=6)
    (expected, grads), (got, my_grads) = run(theirs, torch.float32), run(mine, torch.float32)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    assert my_grads.keys() == grads.keys()
    assert len(grads) == 3
    for name, grad in grads.items():
        torch.testing.assert_close(my_grads[name], grad, atol=1e-4, rtol=1e-5)


def test_a_bfloat16_base_with_float32_masters() -> None:
    """PEFT computes the low-rank path in float32; ours in bfloat16: within bfloat16's rounding."""
    theirs, mine = pair("linear", True, torch.bfloat16, lora_alpha=4)
    (expected, grads), (got, my_grads) = run(theirs, torch.bfloat16), run(mine, torch.bfloat16)
    assert got.dtype == expected.dtype == torch.bfloat16
    for name, grad in {**grads, "output": expected}.items():
        found = got if name == "output" else my_grads[name]
        assert found.dtype == grad.dtype, name
        size = float(grad.float().abs().max())
        assert float((found.float() - grad.float()).abs().max()) < 0.02 * size, name


@pytest.mark.parametrize("how", ["disabled", "merged", "second adapter"])
def test_the_unusual_is_left_to_peft(how: str) -> None:
    theirs, mine = pair("linear", True, torch.float32)
    for model in (theirs, mine):
        if how == "disabled":
            model.base_model.disable_adapter_layers()
        elif how == "merged":
            model.base_model.merge_adapter()
        else:
            torch.manual_seed(9)
            model.add_adapter("other", LoraConfig(r=2, target_modules=["layer"], init_lora_weights=False))
            model.base_model.set_adapter(["default", "other"])
    x = torch.randn(3, 12)
    assert torch.equal(mine(x), theirs(x))


def test_the_second_adapter_alone_is_used() -> None:
    theirs, mine = pair("linear", True, torch.float32)
    for model in (theirs, mine):
        torch.manual_seed(9)
        model.add_adapter("other", LoraConfig(r=2, target_modules=["layer"], init_lora_weights=False))
        model.set_adapter("other")
    x = torch.randn(3, 12)
    torch.testing.assert_close(mine(x), theirs(x))
