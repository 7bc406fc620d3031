"""vLLM as the generator, in the process that trains and on its GPU: ``pip install "attune[vllm]"``.

The engine holds a second copy of the base. Before each rollout it wakes and gets the policy's weights: a LoRA
as a folder in PEFT's format, under a name and a number never used before (some versions keep a prompt's keys
by the adapter's name); weights of the base itself, where those learn, by the model's own ``load_weights``.
Afterwards it sleeps: its weights go to the CPU, its cache is given up, and the GPU is the training's again.
(Level 1 of vLLM's sleep. Level 2 drops the weights, and not every model has come back from that whole.)

What is lost: vLLM computes with other kernels, so the log-probabilities that it sampled with differ from
those that are learnt, and other requests in a batch may change an answer. A run is no longer repeatable bit
for bit, nor is one that goes on. Each advantage is weighed by the ratio of the two probabilities (at most
``advantages.MOST``), and their divergence is told as ``sampling_kl``.

Written against vLLM 0.22 to 0.31. Tested with a stand-in for the part of its interface that is used here
(``tests/inference/test_backends.py``), not with vLLM itself.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from ...models import quantize
from ...models.adapted import is_adapter
from ...models.policy import Policy
from ...recipe.errors import RecipeError
from ...recipe.messages import say
from ...recipe.schema import Generation, Recipe
from .. import decode
from ..sampling import Sample
from ._generator import Generator

_GPU_SHARE = 0.3
"""Of the GPU's memory, for the engine's weights and cache; the rest is the training's."""
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM can be told to have room for."""


def start(policy: Policy, recipe: Recipe, *, precision: str, longest: int) -> Generator:
    """An engine that sleeps. ``precision``: ``bf16`` or ``fp32``; ``longest``: the most tokens that a prompt
    and its answer may have.

    Raises RecipeError without a GPU, without vLLM, and for an adapter that vLLM cannot load.
    """
    _check_gpu(policy.device)
    rank = _lora_rank(policy.model, recipe.adapter.name)
    try:
        from vllm import LLM
    except ModuleNotFoundError as error:
        if error.name != "vllm":
            raise
        raise RecipeError(
            say(
                "objective.generator=vllm needs vLLM, which is not installed. Type: pip install "
                '"attune[vllm]"; or leave it out: attune\'s own decoder samples then.',
                'objective.generator=vllm 需要 vLLM，但尚未安装。请输入：pip install "attune[vllm]"；'
                "或去掉该项，改用 attune 自带的解码器采样。",
            )
        ) from None
    _be_launched()
    lora: dict[str, Any] = (
        {} if rank is None else {"enable_lora": True, "max_loras": 1, "max_lora_rank": rank}
    )
    engine = LLM(
        model=recipe.model.path,
        revision=recipe.model.revision,
        trust_remote_code=recipe.model.trust_remote_code,
        tokenizer=recipe.model.tokenizer,
        dtype="bfloat16" if precision == "bf16" else "float32",
        quantization="bitsandbytes" if quantize.is_quantized(policy.base) else None,
        max_model_len=longest,
        gpu_memory_utilization=_GPU_SHARE,
        enable_sleep_mode=True,
        distributed_executor_backend="external_launcher",  # in this process
        logprobs_mode="processed_logprobs",  # those that are drawn with, temperature included
        **lora,
    )
    return Engine(policy, engine, is_lora=rank is not None)


def _check_gpu(device: torch.device) -> None:
    if device.type != "cuda":
        raise RecipeError(
            say(
                "objective.generator=vllm samples on a CUDA GPU, and this run is on {device}. Leave it out: "
                "attune's own decoder samples on any device.",
                "objective.generator=vllm 在 CUDA GPU 上采样，而本次运行在 {device} 上。请去掉该项："
                "attune 自带的解码器可在任何设备上采样。",
                device=device.type,
            )
        )


def _lora_rank(model: Any, adapter: str) -> int | None:
    """The rank that vLLM must have room for; None where the base's own weights learn.

    Raises RecipeError for an adapter that is neither.
    """
    if not is_adapter(model):
        return None
    from peft import LoraConfig

    settings: Any = getattr(model, "peft_config", {}).get("default")
    if type(settings) is LoraConfig and not (
        settings.use_dora or settings.modules_to_save or settings.trainable_token_indices
    ):
        rank = max([settings.r, *settings.rank_pattern.values()])
        fitting = [size for size in _RANKS if size >= rank]
        if fitting:
            return fitting[0]
    raise RecipeError(
        say(
            "objective.generator=vllm takes the policy as a LoRA of rank {most} at most or as whole weights, "
            "and adapter={adapter} is neither as it is set. Use adapter=lora, rslora, qlora or full, or "
            "leave objective.generator out.",
            "objective.generator=vllm 只接受秩不超过 {most} 的 LoRA 或完整权重，"
            "而当前设置的 adapter={adapter} 两者都不是。请用 adapter=lora、rslora、qlora 或 full，"
            "或去掉 objective.generator。",
            most=_RANKS[-1],
            adapter=adapter,
        )
    )


def _be_launched() -> None:
    """What a launcher would have told this process; vLLM asks for it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    for name, value in {**alone, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items():
        os.environ.setdefault(name, value)


class Engine:
    """``engine`` (vLLM's ``LLM``) answers with the weights of ``policy``; asleep between the calls."""

    is_exact = False

    def __init__(self, policy: Policy, engine: Any, *, is_lora: bool) -> None:
        self.policy, self.engine, self.is_lora = policy, engine, is_lora
        self.num_refreshed = 0
        self.scratch = tempfile.TemporaryDirectory(prefix="attune-vllm-")
        engine.sleep(level=1)

    def generate(
        self,
        prompts: list[list[int]],
        generation: Generation,
        stop_ids: frozenset[int],
        *,
        num_samples: int = 1,
        places: Sequence[int] | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[list[Sample]]:
        """As the protocol says; progress is told once, at the end."""
        decode.check_prompts(prompts, decode.window(self.policy.model))
        if not prompts:
            return []
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # what training has left over is what the engine wakes into
        self.engine.wake_up()
        outputs = self.engine.generate(
            [{"prompt_token_ids": ids} for ids in prompts],
            [
                _asked(generation, stop_ids, num_samples, place)
                for place in (range(len(prompts)) if places is None else places)
            ],
            lora_request=self._refreshed(),
            use_tqdm=False,
        )
        self.engine.sleep(level=1)
        if on_progress is not None:
            on_progress(len(prompts) * num_samples, len(prompts) * num_samples)
        return [
            [_sample(one) for one in sorted(output.outputs, key=lambda one: int(one.index))]
            for output in outputs
        ]

    def _refreshed(self) -> Any:
        """Gives the engine the policy's weights; the adapter to ask for, where it is one."""
        self.num_refreshed += 1
        self.engine.reset_prefix_cache()
        if not self.is_lora:
            weights = [(name, weight.detach()) for name, weight in self.policy.base.named_parameters()]
            self.engine.apply_model(lambda model: model.load_weights(weights))
            return None
        from vllm.lora.request import LoRARequest

        name = f"policy-{self.num_refreshed}"
        for old in Path(self.scratch.name).iterdir():
            shutil.rmtree(old)
        folder = Path(self.scratch.name) / name
        self.policy.model.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)
        return LoRARequest(name, self.num_refreshed, str(folder))


def _asked(generation: Generation, stop_ids: frozenset[int], num_samples: int, place: int) -> Any:
    """One prompt's request. vLLM counts the seed up from sample to sample, so prompts get distant ones."""
    from vllm import SamplingParams

    seed = hashlib.blake2b(f"{generation.seed}/{place}".encode(), digest_size=6).digest()
    return SamplingParams(
        n=num_samples,
        temperature=generation.temperature,
        top_k=generation.top_k,
        top_p=generation.top_p,
        repetition_penalty=generation.repetition_penalty,
        seed=int.from_bytes(seed, "little"),
        max_tokens=generation.max_new_tokens,
        stop_token_ids=sorted(stop_ids),
        ignore_eos=True,  # the template's stop tokens are the only ones
        logprobs=0,  # of the chosen token alone
        detokenize=False,
    )


def _sample(output: Any) -> Sample:
    """vLLM's ``CompletionOutput``, whose tokens end with the stop token where there is one."""
    ids = list(output.token_ids)
    logps = [place[token].logprob for place, token in zip(output.logprobs, ids, strict=True)]
    if output.finish_reason != "stop":
        return Sample(ids, False, logps)
    return Sample(ids[:-1], True, logps, ids[-1])
