"""Generators: attune's decoder by its other name, and vLLM by a stand-in for its interface."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import IA3Config, LoraConfig, get_peft_model
from pydantic import ValidationError

from attune.inference import decode
from attune.inference.backends import torch as own
from attune.inference.backends import vllm
from attune.models.policy import Policy
from attune.objectives import grpo
from attune.recipe import plugs
from attune.recipe.errors import DataError, RecipeError
from attune.recipe.schema import Generation, Recipe
from tests.inference.vllm_standin import LLM, install

STOPS = frozenset(range(2, 12))
PROMPTS = [[20, 21, 22], [30], [40, 41, 42, 43, 44]]
SAMPLED = Generation(max_new_tokens=6, temperature=0.7, seed=3)
Make = Callable[..., Policy]


@pytest.fixture
def make(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """``make(adapter settings)``: a policy whose adapter is away from its start."""
    install(monkeypatch)

    def policy(settings: Any = None) -> Policy:
        model = tiny("llama")
        model.save_pretrained(tmp_path / "base")
        if settings is not None:
            model = get_peft_model(model, settings)
            nudge(model)
        return Policy(model).eval()

    return policy


def nudge(model: Any) -> None:
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.requires_grad and "lora_A" not in name:
                weight += 0.3 * torch.randn_like(weight)


def recipe(tmp_path: Path, adapter: str = "lora", **model: Any) -> Recipe:
    return Recipe.model_validate(
        {"model": {"path": str(tmp_path / "base"), **model}, "data": "x.jsonl", "adapter": adapter}
    )


def lora(**more: Any) -> LoraConfig:
    return LoraConfig(r=4, target_modules="all-linear", **more)


def logps_of(policy: Policy, prompt: list[int], ids: list[int], temperature: float) -> torch.Tensor:
    """By one whole forward of the policy as it is now."""
    policy.own_attention()
    with torch.no_grad():
        logits = policy.model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
    log_p: torch.Tensor = (logits / temperature).log_softmax(-1)
    return log_p[torch.arange(len(ids)), ids]


def test_both_are_found_by_their_names() -> None:
    assert plugs.names("generators") == ["torch", "vllm"]
    with pytest.raises(
        ValidationError, match=r"no such generator: 'vlm'\. Allowed: torch, vllm\. Did you mean 'vllm'\?"
    ):
        grpo.Config(generator="vlm")


def test_our_own_is_the_decoder(make: Make, tmp_path: Path) -> None:
    policy = make(lora())
    generator = own.start(policy, recipe(tmp_path), precision="fp32", longest=20)
    assert generator.is_exact
    given: dict[str, Any] = {"num_samples": 2, "places": [4, 0, 1]}
    expected = decode.generate(policy.model, PROMPTS, SAMPLED, STOPS, **given)
    assert generator.generate(PROMPTS, SAMPLED, STOPS, **given) == expected


def test_the_engine_is_made_for_the_run(make: Make, tmp_path: Path) -> None:
    asked = recipe(tmp_path, revision="main", trust_remote_code=True, tokenizer="words")
    generator = vllm.start(make(lora()), asked, precision="bf16", longest=77)
    assert not generator.is_exact
    (engine,) = LLM.made
    assert (engine.model, engine.revision) == (str(tmp_path / "base"), "main")
    assert engine.trust_remote_code
    assert engine.tokenizer == "words"
    assert (engine.dtype, engine.quantization, engine.max_model_len) == ("bfloat16", None, 77)
    assert (engine.enable_lora, engine.max_loras, engine.max_lora_rank) == (True, 1, 8)
    assert engine.logprobs_mode == "processed_logprobs"
    assert engine.distributed_executor_backend == "external_launcher"
    assert engine.calls == ["sleep 1"], "the GPU is the training's"
    assert os.environ["WORLD_SIZE"] == "1"
    vllm.start(make(), recipe(tmp_path, "full"), precision="fp32", longest=20)
    assert (LLM.made[1].dtype, LLM.made[1].enable_lora) == ("float32", False)


def test_what_is_asked_for_and_what_comes_back(make: Make, tmp_path: Path) -> None:
    policy, told = make(lora()), []
    generator = vllm.start(policy, recipe(tmp_path), precision="fp32", longest=9)
    answers = generator.generate(
        PROMPTS,
        SAMPLED,
        STOPS,
        num_samples=4,
        places=[4, 0, 1],
        on_progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(12, 12)]
    (engine,) = LLM.made
    ((prompts, params, _),) = engine.asked
    assert [prompt["prompt_token_ids"] for prompt in prompts] == PROMPTS
    assert {(one.n, one.temperature, one.max_tokens, one.ignore_eos, one.logprobs) for one in params} == {
        (4, 0.7, 6, True, 0)
    }
    assert all(one.stop_token_ids == sorted(STOPS) and not one.detokenize for one in params)
    assert len({one.seed for one in params}) == 3
    assert {sample.finished for samples in answers for sample in samples} == {True, False}
    for prompt, samples in zip(PROMPTS, answers, strict=True):
        assert len({tuple(sample.ids) for sample in samples}) > 1
        for sample in samples:
            ids = [*sample.ids, *([] if sample.stop is None else [sample.stop])]
            assert sample.finished == (sample.stop in STOPS)
            assert not STOPS & set(sample.ids)
            assert len(ids) <= min(6, 9 - len(prompt))
            wanted = logps_of(policy, prompt, ids, 0.7)
            torch.testing.assert_close(torch.tensor(sample.logps), wanted, atol=1e-5, rtol=1e-5)


def test_a_prompts_samples_depend_on_the_seed_and_its_number_alone(make: Make, tmp_path: Path) -> None:
    generator = vllm.start(make(lora()), recipe(tmp_path), precision="fp32", longest=20)
    whole = generator.generate(PROMPTS, SAMPLED, STOPS, num_samples=2, places=[0, 1, 2])
    assert generator.generate(PROMPTS[2:], SAMPLED, STOPS, num_samples=2, places=[2]) == whole[2:]
    other = SAMPLED.model_copy(update={"seed": 4})
    assert generator.generate(PROMPTS, other, STOPS, num_samples=2) != whole


def test_an_adapter_is_sent_before_each_rollout_under_a_new_number(make: Make, tmp_path: Path) -> None:
    """A number that came back would be answered with the weights of then."""
    policy = make(lora())
    generator = vllm.start(policy, recipe(tmp_path), precision="fp32", longest=20)
    (engine,) = LLM.made
    for _ in range(3):
        ((sample,),) = generator.generate(PROMPTS[:1], SAMPLED, frozenset())
        wanted = logps_of(policy, PROMPTS[0], sample.ids, 0.7)
        torch.testing.assert_close(torch.tensor(sample.logps), wanted, atol=1e-5, rtol=1e-5)
        nudge(policy.model)
        moved = logps_of(policy, PROMPTS[0], sample.ids, 0.7)
        assert not torch.allclose(moved, wanted, atol=1e-3), "or this proves nothing"
    requests = [request for *_, request in engine.asked if request is not None]
    assert [(one.lora_name, one.lora_int_id) for one in requests] == [
        ("policy-1", 1),
        ("policy-2", 2),
        ("policy-3", 3),
    ]
    assert [Path(one.lora_path).is_dir() for one in requests] == [False, False, True]
    assert engine.calls == ["sleep 1", *["wake_up", "reset_prefix_cache", "generate", "sleep 1"] * 3]


def test_whole_weights_are_sent_before_each_rollout(make: Make, tmp_path: Path) -> None:
    policy = make()
    generator = vllm.start(policy, recipe(tmp_path, "full"), precision="fp32", longest=20)
    for _ in range(2):
        nudge(policy.model)
        ((sample,),) = generator.generate(PROMPTS[:1], SAMPLED, frozenset())
        wanted = logps_of(policy, PROMPTS[0], sample.ids, 0.7)
        torch.testing.assert_close(torch.tensor(sample.logps), wanted, atol=1e-5, rtol=1e-5)
    assert LLM.made[0].calls[1:6] == ["wake_up", "reset_prefix_cache", "apply_model", "generate", "sleep 1"]
    assert LLM.made[0].asked[0][2] is None


def test_wrong_prompts_are_named_and_none_ask_nothing(make: Make, tmp_path: Path) -> None:
    generator = vllm.start(make(lora()), recipe(tmp_path), precision="fp32", longest=20)
    with pytest.raises(DataError, match="Prompt 2 is empty"):
        generator.generate([[5], []], SAMPLED, STOPS)
    assert generator.generate([], SAMPLED, STOPS) == []
    assert LLM.made[0].calls == ["sleep 1"]


@pytest.mark.parametrize(
    "settings",
    [lora(use_dora=True), IA3Config(target_modules=["k_proj"], feedforward_modules=[]), LoraConfig(r=600)],
    ids=["dora", "ia3", "rank"],
)
def test_an_adapter_that_vllm_does_not_load_is_refused(make: Make, tmp_path: Path, settings: Any) -> None:
    if settings.peft_type == "LORA":
        settings.target_modules = ["q_proj"]
    with pytest.raises(RecipeError, match=r"adapter=dora is neither as it is set\. Use adapter=lora, rslora"):
        vllm.start(make(settings), recipe(tmp_path, "dora"), precision="fp32", longest=20)
    assert LLM.made == []


def test_without_a_gpu_it_is_refused(tiny: Any, tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError,
        match=r"samples on a CUDA GPU, and this run is on cpu\. Leave it out: attune's own decoder",
    ):
        vllm.start(Policy(tiny("llama")), recipe(tmp_path), precision="fp32", longest=20)


def test_without_the_package_it_says_what_to_type(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(
        RecipeError, match=r'needs vLLM, which is not installed\. Type: pip install "attune\['
    ):
        vllm.start(make(lora()), recipe(tmp_path), precision="fp32", longest=20)
