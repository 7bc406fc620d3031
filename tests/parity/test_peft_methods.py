"""Each method that PEFT has, against PEFT alone: the same start, logits, loss, gradients, and the same logits
after one step of AdamW.
"""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from attune.adapters import adalora, dora, fused, ia3, lora, prefix, prompt, ptuning, qlora, rslora
from attune.adapters import peft as passed
from attune.adapters.contract import FAMILIES, base_model, learnt, logits
from attune.adapters.method import Method
from attune.data.layout import Segments, lay
from attune.engine import optimize, step
from attune.models.policy import Policy
from attune.recipe.schema import Train

IDS = list(range(3, 15))
FEED_FORWARD = r".*\.\d+\.(mlp)(\..*)?"
SOME_LAYERS = r".*\.(q_proj|down_proj|c_attn)"
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
    "projected prefix": (
        prefix,
        prefix.Config(num_virtual_tokens=5, projection=True),
        peft.PrefixTuningConfig(
            num_virtual_tokens=5, prefix_projection=True, encoder_hidden_size=32, init_weights="zero"
        ),
    ),
    "passed through": (
        passed,
        passed.Config(method="vera", options={"r": 4, "target_modules": SOME_LAYERS}),
        peft.VeraConfig(r=4, target_modules=SOME_LAYERS),
    ),
}
OPTIONS: dict[str, Any] = {"lr": 1e-2, "betas": (0.9, 0.999), "eps": 1e-4, "weight_decay": 0.01}
"""Numbers next to zero have gradients of either sign by rounding: the large epsilon keeps them in place."""


def shaken(model: Any) -> Any:
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in learnt(model).values():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    return model


def wrapped(family: str, settings: Any, base: Any = None) -> Any:
    """By PEFT alone."""
    settings = copy.deepcopy(settings)  # PEFT writes into it
    settings.task_type = "CAUSAL_LM"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return peft.get_peft_model(base_model(family) if base is None else base, settings)


def ours_of(family: str, module: Any, config: Method) -> Any:
    model = module.attach(base_model(family), config)
    fused.fuse(model)
    return model


def mean_loss(model: Any) -> torch.Tensor:
    """The example has company in the pack; of two, PEFT sees the first alone."""
    policy = Policy(model)
    assert policy.packs, policy.reason
    batch = lay([(0, Segments(IDS[:5], ((IDS[5:], [True] * 7),))), (1, Segments([9, 8], (([7], [True]),)))])
    logps = policy(batch)[batch.branches == 0]
    policy.own_attention()
    return -logps.mean()


def their_loss(model: Any) -> torch.Tensor:
    labels = torch.tensor([[-100] * 5 + IDS[5:]])
    loss: torch.Tensor = model(input_ids=torch.tensor([IDS]), labels=labels).loss
    return loss


def assert_one_step(ours: Any, theirs: Any, penalty: Any = None, names: Any = None) -> None:
    """The same loss, gradients, and logits after AdamW has moved both."""
    first, second = learnt(ours), learnt(theirs)
    names = {name: name for name in first} if names is None else names
    torch.testing.assert_close(logits(ours), logits(theirs), atol=1e-5, rtol=1e-5)
    loss, expected = mean_loss(ours), their_loss(theirs)
    loss = loss if penalty is None else loss + penalty()
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
    loss.backward()
    expected.backward()
    for name, other in names.items():
        torch.testing.assert_close(first[name].grad, second[other].grad, atol=1e-4, rtol=1e-4)
    settings = Train(weight_decay=OPTIONS["weight_decay"], adam_epsilon=OPTIONS["eps"], adam_beta2=0.999)
    mine = optimize.adamw(ours, settings, OPTIONS["lr"])
    vectors = [weight for weight in second.values() if weight.ndim < 2]
    matrices = [weight for weight in second.values() if weight.ndim > 1]
    groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    its = torch.optim.AdamW([group for group in groups if group["params"]], **OPTIONS)
    before = logits(ours)
    step.move(ours, mine, OPTIONS["lr"], None, 0.0)
    its.step()
    torch.testing.assert_close(logits(ours), logits(theirs), atol=1e-4, rtol=1e-4)
    assert (logits(ours) - before).abs().max() > 1e-3


@pytest.mark.parametrize("family", list(FAMILIES))
@pytest.mark.parametrize("name", list(METHODS))
def test_one_training_step(name: str, family: str) -> None:
    module, config, settings = METHODS[name]
    torch.manual_seed(1)
    ours = ours_of(family, module, config)
    torch.manual_seed(1)
    theirs = wrapped(family, settings)
    first, second = learnt(ours), learnt(theirs)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first), "the same start"
    assert_one_step(shaken(ours), shaken(theirs))


@pytest.mark.parametrize("family", list(FAMILIES))
def test_adalora_shares_the_ranks_out_alike(family: str) -> None:
    """PEFT adds its penalty to the loss by itself; ours is the companion's. The last step cuts the ranks."""
    settings = peft.AdaLoraConfig(
        target_r=2, init_r=4, lora_alpha=32, target_modules="all-linear", total_step=3, tinit=0, tfinal=1
    )
    torch.manual_seed(1)
    ours = ours_of(family, adalora, adalora.Config(rank=2, start_rank=4))
    torch.manual_seed(1)
    theirs = wrapped(family, settings)
    companion = adalora.companion(ours, 3)
    shaken(ours), shaken(theirs)
    assert_one_step(ours, theirs, companion.penalty)
    for number in (1, 2, 3):
        for model in (ours, theirs):
            model.zero_grad()
        (mean_loss(ours) + companion.penalty()).backward()
        their_loss(theirs).backward()
        companion.after_step(number)
        theirs.base_model.update_and_allocate(number)
    mine, its = companion.settings.rank_pattern, theirs.peft_config["default"].rank_pattern
    assert mine == its
    assert 0 < sum(sum(kept) for kept in mine.values()) < 4 * len(mine)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_qlora_over_the_codes_of_transformers(family: str, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="needs bitsandbytes, which is not here")
    import transformers

    torch.manual_seed(1)
    ours = ours_of(family, qlora, qlora.Config(rank=4))
    base_model(family).save_pretrained(tmp_path)
    four = transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    base = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, quantization_config=four, dtype=torch.float32
    )
    torch.manual_seed(1)
    settings = peft.LoraConfig(r=4, lora_alpha=8, target_modules="all-linear")
    theirs = wrapped(family, settings, base)
    assert learnt(ours).keys() == learnt(theirs).keys()
    assert_one_step(shaken(ours), shaken(theirs))


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3"])  # PEFT's own do not take GPT-2's matrices
@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_starts_other_than_zero(start: str, family: str) -> None:
    """PEFT changes the base and learns two factors; ours subtracts them from an untouched base: the same
    factors, the same function, the same step of what learns.
    """
    ours = ours_of(family, lora, lora.Config(rank=4, start=start))
    settings = peft.LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=start)
    theirs = wrapped(family, settings)
    first, second = learnt(ours), learnt(theirs)
    names = {name: name.replace(".parametrizations.weight.original", ".weight") for name in first}
    assert set(names.values()) == second.keys()
    for name, other in names.items():
        torch.testing.assert_close(first[name], second[other], atol=1e-5, rtol=1e-5)
        with torch.no_grad():
            for weight in (first[name], second[other]):
                weight.add_(0.05)
    assert_one_step(ours, theirs, names=names)
