"""The row cache against a plain list of tensors: rows enter, grow, leave and are cropped in any order."""

from __future__ import annotations

import random

import pytest
import torch
from transformers import LlamaConfig, MambaConfig, MistralConfig
from transformers.cache_utils import DynamicSlidingWindowLayer

from attune.inference.cache import RowCache, RowLayer, order_without, rows_of

H, D = 2, 3


def _draw(rng: torch.Generator, rows: int, columns: int) -> torch.Tensor:
    return torch.randn(rows, H, columns, D, generator=rng)


@pytest.mark.parametrize("seed", range(20))
def test_any_order_of_operations(seed: int) -> None:
    choices, numbers = random.Random(seed), torch.Generator().manual_seed(seed)
    cache = RowCache(layers=[RowLayer(None)])
    layer = cache.layers[0]
    kept: list[torch.Tensor] = []  # one [H, T, D] a row: what the layer must hold at its right end
    for _ in range(60):
        action = choices.choice(["enter", "grow", "grow", "grow", "leave", "crop"])
        if action == "enter" or not kept:
            rows, width = choices.randint(1, 3), choices.randint(1, 9)
            other = RowCache(layers=[RowLayer(None)])
            new = _draw(numbers, rows, width)
            other.update(new, -new, 0)
            picks = [choices.randrange(rows) for _ in range(choices.randint(1, 4))]
            cache.enter(other, picks)
            kept += [new[pick] for pick in picks]
        elif action == "grow":
            new = _draw(numbers, len(kept), choices.randint(1, 40))
            keys, values = cache.update(new, -new, 0)
            assert torch.equal(values, -keys)
            kept = [torch.cat([old, row], dim=1) for old, row in zip(kept, new, strict=True)]
        elif action == "leave":
            gone = set(choices.sample(range(len(kept)), choices.randint(1, len(kept))))
            order = order_without(len(kept), gone)
            kept = [kept[row] for row in order]
            cache.leave(order, max((row.shape[1] for row in kept), default=0))
        elif min(row.shape[1] for row in kept) > 1:
            cache.crop(-1)
            kept = [row[:, :-1] for row in kept]
        assert layer.num_rows == len(kept)
        assert cache.width == max((row.shape[1] for row in kept), default=0)
        for place, row in enumerate(kept):
            assert torch.equal(layer.keys[place, :, layer.end - row.shape[1] : layer.end], row)
            assert torch.equal(layer.values[place, :, layer.end - row.shape[1] : layer.end], -row)
        assert layer.keys.isfinite().all()


@pytest.mark.parametrize("window", [2, 5])
def test_a_window_shows_what_transformers_shows(window: int) -> None:
    ours, theirs = RowLayer(window), DynamicSlidingWindowLayer(sliding_window=window)
    numbers = torch.Generator().manual_seed(0)
    for columns in (3, 1, 1, 4, 1, 9, 1):
        new = _draw(numbers, 2, columns)
        assert ours.get_mask_sizes(columns) == theirs.get_mask_sizes(columns)
        for mine, reference in zip(ours.update(new, -new), theirs.update(new, -new), strict=True):
            assert torch.equal(mine, reference)
        assert ours.get_seq_length() == theirs.get_seq_length()


def test_cropping_a_window_brings_back_what_had_left_it() -> None:
    numbers = torch.Generator().manual_seed(0)
    new, last = _draw(numbers, 1, 8), _draw(numbers, 1, 1)
    layer = RowLayer(3)
    layer.update(new, new)
    layer.crop(-4)
    keys, _ = layer.update(last, last)
    assert torch.equal(keys, torch.cat([new[:, :, 2:4], last], dim=2))


def test_order_without() -> None:
    assert order_without(5, {1, 3}) == [0, 4, 2]
    assert order_without(3, {0, 1, 2}) == []
    assert order_without(4, {3}) == [0, 1, 2]


def test_models_are_told_apart_by_what_they_remember() -> None:
    llama = rows_of(LlamaConfig(num_hidden_layers=2))
    assert llama is not None
    assert [layer.window for layer in llama.layers] == [None, None]
    mistral = rows_of(MistralConfig(num_hidden_layers=2, sliding_window=7))
    assert mistral is not None
    assert [layer.window for layer in mistral.layers] == [7, 7]
    assert rows_of(MambaConfig(num_hidden_layers=2)) is None
