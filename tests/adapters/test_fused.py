"""The fused arithmetic against PEFT's own forward on the same weights, and where it is not used."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from attune.adapters import adalora, dora, fused, lora, qlora
from attune.adapters.contract import FAMILIES, base_model, batch, learnt
from attune.models.policy import Policy

CASES: dict[str, tuple[Any, Any]] = {
    "lora": (lora, lora.Config(rank=4, dropout=0.3)),
    "dora": (dora, dora.Config(rank=4)),
    "adalora": (adalora, adalora.Config(rank=4, start_rank=6, dropout=0.3)),
    "qlora": (qlora, qlora.Config(rank=4, dropout=0.3)),
}


def shaken(name: str, family: str) -> Any:
    if name == "qlora":
        pytest.importorskip("bitsandbytes", reason="needs bitsandbytes, which is not here")
    module, config = CASES[name]
    torch.manual_seed(1)
    model = module.attach(base_model(family), config)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in learnt(model).values():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    return model


def step(model: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Log-probabilities, and the gradient of their sum."""
    policy = Policy(model).train()
    torch.manual_seed(5)
    logps = policy(batch())
    logps.sum().backward()
    return logps.detach(), {name: p.grad for name, p in learnt(model).items() if p.grad is not None}


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("name", list(CASES))
def test_it_is_the_same_arithmetic(name: str, family: str) -> None:
    """With the same draws of dropout; GPT-2's matrices lie on their side and have biases."""
    assert family in FAMILIES
    own, ours = shaken(name, family), shaken(name, family)
    assert fused.fuse(ours) == (8 if family == "gpt2" else 14)
    (expected, gradients), (got, found) = step(own), step(ours)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    assert found.keys() == gradients.keys() == learnt(own).keys()
    for parameter, gradient in gradients.items():
        torch.testing.assert_close(found[parameter], gradient, atol=1e-4, rtol=1e-4)


def test_dora_under_dropout_keeps_peft_s_own_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    """There the base's input is dropped too, for one of its two products."""

    def refuse(*_: Any) -> None:
        raise AssertionError("not fused here")

    monkeypatch.setattr(fused._LoraLinear, "apply", refuse)
    model = dora.attach(base_model(), dora.Config(rank=4, dropout=0.3))
    fused.fuse(model)
    Policy(model, packs=True).train()(batch()).sum().backward()
    with pytest.raises(AssertionError, match="not fused here"):
        Policy(model, packs=True).eval()(batch())


def test_the_lengths_of_rows_by_hand() -> None:
    """W = [[3, 0], [0, 0]], s B A = 2 * [[0, 2], [0, 0.5]]: lengths 5 and 1."""
    weight = torch.tensor([[3.0, 0.0], [0.0, 0.0]])
    lora_a, lora_b = torch.tensor([[0.0, 1.0]]), torch.tensor([[2.0], [0.5]])
    assert fused._row_lengths(weight, lora_a, lora_b, 2.0).tolist() == [5.0, 1.0]
