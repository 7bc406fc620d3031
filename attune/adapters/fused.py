"""The arithmetic of a LoRA layer as one autograd function over PEFT's layer.

PEFT casts the input to the adapter's float32, keeps that copy and the low-rank activations for the backward
pass and runs four more kernels. Here the input is saved once (it is the same tensor for q, k and v), the
low-rank product is added in place, and A and B stay float32 masters that are cast for the arithmetic only.

    forward    h = drop(x) A^T;   y = x W^T + b + s h B^T
    backward   dh = s g B;   dB = s g^T h;   dA = dh^T drop(x);   dx = g W + drop'(dh A)
"""

from __future__ import annotations

import types
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def fuse(model: Any) -> int:
    """Gives every plain LoRA layer of ``model`` the fused forward; returns how many. Layers of another kind
    (DoRA, quantised, with several active adapters, merged or disabled) keep PEFT's own.
    """
    from peft.tuners.lora import Linear

    count = 0
    for layer in model.modules():
        if type(layer) is Linear and _is_plain(layer):
            layer.forward = types.MethodType(_forward, layer)
            count += 1
    return count


def _is_plain(layer: Any) -> bool:
    base = layer.get_base_layer()
    return (
        type(base).__name__ in ("Linear", "Conv1D")
        and not any(layer.lora_variant.values())
        and not any(layer.lora_bias.values())
    )


def _forward(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """PEFT's forward where anything is unusual, else the fused one."""
    active = self.active_adapters
    if (
        self.disable_adapters
        or self.merged
        or len(active) != 1
        or args
        or kwargs
        or active[0] not in self.lora_A
    ):
        return type(self).forward(self, x, *args, **kwargs)  # type: ignore[no-any-return]
    name = active[0]
    base = self.get_base_layer()
    weight = base.weight.T if type(base).__name__ == "Conv1D" else base.weight
    dropout = self.lora_dropout[name]
    rate = dropout.p if self.training and isinstance(dropout, torch.nn.Dropout) else 0.0
    if weight.requires_grad or torch.is_autocast_enabled(x.device.type):
        return type(self).forward(self, x)  # type: ignore[no-any-return]
    # The mask is drawn as PEFT draws it, from the same stream of random numbers.
    mask = F.dropout(torch.ones_like(x), rate) != 0 if rate else None
    return _LoraLinear.apply(  # type: ignore[no-any-return, no-untyped-call]
        x,
        weight,
        base.bias,
        self.lora_A[name].weight,
        self.lora_B[name].weight,
        self.scaling[name],
        mask,
        rate,
    )


class _LoraLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, lora_a, lora_b, scaling, mask, rate):  # type: ignore[no-untyped-def]
        rows = x.reshape(-1, x.shape[-1])
        dropped = _drop(rows, mask, rate)
        low = dropped @ lora_a.to(x.dtype).T
        output = F.linear(rows, weight, bias)
        output.addmm_(low, lora_b.to(x.dtype).T, alpha=scaling)
        ctx.save_for_backward(x, weight, lora_a, lora_b, low, mask)
        ctx.scaling, ctx.rate = scaling, rate
        return output.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        x, weight, lora_a, lora_b, low, mask = ctx.saved_tensors
        grad = grad.reshape(-1, grad.shape[-1])
        rows = x.reshape(-1, x.shape[-1])
        grad_low = (grad @ lora_b.to(grad.dtype)).mul_(ctx.scaling)
        # The narrow matrix first: BLAS is several times as slow with grad^T low as with its transpose.
        grad_b = (low.T @ grad).T.to(lora_b.dtype).mul_(ctx.scaling) if ctx.needs_input_grad[4] else None
        grad_a = (
            (grad_low.T @ _drop(rows, mask, ctx.rate)).to(lora_a.dtype) if ctx.needs_input_grad[3] else None
        )
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = grad @ weight
            if mask is None:
                grad_x.addmm_(grad_low, lora_a.to(grad.dtype))
            else:
                grad_x += _drop(grad_low @ lora_a.to(grad.dtype), mask, ctx.rate)
            grad_x = grad_x.view(x.shape)
        return grad_x, None, None, grad_a, grad_b, None, None, None


def _drop(rows: Tensor, mask: Tensor | None, rate: float) -> Tensor:
    """Zeroes what the mask does not keep and scales the rest; the same rule forward and backward."""
    return rows if mask is None else rows * mask.view(rows.shape) * (1.0 / (1.0 - rate))
