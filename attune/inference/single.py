"""The slow way, right for any model: its own ``generate``, a prompt at a time, with our choice of tokens.

For models whose memory cannot be cut and joined row by row (state-space, linear attention) and for adapters
with virtual tokens. transformers runs the model and keeps its memory; a logits processor chooses the token,
so sampling is the same, number for number, as in ``decode``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import nn
from transformers import GenerationConfig, LogitsProcessor

from ..recipe.schema import Generation
from .sampling import Sample, choose, logps_of, seen_tokens, uniforms


def generate(
    model: nn.Module,
    prompts: list[list[int]],
    generation: Generation,
    stop_ids: frozenset[int],
    num_samples: int,
    places: Sequence[int] | None,
    window: int | None,
    on_progress: Callable[[int, int], None] | None,
) -> list[list[Sample]]:
    """As ``decode.generate``, which calls this inside ``inference_mode`` with prompts that it has checked."""
    answers: list[list[Sample]] = []
    for number, prompt in enumerate(prompts):
        most = (
            generation.max_new_tokens
            if window is None
            else min(generation.max_new_tokens, window - len(prompt))
        )
        answers.append([])
        for sample in range(num_samples):
            place = number if places is None else places[number]
            numbers = uniforms(generation.seed, place, sample, generation.max_new_tokens)
            answers[-1].append(_one(model, prompt, generation, stop_ids, most, numbers))
            if on_progress is not None:
                on_progress(number * num_samples + sample + 1, len(prompts) * num_samples)
    return answers


def _one(
    model: nn.Module,
    prompt: list[int],
    generation: Generation,
    stop_ids: frozenset[int],
    most: int,
    uniforms_t: torch.Tensor,
) -> Sample:
    chooser = _Chooser(generation, uniforms_t)
    # Every option that a model's own generation_config.json may hold and that would change the choice is
    # named.
    settings = GenerationConfig(
        max_new_tokens=most,
        min_new_tokens=0,
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        eos_token_id=sorted(stop_ids) or -1,
        pad_token_id=0,
    )
    ids_bt = torch.tensor([prompt], device=next(model.parameters()).device)
    with warnings.catch_warnings():
        # PEFT says that it counts positions itself, virtual tokens included: that is what is wanted.
        warnings.filterwarnings("ignore", message="Position ids are not supported")
        whole_bt = model.generate(  # type: ignore[operator]  # every causal language model has it
            input_ids=ids_bt,
            attention_mask=torch.ones_like(ids_bt),
            generation_config=settings,
            logits_processor=[chooser],
        )
    ids = whole_bt[0, len(prompt) :].tolist()
    finished = ids[-1] in stop_ids
    logps = torch.cat(chooser.logps).tolist()
    return Sample(ids[:-1], True, logps, ids[-1]) if finished else Sample(ids, False, logps)


class _Chooser(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped
    """Leaves one token possible: the one that ``choose`` takes; remembers its log-probability."""

    def __init__(self, generation: Generation, uniforms_t: torch.Tensor) -> None:
        self.generation, self.uniforms_t = generation, uniforms_t
        self.logps: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        logits_bv = scores.float()
        seen_bv = seen_tokens(input_ids[0].tolist(), logits_bv.shape[1], logits_bv.device)[None]
        step = len(self.logps)
        ids_b = choose(
            logits_bv, self.generation, seen_bv, self.uniforms_t[step : step + 1].to(scores.device)
        )
        self.logps.append(logps_of(logits_bv, ids_b))
        return torch.full_like(scores, -torch.inf).scatter(1, ids_b[:, None], 0.0)
