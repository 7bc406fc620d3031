"""Each method that PEFT has, against PEFT alone: the same start, logits, loss and gradients of one step."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import peft
import pytest
import torch

from attune.adapters import dora, fused, ia3, lora, prefix, prompt, ptuning, rslora
from attune.adapters.contract import FAMILIES, base_model, learnt, logits
from attune.adapters.method import Method
from attune.data.layout import Segments, lay
from attune.models.policy import Policy

IDS = list(range(3, 15))
FEED_FORWARD = r".*\.\d+\.(mlp)(\..*)?"
METHODS: dict[str, tuple[Any, Method, Any]] = {
    "lora": (lora, lora.Config(rank=4), peft.LoraConfig(r=4, lora_alpha=8, target_modules="all-linear")),
    "rslora": (
        rslora,
        rslora.Config(rank=9, alpha=6),
        peft.LoraConfig(r=9, lora_alpha=6, target_modules="all-linear", use_rslora=True),
    ),
    "dora": (
        dora,
        dora.Config(rank=4),
        peft.LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", use_dora=True),
    ),
    "ia3": (
        ia3,
        ia3.Config(),
        peft.IA3Config(target_modules="all-linear", feedforward_modules=FEED_FORWARD),
    ),
    "prompt": (
        prompt,
        prompt.Config(num_virtual_tokens=5),
        peft.PromptTuningConfig(num_virtual_tokens=5, prompt_tuning_init="SAMPLE_VOCAB"),
    ),
    "ptuning": (
        ptuning,
        ptuning.Config(num_virtual_tokens=5),
        peft.PromptEncoderConfig(num_virtual_tokens=5, encoder_hidden_size=32),
    ),
    "prefix": (
        prefix,
        prefix.Config(num_virtual_tokens=5),
        peft.PrefixTuningConfig(num_virtual_tokens=5, init_weights="zero"),
    ),
}


def shaken(model: Any) -> Any:
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in learnt(model).values():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    return model


@pytest.mark.parametrize("family", list(FAMILIES))
@pytest.mark.parametrize("name", list(METHODS))
def test_one_training_step(name: str, family: str) -> None:
    module, config, settings = METHODS[name]
    torch.manual_seed(1)
    ours = module.attach(base_model(family), config)
    fused.fuse(ours)
    torch.manual_seed(1)
    settings = copy.deepcopy(settings)  # PEFT writes into it
    settings.task_type = "CAUSAL_LM"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = peft.get_peft_model(base_model(family), settings)
    first, second = learnt(ours), learnt(theirs)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first), "the same start"
    shaken(ours), shaken(theirs)
    torch.testing.assert_close(logits(ours), logits(theirs), atol=1e-5, rtol=1e-5)
    policy = Policy(ours)
    assert policy.packs, policy.reason
    # The example has company in the pack; of two, PEFT sees the first alone.
    batch = lay([(0, Segments(IDS[:5], ((IDS[5:], [True] * 7),))), (1, Segments([9, 8], (([7], [True]),)))])
    loss = -policy(batch)[batch.branches == 0].sum()
    loss.backward()
    labels = torch.tensor([[-100] * 5 + IDS[5:]])
    expected = theirs(input_ids=torch.tensor([IDS]), labels=labels).loss * 7
    expected.backward()
    torch.testing.assert_close(loss, expected, atol=1e-4, rtol=1e-5)
    for name, weight in second.items():
        torch.testing.assert_close(first[name].grad, weight.grad, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_starts_other_than_zero(start: str) -> None:
    """PEFT changes the base and learns two factors; ours subtracts them from an untouched base: the same
    factors, the same function, the same gradient of what learns.
    """
    ours = lora.attach(base_model(), lora.Config(rank=4, start=start))
    theirs = peft.get_peft_model(
        base_model(),
        peft.LoraConfig(
            r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=start, task_type="CAUSAL_LM"
        ),
    )
    first, second = learnt(ours), learnt(theirs)
    names = {name: name.replace(".parametrizations.weight.original", ".weight") for name in first}
    assert set(names.values()) == second.keys()
    for name, other in names.items():
        torch.testing.assert_close(first[name], second[other], atol=1e-5, rtol=1e-5)
        with torch.no_grad():
            for weight in (first[name], second[other]):
                weight.add_(0.05)
    torch.testing.assert_close(logits(ours), logits(theirs), atol=1e-4, rtol=1e-4)
    for model in (ours, theirs):
        model(input_ids=torch.tensor([IDS]), labels=torch.tensor([IDS])).loss.backward()
    for name, other in names.items():
        torch.testing.assert_close(first[name].grad, second[other].grad, atol=1e-4, rtol=1e-3)
