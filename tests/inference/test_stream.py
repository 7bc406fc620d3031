"""Streaming: the tokens of ``generate``, a memory that is exact, and text in whole characters."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from attune.inference.decode import generate
from attune.inference.stream import Memory, TextPieces, stream
from attune.models import attention
from attune.recipe.errors import DataError
from attune.recipe.schema import Generation

Tiny = Callable[..., PreTrainedModel]
STOPS = frozenset(range(2, 8))
FAMILIES = ["llama", "mistral", "gemma2", "gemma3", "gpt2", "mamba"]


def _prompt(length: int, seed: int = 0) -> list[int]:
    return random.Random(seed).choices(range(8, 61), k=length)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("family", FAMILIES)
def test_equals_generate(tiny: Tiny, family: str, temperature: float) -> None:
    model, prompt = tiny(family), _prompt(9)
    generation = Generation(max_new_tokens=12, temperature=temperature, repetition_penalty=1.2)
    (sample,) = generate(model, [prompt], generation, STOPS)[0]
    assert list(stream(model, prompt, generation, STOPS)) == sample.ids


@pytest.mark.parametrize("family", FAMILIES)
def test_memory_changes_nothing_but_the_work(tiny: Tiny, family: str) -> None:
    model, generation, memory = tiny(family), Generation(max_new_tokens=9), Memory()
    first, other = _prompt(20), _prompt(6, 2)
    longer = first + _prompt(7, 1)
    # The next turn, the same again, an edited middle, a shorter beginning, something else.
    for turn, prompt in enumerate([first, longer, longer, [*first[:11], 9, 9, 9], first[:5], other]):
        expected = list(stream(model, prompt, generation, frozenset()))
        assert list(stream(model, prompt, generation, frozenset(), memory)) == expected
        if family != "mamba":
            assert memory.num_reused == [0, 20, 26, 11, 4, 0][turn]


def test_the_common_beginning_is_not_read_again(tiny: Tiny) -> None:
    model, memory = tiny("llama"), Memory()
    first = _prompt(20)
    answer = list(stream(model, first, Generation(max_new_tokens=5), frozenset(), memory))
    widths: list[int] = []
    model.register_forward_pre_hook(
        lambda _module, _args, given: widths.append(given["input_ids"].shape[1]), with_kwargs=True
    )
    second = [*first, *answer, 9, 9, 9]
    list(stream(model, second, Generation(max_new_tokens=2), frozenset(), memory))
    # The answer's last token was told but never read.
    assert widths == [4, 1]


def test_an_abandoned_stream_can_be_followed_by_another(tiny: Tiny) -> None:
    model, memory, prompt = tiny("llama").train(), Memory(), _prompt(9)
    tokens = stream(model, prompt, Generation(max_new_tokens=20), frozenset(), memory)
    begun = [next(tokens), next(tokens)]
    assert not torch.is_inference_mode_enabled()
    tokens.close()
    assert model.training
    again = list(stream(model, prompt, Generation(max_new_tokens=4), frozenset(), memory))
    assert again[:2] == begun


def test_an_interrupted_forward_leaves_no_half_read_token(tiny: Tiny) -> None:
    model, memory, prompt = tiny("llama"), Memory(), _prompt(9)
    generation = Generation(max_new_tokens=4)
    expected = list(stream(model, prompt, generation, frozenset()))
    tokens = stream(model, prompt, generation, frozenset(), memory)
    next(tokens)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    handle = model.model.layers[1].register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        next(tokens)
    handle.remove()
    assert list(stream(model, prompt, generation, frozenset(), memory)) == expected


def test_attention_is_restored(tiny: Tiny) -> None:
    attention.register()
    model = tiny("llama")
    model.set_attn_implementation(attention.NAME)
    list(stream(model, _prompt(3), Generation(max_new_tokens=2), frozenset()))
    assert model.config._attn_implementation == attention.NAME


def test_the_window_cuts_and_a_full_one_is_named(tiny: Tiny) -> None:
    model = tiny("llama", max_position_embeddings=12)
    assert len(list(stream(model, _prompt(9), Generation(max_new_tokens=50), frozenset()))) == 3
    with pytest.raises(DataError, match="Prompt 1 has 12 tokens - the model's window of 12 must hold it"):
        list(stream(model, _prompt(12), Generation(), frozenset()))


# Text --------------------------------------------------------------------------------

TEXT = "小笼大师：您好！☃ Dumplings 18元/笼。👩‍🍳🇨🇳 café\n" * 5


def test_chinese_arrives_in_whole_characters(byte_tokenizer: PreTrainedTokenizerFast) -> None:
    pieces = TextPieces(byte_tokenizer)
    told = [pieces.add(token) for token in byte_tokenizer(TEXT)["input_ids"]]
    assert len(told) > 300
    assert "\ufffd" not in "".join(told)
    assert "".join(told) == TEXT
    assert pieces.end() == ""
    assert max(map(len, told)) == 1, "each character as soon as its last byte is there"


def test_bytes_that_never_become_a_character_are_told_at_the_end(
    byte_tokenizer: PreTrainedTokenizerFast,
) -> None:
    pieces = TextPieces(byte_tokenizer)
    tokens = byte_tokenizer("好吃")["input_ids"][:-1]
    assert [pieces.add(token) for token in tokens] == ["", "", "好", "", ""]
    assert pieces.end() == byte_tokenizer.decode(tokens)[1:]
    assert pieces.end() == ""


@pytest.mark.parametrize("seed", range(5))
def test_random_bytes_join_to_the_whole_text(byte_tokenizer: PreTrainedTokenizerFast, seed: int) -> None:
    tokens = random.Random(seed).choices(range(256), k=300)
    pieces = TextPieces(byte_tokenizer)
    told = "".join(pieces.add(token) for token in tokens) + pieces.end()
    assert told == byte_tokenizer.decode(tokens)


def _sentencepiece_like() -> PreTrainedTokenizerFast:
    """Words with a leading mark, and bytes for what has no word, as Llama 2 has them."""
    words = ["▁hello", "▁world", "▁", "!", "<unk>"]
    vocabulary = {word: number for number, word in enumerate([*words, *(f"<0x{b:02X}>" for b in range(256))])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True, unk_token="<unk>"))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def test_byte_fallback_and_leading_spaces() -> None:
    tokenizer = _sentencepiece_like()
    bytes_of = [[5 + byte for byte in character.encode()] for character in "你好"]
    tokens = [0, 1, 3, *bytes_of[0], *bytes_of[1], 2, 0] * 9
    pieces = TextPieces(tokenizer)
    told = [pieces.add(token) for token in tokens]
    assert "".join(told) == tokenizer.decode(tokens)
    assert told[:10] == ["hello", " world", "!", "", "", "你", "", "", "好", " "]
