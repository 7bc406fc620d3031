"""One vector an input from a frozen model: a layer's hidden states, taken at a token or averaged over all.

Legend: ``n`` inputs, ``p`` poolings, ``d`` hidden size, which the stages of a model of images do not share.
Layer 0 is the embeddings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data import cache, pack
from ..data.cache import Store
from ..data.layout import Batch
from .policy import Policy, Pooling

_AT_ONCE = 512
"""Inputs that are packed together."""


def features(
    policy: Policy,
    store: Store,
    layers: Sequence[int],
    pooling: Sequence[Pooling],
    micro_tokens: int,
    place: Path,
    on_progress: Callable[[int, int], None],
) -> list[NDArray[np.float32]]:
    """For each of ``layers`` ``[n, p, d]`` of the inputs in ``store``, each computed once and kept at
    ``place`` (a folder) under the hash of its content: the model is asked only for what is not there.

    ``place`` must differ from model to model. Nothing is said of labels: they are not read.
    """
    names = [_name(store, index, layers, pooling) for index in range(len(store))]
    first = {name: index for index, name in reversed(list(enumerate(names)))}
    missing = [index for name, index in first.items() if not (place / name).is_file()]
    place.mkdir(parents=True, exist_ok=True)
    done = 0
    for start in range(0, len(missing), _AT_ONCE):
        part = missing[start : start + _AT_ONCE]
        lengths = [int(store.lengths[index]) for index in part]
        for row in pack.packs(part, lengths, micro_tokens, padded=not policy.packs):
            batch = pack.batch(store, row)
            found = [layer.cpu().numpy() for layer in pooled(policy, batch, layers, pooling)]
            for number, index in enumerate(row):
                _write(place / names[index], [layer[number] for layer in found])
            done += len(row)
            on_progress(done, len(missing))
    known = [_read(place / name) for name in names]
    return [np.stack(layer) for layer in zip(*known, strict=True)]


def _name(store: Store, index: int, layers: Sequence[int], pooling: Sequence[Pooling]) -> str:
    ids = store[index].prompt
    return cache.key(ids=list(ids), layers=list(layers), pooling=list(pooling)) + ".npz"


def _write(path: Path, layers: Sequence[NDArray[np.float32]]) -> None:
    """Whole or not at all, also where two processes write the same."""
    draft = path.with_suffix(f".{id(layers)}.draft")
    with draft.open("wb") as file:
        np.savez(file, *layers)
    draft.replace(path)


def _read(path: Path) -> list[NDArray[np.float32]]:
    with np.load(path, allow_pickle=False) as kept:
        return [kept[name] for name in kept.files]


@torch.inference_mode()
def pooled(policy: Policy, batch: Batch, layers: Sequence[int], pooling: Sequence[Pooling]) -> list[Tensor]:
    """For each layer ``[n, p, d]``, float32, of a pack: ``last`` and ``cls`` are the states of its last and
    first token, ``mean`` the average over all.
    """
    states = policy.token_states(batch)
    lengths = torch.tensor(batch.layout.lengths, device=states[0].device)
    ends = lengths.cumsum(0) - 1
    starts = ends - lengths + 1
    example = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)

    def of(layer: Tensor, how: Pooling) -> Tensor:
        layer = layer.float()
        if layer.ndim == 3:  # images: each has as many places as any other
            return layer.mean(1) if how == "mean" else layer[:, 0]
        if how == "mean":
            sums = layer.new_zeros(len(lengths), layer.shape[1]).index_add_(0, example, layer)
            return sums / lengths[:, None]
        return layer[ends if how == "last" else starts]

    return [torch.stack([of(states[at], how) for how in pooling], 1) for at in layers]
