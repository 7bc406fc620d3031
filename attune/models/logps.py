"""Per-token log-probabilities at the learnt positions, without ever holding ``[n, vocabulary]``.

Legend: ``n`` learnt tokens, ``d`` hidden size, ``v`` vocabulary.

With z = soft-cap(scale * (W h + b)) and p = softmax(z), each output is one number a row:

    log p(y)   = z_y - logsumexp(z)        d/dz = onehot(y) - p
    entropy    = logsumexp(z) - sum p z    d/dz = -p * (log p + entropy)

Its derivative by h is therefore one row ``[d]``, found already in the forward pass while the chunk of logits
is at hand: the backward pass is a multiplication by the incoming number and needs no logits. Only where the
head itself learns (full fine-tuning) are the chunks computed again, because dL/dW needs the incoming numbers
first.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

_CHUNK_BYTES = 24 * 2**20
"""Float32 logits at a time on a CPU: below glibc's limit (32 MiB) for memory that is kept instead of being
returned to the system and page-faulted again. A GPU takes sixteen times as much."""


@dataclass(frozen=True, slots=True)
class Head:
    """The last layer: ``logits = softcap * tanh(scale * (W h + b) / softcap)``.

    ``weight`` [v, d] (tied or not), ``bias`` [v]; ``scale`` 1 and ``softcap`` None leave the logits alone.
    """

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None

    def logits(self, hidden: Tensor) -> Tensor:
        """``[n, d]`` to float32 ``[n, v]``."""
        dtype = _arithmetic(hidden)
        raw = hidden.to(dtype) @ self.weight.to(dtype).T
        logits = raw.float() if self.bias is None else raw.float().add_(self.bias.float())
        if self.scale != 1.0:
            logits = logits.mul_(self.scale)
        if self.softcap:
            logits = logits.div_(self.softcap).tanh_().mul_(self.softcap)
        return logits


def logps(hidden: Tensor, targets: Tensor, head: Head) -> Tensor:
    """Log-probability of each target: ``[n, d]``, ``[n]`` to float32 ``[n]``; differentiable."""
    return logps_and_entropy(hidden, targets, head, entropy=False)[0]


def logps_and_entropy(
    hidden: Tensor, targets: Tensor, head: Head, *, entropy: bool = True
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities and, where asked, entropies (nats), both float32 ``[n]`` and differentiable."""
    dtype = _arithmetic(hidden)
    with torch.autocast(hidden.device.type, enabled=False):
        outputs = _LogProbs.apply(  # type: ignore[no-untyped-call]
            hidden, targets, head.weight, head.bias, head.scale, head.softcap, entropy, dtype
        )
    return outputs[0], outputs[1] if entropy else None


