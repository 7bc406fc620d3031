"""A stand-in for the part of vLLM that attune uses, computed with transformers on the CPU.

It is strict where vLLM is: an argument that it does not know is an error, nobody answers asleep, an adapter
is read once and then known by its number. ``noise``: so much less than the truth it gives every
log-probability, as if its kernels were others.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from peft import PeftModel
from transformers import LlamaForCausalLM


@dataclass(frozen=True)
class SamplingParams:
    n: int
    temperature: float
    top_k: int
    top_p: float
    repetition_penalty: float
    seed: int
    max_tokens: int
    stop_token_ids: list[int]
    ignore_eos: bool
    logprobs: int
    detokenize: bool


@dataclass(frozen=True)
class LoRARequest:
    lora_name: str
    lora_int_id: int
    lora_path: str


@dataclass
class LLM:
    """The last one made is ``LLM.made[-1]``; ``calls`` names what was asked of it, in order."""

    model: str
    revision: str | None
    trust_remote_code: bool
    tokenizer: str | None
    dtype: str
    quantization: str | None
    max_model_len: int
    gpu_memory_utilization: float
    enable_sleep_mode: bool
    distributed_executor_backend: str
    logprobs_mode: str
    enable_lora: bool = False
    max_loras: int = 1
    max_lora_rank: int = 16
    calls: list[str] = field(default_factory=list)
    asked: list[tuple[list[Any], list[SamplingParams], LoRARequest | None]] = field(default_factory=list)
    made: ClassVar[list[LLM]] = []
    noise: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        self.base = LlamaForCausalLM.from_pretrained(self.model).eval()
        self.adapters: dict[int, Any] = {}
        self.is_awake = True
        LLM.made.append(self)

    def sleep(self, level: int = 1) -> None:
        self.calls.append(f"sleep {level}")
        self.is_awake = False

    def wake_up(self, tags: list[str] | None = None) -> None:
        assert tags is None
        self.calls.append("wake_up")
        self.is_awake = True

    def reset_prefix_cache(self) -> bool:
        assert self.is_awake
        self.calls.append("reset_prefix_cache")
        return True

    def apply_model(self, function: Callable[[Any], Any]) -> list[Any]:
        assert self.is_awake
        self.calls.append("apply_model")
        return [function(SimpleNamespace(load_weights=self._load))]

    def _load(self, weights: Sequence[tuple[str, torch.Tensor]]) -> set[str]:
        own = dict(self.base.named_parameters())
        with torch.no_grad():
            for name, weight in weights:
                own[name].copy_(weight)
        return {name for name, _ in weights}

    def generate(
        self,
        prompts: list[Any],
        sampling_params: list[SamplingParams],
        *,
        lora_request: LoRARequest | None = None,
        use_tqdm: bool = True,
    ) -> list[Any]:
        assert self.is_awake
        assert not use_tqdm
        self.calls.append("generate")
        self.asked.append((prompts, sampling_params, lora_request))
        model = self.base if lora_request is None else self._with(lora_request)
        with torch.no_grad():
            return [
                SimpleNamespace(
                    outputs=[
                        _answer(model, prompt["prompt_token_ids"], asked, index, self)
                        for index in reversed(range(asked.n))  # their order is not promised
                    ]
                )
                for prompt, asked in zip(prompts, sampling_params, strict=True)
            ]

    def _with(self, request: LoRARequest) -> Any:
        assert self.enable_lora
        if request.lora_int_id not in self.adapters:
            base = LlamaForCausalLM.from_pretrained(self.model)
            self.adapters[request.lora_int_id] = PeftModel.from_pretrained(base, request.lora_path).eval()
        return self.adapters[request.lora_int_id]


def _answer(model: Any, prompt: list[int], asked: SamplingParams, index: int, engine: LLM) -> Any:
    """One answer, token by token; the seed counts up from sample to sample."""
    generator = torch.Generator().manual_seed(asked.seed + index)
    ids, logps = list(prompt), list[dict[int, Any]]()
    most = min(asked.max_tokens, engine.max_model_len - len(prompt))
    while len(logps) < most and not (logps and ids[-1] in asked.stop_token_ids):
        logits = model(torch.tensor([ids])).logits[0, -1].float()
        log_p = (logits / (asked.temperature or 1.0)).log_softmax(-1)
        chosen = (
            torch.multinomial(log_p.exp(), 1, generator=generator) if asked.temperature else log_p.argmax()
        )
        token = int(chosen)
        ids.append(token)
        logps.append({token: SimpleNamespace(logprob=float(log_p[token]) - engine.noise, rank=1)})
    is_stopped = ids[-1] in asked.stop_token_ids
    return SimpleNamespace(
        index=index,
        token_ids=tuple(ids[len(prompt) :]),
        logprobs=logps,
        finish_reason="stop" if is_stopped else "length",
        stop_reason=ids[-1] if is_stopped else None,
    )


def install(monkeypatch: pytest.MonkeyPatch, *, noise: float = 0.0) -> None:
    """``import vllm`` gives this from now on, and a CPU is taken for a GPU."""
    vllm, requests = ModuleType("vllm"), ModuleType("vllm.lora.request")
    vars(vllm).update(LLM=LLM, SamplingParams=SamplingParams)
    vars(requests).update(LoRARequest=LoRARequest)
    for module in (vllm, ModuleType("vllm.lora"), requests):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(LLM, "made", [])
    monkeypatch.setattr(LLM, "noise", noise)
    monkeypatch.setattr("attune.inference.backends.vllm._check_gpu", lambda device: None)
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "0")  # so that the test takes back what is set
        monkeypatch.delenv(name)
