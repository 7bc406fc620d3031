"""Answers to a list of prompts: the Python front door (``attune.generate``) and what evaluation calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, overload

from ..data.examples import Message
from ..models.load import Loaded, load_for_inference
from ..recipe.errors import DataError
from ..recipe.messages import say
from ..recipe.schema import Generation
from . import decode
from .chat import prompt_ids

Prompts = Sequence[str | Sequence[Message]]


@overload
def generate(
    model: str | Path | Loaded,
    prompts: Prompts,
    generation: Generation | None = None,
    *,
    num_samples: Literal[1] = 1,
    system: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[str]: ...


@overload
def generate(
    model: str | Path | Loaded,
    prompts: Prompts,
    generation: Generation | None = None,
    *,
    num_samples: int,
    system: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[str] | list[list[str]]: ...


def generate(
    model: str | Path | Loaded,
    prompts: Prompts,
    generation: Generation | None = None,
    *,
    num_samples: int = 1,
    system: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[str] | list[list[str]]:
    """One answer a prompt, in their order; with ``num_samples`` > 1 a list of so many answers a prompt.

    ``model``: a run, an adapter or a model folder, a hub id, or what ``load_for_inference`` gave. A prompt is
    a question or a conversation that ends where the model must answer. ``system`` goes before those that have
    no system message. Raises ModelError for the model, DataError for the prompts.
    """
    if isinstance(prompts, str):
        raise DataError(
            say(
                "prompts is one string - a list is needed, as one call answers many - write [{shown!r}].",
                "prompts 是单个字符串——应为列表，以便一次回答多个——请写成 [{shown!r}]。",
                shown=prompts if len(prompts) <= 40 else prompts[:39] + "…",
            )
        )
    loaded = model if isinstance(model, Loaded) else load_for_inference(str(model))
    ids = [
        prompt_ids(loaded, _conversation(prompt, system), say("Prompt {n}: ", "第 {n} 个提示：", n=number))
        for number, prompt in enumerate(prompts, 1)
    ]
    answers = decode.generate(
        loaded.model,
        ids,
        Generation() if generation is None else generation,
        loaded.template.stop_ids,
        num_samples=num_samples,
        on_progress=on_progress,
    )
    texts = [[text_of(loaded, sample.ids) for sample in samples] for samples in answers]
    return [text for (text,) in texts] if num_samples == 1 else texts


def text_of(loaded: Loaded, ids: list[int]) -> str:
    """The text of an answer's tokens, as chat shows it."""
    return str(loaded.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _conversation(prompt: str | Sequence[Message], system: str | None) -> list[Message]:
    messages = [Message("user", prompt)] if isinstance(prompt, str) else list(prompt)
    if system is not None and not any(message.role == "system" for message in messages):
        messages.insert(0, Message("system", system))
    return messages
