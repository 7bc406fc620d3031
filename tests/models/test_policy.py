"""The policy: packed where that is exact, padded where not, and the same numbers either way."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from attune.data.layout import lay
from attune.models import attention
from attune.models.policy import Policy

from .test_attention import examples
from .tiny import FAMILIES, build

BATCH = lay(list(enumerate(examples())))


@torch.no_grad()
def plain_logps(model: Any) -> Tensor:
    """By transformers alone: one row a branch, its own attention, its own logits."""
    rows = []
    for example in examples():
        for ids, _ in example.branches:
            row = torch.tensor([*example.prompt, *ids])
            logps = model(row[None], use_cache=False).logits[0].float().log_softmax(-1)
            start = max(len(example.prompt), 1)
            rows.append(logps[range(start - 1, len(row) - 1), row[start:]])
    return torch.cat(rows)


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_padded_and_plain_are_equal(family: str) -> None:
    expected = plain_logps(build(family))
    packed, padded = Policy(build(family)), Policy(build(family), packing=False)
    assert packed.packs, packed.reason
    assert packed.reason == ""
    assert (padded.packs, padded.reason) == (False, "train.packing=off")
    for policy in (packed, padded):
        assert policy.head is not None, "the head is described"
        got = policy(BATCH)
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, expected, atol=3e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_gradients_of_packed_and_padded_are_equal(family: str) -> None:
    grads = []
    for packing in (True, False):
        policy = Policy(build(family), packing=packing)
        policy(BATCH).sum().backward()
        grads.append({name: p.grad for name, p in policy.named_parameters() if p.grad is not None})
    assert grads[0].keys() == grads[1].keys()
    for name, grad in grads[1].items():
        size = max(1.0, float(grad.abs().max()))
        torch.testing.assert_close(grads[0][name] / size, grad / size, atol=5e-4, rtol=0)


@pytest.mark.parametrize(
    ("family", "scale", "softcap", "has_bias"),
    [
        ("llama", 1.0, None, False),
        ("gemma2", 1.0, 3.0, False),
        ("granite", 0.5, None, False),
        ("cohere", 0.5, None, False),
        ("phi", 1.0, None, True),
    ],
)
def test_heads(family: str, scale: float, softcap: float | None, has_bias: bool) -> None:
    head = Policy(build(family)).head
    assert head is not None
    assert (head.scale, head.softcap, head.bias is not None) == (scale, softcap, has_bias)


@pytest.mark.parametrize(
    ("family", "why"),
    [
        ("mamba", "differ by"),
        ("gpt_oss", "arguments that a layout does not know: s_aux"),
        ("phimoe", "a window of 1000 tokens that only the mask knows of"),
        ("llama4", "a window of 1000 tokens that only the mask knows of"),
    ],
)
def test_a_model_that_cannot_take_the_layout_runs_padded_and_says_why(family: str, why: str) -> None:
    policy = Policy(build(family))
    assert not policy.packs
    assert why in policy.reason or "see" in policy.reason
    torch.testing.assert_close(policy(BATCH), plain_logps(build(family)), atol=3e-4, rtol=1e-4)


def test_bf16() -> None:
    model = build("llama").bfloat16()
    expected = plain_logps(model)
    policy = Policy(model)
    assert policy.packs, policy.reason
    assert policy.head is not None
    got = policy(BATCH)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected, atol=0.3, rtol=0)
    assert (got - expected).abs().mean() < 0.05


def test_the_probe_leaves_no_trace() -> None:
    model = build("llama").train()
    model.model.layers[1].eval()
    modes = [module.training for module in model.modules()]
    before, state = torch.get_rng_state(), {name: p.clone() for name, p in model.named_parameters()}
    Policy(model)
    assert torch.equal(torch.get_rng_state(), before)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(p, state[name]) and p.grad is None for name, p in model.named_parameters())


def test_the_models_own_attention_comes_back() -> None:
    model = build("llama")
    policy = Policy(model)
    assert model.config._attn_implementation == attention.NAME
    policy.own_attention()
    assert model.config._attn_implementation == "sdpa"
    again = Policy(build("llama"), packing=False)
    assert again.base.config._attn_implementation == "sdpa"


def test_a_head_that_the_configuration_does_not_describe() -> None:
    def odd(model: Any) -> Any:
        plain = model.lm_head.forward
        model.lm_head.forward = lambda hidden: plain(hidden) ** 2
        return model

    policy = Policy(odd(build("llama")))
    assert policy.head is None
    assert policy.packs
    torch.testing.assert_close(policy(BATCH), plain_logps(odd(build("llama"))), atol=1e-3, rtol=1e-4)


def test_a_neighbour_that_is_seen_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention that looks over the border must not pass the probe."""

    def leaky(*args: Any, layout: Any = None, **kwargs: Any) -> Any:
        whole = type(layout)((layout.num_tokens,), (-1,))
        return attention.layout_attention(*args, layout=whole, **kwargs)

    monkeypatch.setattr(
        attention, "register", lambda: attention.AttentionInterface.register(attention.NAME, leaky)
    )
    try:
        policy = Policy(build("llama"))
        assert not policy.packs
        assert "differ by" in policy.reason
    finally:
        monkeypatch.undo()
        attention.register()


def test_a_packed_row_does_not_change_with_its_neighbours() -> None:
    policy = Policy(build("gemma3"))
    first = examples()[0]
    alone = policy(lay([(0, first)]))
    together = policy(BATCH)[: len(alone)]
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-5)


def test_weights_replaced_after_the_probe_are_used() -> None:
    policy = Policy(build("llama"))
    layer = policy.base.get_output_embeddings()
    layer.weight = torch.nn.Parameter(torch.zeros_like(layer.weight))
    assert torch.allclose(policy(BATCH), torch.tensor(1 / 97).log())
