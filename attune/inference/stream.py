"""One answer, token by token, for a person who is watching: the memory is kept between turns.

A chat's next prompt begins with what has been read already. ``Memory`` holds those tokens with their keys and
values; only the part after the common beginning is read. ``TextPieces`` turns tokens into text that never
ends within a character: many Chinese characters are spread over two or three byte tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from ..recipe.schema import Generation
from . import single
from .cache import RowCache, rows_of
from .decode import check_prompts, last_logits, usable_cache, window
from .mode import generating, has_virtual_tokens, inner
from .sampling import choose, seen_tokens, uniforms


class Memory:
    """What a model has read so far. ``num_reused``: tokens that the last prompt did not read again."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.cache: RowCache | None = None
        self.num_reused = 0

    def keep_common(self, prompt: list[int]) -> list[int]:
        """Forgets what ``prompt`` does not begin with; returns what is unread (at least its last token)."""
        common = 0
        for old, new in zip(self.ids, prompt[:-1], strict=False):
            if old != new:
                break
            common += 1
        assert self.cache is not None
        self.cache.crop(common - len(self.ids))
        self.ids, self.num_reused = prompt[:common], common
        return prompt[common:]


def stream(
    model: nn.Module,
    prompt: list[int],
    generation: Generation,
    stop_ids: frozenset[int],
    memory: Memory | None = None,
) -> Iterator[int]:
    """The answer's tokens as they are chosen, without the stop token; ``decode.generate`` on one prompt.

    ``memory``: what earlier calls on the same model and weights have read. Raises DataError for a prompt that
    is empty or fills the model's window.
    """
    most = window(model)
    check_prompts([prompt], most)
    limit = generation.max_new_tokens if most is None else min(generation.max_new_tokens, most - len(prompt))
    memory = Memory() if memory is None else memory
    with generating(model):
        if memory.cache is None and not has_virtual_tokens(model):
            with torch.inference_mode():
                memory.cache = usable_cache(inner(model))
        if memory.cache is None:
            with torch.inference_mode():
                answers = single.generate(model, [prompt], generation, stop_ids, 1, None, most, None)
            yield from answers[0][0].ids
            return
        yield from _tokens(model, prompt, generation, stop_ids, limit, memory)


def _tokens(
    model: nn.Module,
    prompt: list[int],
    generation: Generation,
    stop_ids: frozenset[int],
    limit: int,
    memory: Memory,
) -> Iterator[int]:
    numbers_t = uniforms(generation.seed, 0, 0, generation.max_new_tokens)
    unread = memory.keep_common(prompt)
    text = list(prompt)
    for step in range(limit):
        # inference_mode belongs to the thread: it must not stay on while the caller has the token.
        with torch.inference_mode():
            logits_bv = _read(model, unread, memory)
            seen_bv = seen_tokens(text, logits_bv.shape[1], logits_bv.device)[None]
            token = int(
                choose(logits_bv, generation, seen_bv, numbers_t[step : step + 1].to(logits_bv.device))
            )
        if token in stop_ids:
            return
        text.append(token)
        unread = [token]
        yield token


def _read(model: nn.Module, ids: list[int], memory: Memory) -> torch.Tensor:
    """Reads ``ids`` after what is in the memory; logits ``[1, V]``."""
    base, cache, num_old = inner(model), memory.cache, len(memory.ids)
    assert cache is not None
    try:
        logits_bv = last_logits(
            base,
            torch.tensor([ids], device=base.device),
            torch.ones((1, num_old + len(ids)), dtype=torch.int64, device=base.device),
            torch.arange(num_old, num_old + len(ids), device=base.device)[None],
            cache,
        )
    except BaseException:
        # Interrupted between two layers, the cache holds a token in some layers only: start over next time.
        memory.ids, memory.cache = [], rows_of(base.config)
        raise
    memory.ids = memory.ids + ids
    return logits_bv


class TextPieces:
    """Tokens in, whole characters out; nothing given out is taken back or given out again.

    The pieces joined are the tokenizer's text of all tokens (of bytes that are no valid UTF-8, a tokenizer
    may think differently when more of them arrive; what was given out then stays).
    """

    _CONTEXT = 16
    """Tokens decoded again with each new one: more than one character is ever spread over."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._ids: list[int] = []
        self._num_told = 0
        """How many characters of the text of ``_ids`` have been given out."""

    def add(self, token: int) -> str:
        """The text that is certain now; empty within a character."""
        self._ids.append(token)
        text = self._text()
        # A replacement character at the end may be a character whose bytes are still to come.
        if text.endswith("\ufffd"):
            return ""
        piece = self._give(text)
        if len(self._ids) > 4 * self._CONTEXT:
            self._ids = self._ids[-self._CONTEXT :]
            self._num_told = len(self._text())
        return piece

    def end(self) -> str:
        """What remains: bytes that never became a character."""
        return self._give(self._text())

    def _text(self) -> str:
        return str(
            self.tokenizer.decode(self._ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )

    def _give(self, text: str) -> str:
        piece, self._num_told = text[self._num_told :], len(text)
        return piece
