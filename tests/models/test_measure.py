"""What a policy measures of sampled answers: at a temperature, with entropies and values, by every way."""

from __future__ import annotations

import pytest
import torch

from attune.models.logps import Head, curvature, divergence
from attune.models.policy import Policy

from .test_policy import BATCH
from .tiny import build


def plain(policy: Policy, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities and entropies from the whole model's logits of a padded batch."""
    inputs, rows, columns = Policy._padded(policy, BATCH)
    with torch.no_grad():
        logits = policy.model(**inputs, use_cache=False).logits[rows, columns]
    log_p = (logits / temperature).log_softmax(-1)
    return log_p.gather(1, BATCH.targets[:, None])[:, 0], -(log_p.exp() * log_p).sum(-1)


@pytest.mark.parametrize("family", ["llama", "gemma2", "granite", "phi"])
def test_the_temperature_divides_the_logits(family: str) -> None:
    """Also behind a soft cap, a scale and a bias."""
    single = Policy(build(family), packing=False)
    wanted, entropy = plain(single, 0.6)
    for policy in (single, Policy(build(family))):
        policy.temperature = 0.6
        found = policy.measure(BATCH, ("entropy",))
        torch.testing.assert_close(found["logps"], wanted, atol=5e-4, rtol=1e-4)
        torch.testing.assert_close(found["entropy"], entropy, atol=5e-4, rtol=1e-4)
        torch.testing.assert_close(policy(BATCH), found["logps"])


def test_without_a_known_head_the_numbers_are_the_same() -> None:
    policy = Policy(build("llama"))
    policy.temperature = 0.6
    wanted = policy.measure(BATCH, ("entropy",))
    policy.head = None
    assert not policy.has_states
    found = policy.measure(BATCH, ("entropy",))
    for name, values in wanted.items():
        torch.testing.assert_close(found[name], values, atol=1e-5, rtol=1e-5)


def test_an_adapter_on_the_head_goes_its_own_way() -> None:
    """The chunks of a head that is more than a matrix give entropies too."""
    from attune.adapters import lora

    plainly = Policy(build("llama")).measure(BATCH, ("entropy",))
    model = lora.attach(build("llama"), lora.Config(rank=2, target_modules=["q_proj", "lm_head"]))
    found = Policy(model).measure(BATCH, ("entropy",))
    for name, values in plainly.items():
        torch.testing.assert_close(found[name], values, atol=1e-5, rtol=1e-5)


def test_with_and_without_a_graph_the_numbers_are_bit_equal() -> None:
    """The first update's ratio is 1 to the last bit because of this."""
    policy = Policy(build("llama"))
    with torch.no_grad():
        before = policy.measure(BATCH, ("entropy",))["logps"]
    assert torch.equal(policy.measure(BATCH)["logps"], before)


def test_the_value_head_starts_at_zero_and_reads_the_states() -> None:
    policy = Policy(build("llama"))
    policy.add_value_head()
    assert policy.measure(BATCH, ("values",))["values"].tolist() == [0.0] * BATCH.num_learnt
    assert policy.value_head is not None
    with torch.no_grad():
        policy.value_head.weight.normal_()
    found = policy.measure(BATCH, ("values",))["values"]
    expected = policy.states(BATCH) @ policy.value_head.weight[0]
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    assert policy.value_head.weight.grad is not None
    assert any(p.grad is not None for p in policy.base.parameters()), "the trunk learns from it too"


@pytest.mark.parametrize("softcap", [None, 2.0])
def test_divergence_and_its_curvature(softcap: float | None) -> None:
    """KL by its definition; the curvature is the second derivative of KL by the hidden state."""
    torch.manual_seed(0)
    head = Head(torch.randn(9, 4), None, 0.7, softcap)
    old, new, along = torch.randn(3, 4), torch.randn(3, 4), torch.randn(3, 4)
    log_p, log_q = head.logits(old).log_softmax(-1), head.logits(new).log_softmax(-1)
    torch.testing.assert_close(divergence(old, new, head), (log_p.exp() * (log_p - log_q)).sum(-1))

    def apart(hidden: torch.Tensor) -> torch.Tensor:
        raw = hidden @ head.weight.T * head.scale
        logits = raw if softcap is None else torch.tanh(raw / softcap) * softcap
        return (log_p.exp() * (log_p - logits.log_softmax(-1))).sum()

    for row in range(3):
        slope = torch.autograd.functional.hessian(
            lambda one, row=row: apart(torch.cat([old[:row], one[None], old[row + 1 :]])), old[row]
        )
        torch.testing.assert_close(curvature(old, along, head)[row], slope @ along[row], atol=1e-4, rtol=1e-4)
