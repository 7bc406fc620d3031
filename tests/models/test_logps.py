"""Log-probabilities at learnt positions against the plain computation, for every kind of head."""

from __future__ import annotations

import math

import pytest
import torch

from attune.models import logps as module
from attune.models.logps import Head, logps, logps_and_entropy


def plain(hidden: torch.Tensor, targets: torch.Tensor, head: Head) -> tuple[torch.Tensor, torch.Tensor]:
    logits = hidden @ head.weight.T
    if head.bias is not None:
        logits = logits + head.bias
    logits = logits * head.scale
    if head.softcap:
        logits = head.softcap * torch.tanh(logits / head.softcap)
    log_p = logits.log_softmax(-1)
    return log_p.gather(1, targets[:, None])[:, 0], -(log_p.exp() * log_p).sum(-1)


def test_by_hand() -> None:
    """Logits (ln 1, ln 3) give probabilities 1/4 and 3/4."""
    head = Head(torch.tensor([[0.0], [math.log(3.0)]]))
    got, entropy = logps_and_entropy(torch.ones(2, 1), torch.tensor([0, 1]), head)
    assert got.tolist() == pytest.approx([math.log(0.25), math.log(0.75)], abs=1e-6)
    expected = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert entropy is not None
    assert entropy.tolist() == pytest.approx([expected] * 2, abs=1e-6)


@pytest.mark.parametrize("entropy", [False, True])
@pytest.mark.parametrize(
    ("bias", "scale", "softcap"),
    [(False, 1.0, None), (True, 0.25, None), (True, 2.0, 3.0), (False, 1.0, 30.0)],
)
def test_equals_the_plain_computation(
    bias: bool, scale: float, softcap: float | None, entropy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values and the gradients of hidden states, weight and bias to 1e-5, over several chunks."""
    monkeypatch.setattr(module, "_rows_at_a_time", lambda *_: 7)
    torch.manual_seed(0)
    hidden, weight, offset = torch.randn(40, 12), torch.randn(50, 12), torch.randn(50)
    targets = torch.randint(0, 50, (40,))
    upstream, upstream_entropy = torch.randn(40), torch.randn(40)
    results = []
    for ours in (True, False):
        h, w, b = (t.clone().requires_grad_() for t in (hidden, weight, offset))
        head = Head(w, b if bias else None, scale, softcap)
        if ours:
            got, ent = logps_and_entropy(h, targets, head, entropy=entropy)
        else:
            got, ent = plain(h, targets, head)
        loss = (got * upstream).sum()
        if entropy:
            assert ent is not None
            loss = loss + (ent * upstream_entropy).sum()
        loss.backward()
        results.append([got.detach(), h.grad, w.grad, *([b.grad] if bias else [])])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_a_frozen_head_gets_no_gradient_and_a_tied_one_gets_both() -> None:
    torch.manual_seed(0)
    hidden = torch.randn(5, 4, requires_grad=True)
    frozen = torch.randn(9, 4)
    logps(hidden, torch.arange(5), Head(frozen)).sum().backward()
    assert hidden.grad is not None
    assert frozen.grad is None

    embedding = torch.nn.Embedding(9, 4)
    ids = torch.tensor([1, 2, 3])
    logps(embedding(ids), ids, Head(embedding.weight)).sum().backward()
    ours = embedding.weight.grad
    embedding.weight.grad = None
    plain(embedding(ids), ids, Head(embedding.weight))[0].sum().backward()
    torch.testing.assert_close(ours, embedding.weight.grad, atol=1e-5, rtol=1e-5)


def test_autocast_computes_in_bfloat16_and_returns_float32() -> None:
    torch.manual_seed(0)
    hidden, head = torch.randn(6, 16), Head(torch.randn(20, 16))
    targets = torch.arange(6)
    with torch.autocast("cpu", torch.bfloat16):
        got = logps(hidden, targets, head)
    assert got.dtype == torch.float32
    assert not torch.equal(got, logps(hidden, targets, head))
    torch.testing.assert_close(got, logps(hidden, targets, head), atol=0.2, rtol=0.05)


def test_nothing_to_learn() -> None:
    assert logps(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), Head(torch.ones(3, 4))).shape == (0,)
