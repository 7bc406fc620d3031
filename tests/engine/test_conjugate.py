"""Conjugate gradients on a known matrix, and the Fisher product against the curvature of the divergence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from attune.adapters import fused, lora
from attune.data.layout import Batch, Segments, lay
from attune.engine.conjugate import conjugate_gradient, fisher_product, flat
from attune.models.policy import Policy


def test_conjugate_gradients_solve_in_as_many_steps_as_there_are_numbers() -> None:
    torch.manual_seed(0)
    root = torch.randn(5, 5, dtype=torch.float64)
    matrix, wanted = root @ root.T + torch.eye(5), torch.randn(5, dtype=torch.float64)
    found, left = conjugate_gradient(lambda v: matrix @ v, wanted, 5, 0.0)
    torch.testing.assert_close(found, torch.linalg.solve(matrix, wanted))
    assert left.norm() < 1e-8
    rough, rest = conjugate_gradient(lambda v: matrix @ v, wanted, 2)
    torch.testing.assert_close(matrix @ rough + rest, wanted)


def test_a_zero_is_its_own_solution() -> None:
    found, _ = conjugate_gradient(lambda v: v, torch.zeros(3), 10)
    assert found.tolist() == [0.0] * 3


def batch() -> Batch:
    """A prompt with two answers, and one with one."""
    first = Segments([5, 6, 7], (([8, 9], [True, True]), ([10, 11, 12], [True] * 3)))
    return lay([(0, first), (1, Segments([13, 14], (([15, 16], [True, True]),)))])


def distribution(policy: Policy) -> torch.Tensor:
    """Log-probabilities of the whole vocabulary at the learnt tokens, ``[n, v]``, the plain way."""
    hidden = policy.states(batch())
    head = policy.scaled_head
    return (hidden @ head.weight.T * head.scale).log_softmax(-1)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_fisher_product_is_the_curvature_of_the_divergence(model_dir: Path, temperature: float) -> None:
    """Against autograd's own second derivative of KL(p_old || p), summed over tokens."""
    torch.manual_seed(1)
    model = lora.attach(LlamaForCausalLM.from_pretrained(model_dir), lora.Config(rank=2))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    fused.fuse(model)
    policy = Policy(model).eval()
    policy.temperature = temperature
    parameters = [p for p in policy.parameters() if p.requires_grad]
    vector = torch.randn(sum(p.numel() for p in parameters))
    got = fisher_product(policy, batch(), parameters, vector)

    for layer in model.modules():
        layer.__dict__.pop("forward", None)  # PEFT's own: every derivative of it is autograd's
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        old = distribution(policy).detach()
        divergence = (old.exp() * (old - distribution(policy))).sum()
        slope = torch.autograd.grad(divergence, parameters, create_graph=True, allow_unused=True)
        whole = torch.cat([g.flatten() for g in slope if g is not None])
        kept = [p for p, g in zip(parameters, slope, strict=True) if g is not None]
        assert len(kept) == len(parameters)
        expected = flat(torch.autograd.grad(whole @ vector, parameters))
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-5)