def logps_and_entropy_through(
    layer: nn.Module,
    hidden: Tensor,
    targets: Tensor,
    scale: float = 1.0,
    softcap: float | None = None,
    *,
    entropy: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """The same for a head that is more than one matrix (an adapter on it, say): ``layer`` itself makes the
    logits, a chunk at a time, and again in the backward pass.
    """

    def chunk(rows: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        logits = layer(rows).float() * scale
        if softcap:
            logits = torch.tanh(logits / softcap) * softcap
        log_p = logits.log_softmax(-1)
        chosen_logps = log_p.gather(1, chosen[:, None])[:, 0]
        if not entropy:
            return chosen_logps, chosen_logps.new_zeros(0)
        return chosen_logps, -(log_p.exp() * log_p.clamp(min=torch.finfo(torch.float32).min)).sum(-1)

    size = max(16, _CHUNK_BYTES // (4 * _width(layer)))
    parts = zip(torch.split(hidden, size), torch.split(targets, size), strict=True)
    pieces = [checkpoint(chunk, rows, chosen, use_reentrant=False) for rows, chosen in parts]
    logps, entropies = (torch.cat(found) for found in zip(*pieces, strict=True))
    return logps, entropies if entropy else None


@torch.no_grad()
def divergence(old: Tensor, new: Tensor, head: Head) -> Tensor:
    """KL(p_old || p_new) over the whole vocabulary, of hidden states ``[n, d]`` each; float32 ``[n]``."""
    size = _rows_at_a_time(old, head.weight)
    found = []
    for before, after in zip(torch.split(old, size), torch.split(new, size), strict=True):
        log_p, log_q = head.logits(before).log_softmax(-1), head.logits(after).log_softmax(-1)
        found.append((log_p.exp() * (log_p - log_q)).sum(-1))
    return torch.cat(found)


@torch.no_grad()
def curvature(hidden: Tensor, direction: Tensor, head: Head) -> Tensor:
    """The Fisher matrix of each row's distribution, in terms of its hidden state, times ``direction``; ``[n,
    d]``.

    J^T (diag(p) - p p^T) J t,    J = d logits / d hidden
    """
    size = _rows_at_a_time(hidden, head.weight)
    weight = head.weight.float()
    found = []
    for rows, along in zip(torch.split(hidden, size), torch.split(direction, size), strict=True):
        logits = head.logits(rows)
        slope, p = _logit_slope(logits, head.scale, head.softcap), logits.softmax(-1)
        moved = (along.float() @ weight.T) * slope
        found.append((p * (moved - (p * moved).sum(-1, keepdim=True)) * slope) @ weight)
    return torch.cat(found).to(hidden.dtype)


def _width(layer: nn.Module) -> int:
    """The vocabulary: rows of the largest matrix inside."""
    return max(parameter.shape[0] for parameter in layer.parameters() if parameter.ndim == 2)


def _arithmetic(hidden: Tensor) -> torch.dtype:
    """The dtype of the matrix products: autocast's where it is on, else the hidden state's."""
    device = hidden.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype


class _LogProbs(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, targets, weight, bias, scale, softcap, with_entropy, dtype):  # type: ignore[no-untyped-def]
        head = Head(weight.to(dtype), bias, scale, softcap)
        learns = ctx.needs_input_grad[0]
        hidden_compute = hidden.to(dtype)
        size = _rows_at_a_time(hidden, weight)
        logps = hidden.new_empty(len(hidden), dtype=torch.float32)
        entropies = hidden.new_empty(len(hidden) if with_entropy else 0, dtype=torch.float32)
        slope = torch.empty_like(hidden_compute) if learns else None
        entropy_slope = torch.empty_like(hidden_compute) if learns and with_entropy else None
        for start in range(0, len(hidden), size):
            rows = slice(start, start + size)
            logits = head.logits(hidden_compute[rows])
            chosen = targets[rows, None]
            chosen_logits = logits.gather(1, chosen)
            if not (learns or with_entropy):
                logps[rows] = (chosen_logits - logits.logsumexp(1, keepdim=True))[:, 0]
                continue
            slope_of_logits = _logit_slope(logits, scale, softcap)
            p, normaliser = _softmax(logits)
            logps[rows] = (chosen_logits - normaliser)[:, 0]
            if with_entropy:
                log_p = logits.sub_(normaliser)
                # p log p is 0 where p is 0, also where log p is minus infinity
                entropies[rows] = -(p * log_p.clamp(min=torch.finfo(torch.float32).min)).sum(1)
                if entropy_slope is not None:
                    grad = -p * (log_p + entropies[rows, None])
                    entropy_slope[rows] = (grad * slope_of_logits).to(dtype) @ head.weight
            if slope is not None:
                grad = p.scatter_add_(1, chosen, torch.full_like(chosen_logits, -1.0))
                slope[rows] = _times(grad, slope_of_logits).to(dtype) @ head.weight
        ctx.save_for_backward(slope, entropy_slope, hidden_compute, targets, weight, bias)
        ctx.scale, ctx.softcap, ctx.size, ctx.dtype = scale, softcap, size, dtype
        ctx.hidden_dtype = hidden.dtype
        return logps, entropies

    @staticmethod
    def backward(ctx, grad_logps, grad_entropies):  # type: ignore[no-untyped-def]
        slope, entropy_slope, hidden, targets, weight, bias = ctx.saved_tensors
        grad_hidden = None
        if ctx.needs_input_grad[0]:
            grad_hidden = slope * grad_logps[:, None].neg().to(slope.dtype)  # slope is that of -log p
            if entropy_slope is not None:
                grad_hidden += entropy_slope * grad_entropies[:, None].to(slope.dtype)
            grad_hidden = grad_hidden.to(ctx.hidden_dtype)
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if ctx.needs_input_grad[2] else None
        grad_bias = torch.zeros_like(bias, dtype=torch.float32) if ctx.needs_input_grad[3] else None
        if grad_weight is not None or grad_bias is not None:
            head = Head(weight.to(ctx.dtype), bias, ctx.scale, ctx.softcap)
            with_entropy = entropy_slope is not None or len(grad_entropies) > 0
            for start in range(0, len(hidden), ctx.size):
                rows = slice(start, start + ctx.size)
                grad = _grad_logits(
                    head,
                    hidden[rows],
                    targets[rows],
                    grad_logps[rows],
                    grad_entropies[rows] if with_entropy else None,
                )
                if grad_weight is not None:
                    # addmm accumulates in place: no second matrix of the vocabulary's size
                    grad = grad.to(ctx.dtype)
                    if ctx.dtype == torch.float32:
                        grad_weight.addmm_(grad.T, hidden[rows])
                    else:
                        grad_weight += grad.T @ hidden[rows]
                if grad_bias is not None:
                    grad_bias += grad.float().sum(0)
        return (
            grad_hidden,
            None,
            None if grad_weight is None else grad_weight.to(weight.dtype),
            None if grad_bias is None else grad_bias.to(bias.dtype),
            None,
            None,
            None,
            None,
        )


def _grad_logits(
    head: Head, hidden: Tensor, targets: Tensor, grad_logps: Tensor, grad_entropies: Tensor | None
) -> Tensor:
    """dL/d(W h + b) of one chunk, ``[rows, v]``, by computing its logits again."""
    logits = head.logits(hidden)
    slope_of_logits = _logit_slope(logits, head.scale, head.softcap)
    p, normaliser = _softmax(logits)
    if grad_entropies is None:
        grad = p.mul_(-grad_logps[:, None])
    else:
        log_p = logits.sub_(normaliser)
        entropy = -(p * log_p).sum(1, keepdim=True)
        grad = -p * (grad_logps[:, None] + (log_p + entropy) * grad_entropies[:, None])
    grad.scatter_add_(1, targets[:, None], grad_logps[:, None])
    return _times(grad, slope_of_logits)


def _softmax(logits: Tensor) -> tuple[Tensor, Tensor]:
    """p ``[rows, v]`` and logsumexp ``[rows, 1]``. softmax is one pass through the cache on a CPU; with the
    largest probability, which is exp(largest logit - logsumexp), it gives the other without a second
    exponential.
    """
    p = logits.softmax(1)
    return p, logits.amax(1, keepdim=True) - p.amax(1, keepdim=True).log()


def _times(grad: Tensor, slope: Tensor | float) -> Tensor:
    """``grad`` times the slope, in place; a slope of 1 costs no pass."""
    return grad if isinstance(slope, float) and slope == 1.0 else grad.mul_(slope)


def _logit_slope(logits: Tensor, scale: float, softcap: float | None) -> Tensor | float:
    """d logits / d(W h + b): with t = logits / c it is scale * (1 - t^2); without a cap it is the scale."""
    return scale * (1 - (logits / softcap) ** 2) if softcap else scale


def _rows_at_a_time(hidden: Tensor, weight: Tensor) -> int:
    budget = _CHUNK_BYTES * (16 if hidden.is_cuda else 1)
    return max(16, budget // (4 * weight.shape[0]))
