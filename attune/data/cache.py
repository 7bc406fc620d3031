"""Encoded examples as flat arrays on disk, memory-mapped, found again by the hash of all that made them.

ids       int32 [tokens]        every example's tokens, prompt then branches, end to end
learn     bool  [tokens]        which of them are learnt
segments  int64 [segments + 1]  where each prompt and branch begins
examples  int64 [examples + 1]  where each example's segments begin; the first of them is the prompt
origins   int64 [examples, 2]   the file (an index) and the row (from 1) each example comes from
values    float64 [examples, k] the numbers that come with an example: a verdict, a margin, a class
reference float32 [learnt]      log-probabilities of the learnt tokens under the reference, where there is
                                one; not in the data's entry of the cache: they depend on the model too
given     float32 [learnt]      further numbers of the learnt tokens by name, of answers that were sampled;
                                never in the cache
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .layout import Segments

FORMAT = 5
"""Raised whenever encoding changes what it writes, so that no stale cache is read."""


@dataclass(frozen=True)
class Store:
    """A data set of encoded examples. Arrays as in the head of the file."""

    ids: NDArray[np.int32]
    learn: NDArray[np.bool_]
    segments: NDArray[np.int64]
    examples: NDArray[np.int64]
    origins: NDArray[np.int64]
    files: tuple[str, ...] = ()
    """The names that the file indices of ``origins`` stand for."""
    values: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    """Without rows where no example has numbers."""
    reference: NDArray[np.float32] | None = None
    given: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    mismatched: Store | None = None
    """The same prompts in the same order, with answers to other prompts; where the objective asks for it."""
    images: tuple[str, ...] = ()
    """The file of each example, where examples are images; kept in the entry's ``meta``."""

    def __len__(self) -> int:
        return len(self.examples) - 1

    def __getitem__(self, index: int) -> Segments:
        first, last = int(self.examples[index]), int(self.examples[index + 1])
        bounds = self.segments[first : last + 1].tolist()
        spans = list(pairwise(bounds))
        prompt = self.ids[spans[0][0] : spans[0][1]].tolist()
        branches = tuple((self.ids[a:b].tolist(), self.learn[a:b].tolist()) for a, b in spans[1:])
        values = tuple(self.values[index].tolist()) if len(self.values) else ()
        if self.reference is None and not self.given:
            image = self.images[index] if self.images else None
            return Segments(prompt, branches, values, image=image)
        start, end = self.learnt_from[index : index + 2].tolist()
        reference = None if self.reference is None else self.reference[start:end].tolist()
        given = {name: numbers[start:end].tolist() for name, numbers in self.given.items()}
        return Segments(prompt, branches, values, reference, given)

    @cached_property
    def learnt_from(self) -> NDArray[np.int64]:
        """Where each example's learnt tokens begin among all, ``[examples + 1]``."""
        return np.concatenate(([0], np.cumsum(self.num_learnt)))

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each example, ``[examples]``."""
        edges = self.segments[self.examples]
        return np.diff(edges)

    @cached_property
    def num_learnt(self) -> NDArray[np.int64]:
        """Learnt tokens of each example, ``[examples]`` (the first token of a branch without a prompt is not
        one: nothing stands before it).
        """
        running = np.concatenate(([0], np.cumsum(self.learn, dtype=np.int64)))
        counts = np.diff(running[self.segments[self.examples]])
        starts, sizes = self.segments[:-1], np.diff(self.segments)
        prompts = self.examples[:-1]
        example_of = np.repeat(np.arange(len(self)), np.diff(self.examples))
        is_branch = np.ones(len(starts), np.bool_)
        is_branch[prompts] = False
        lonely = np.flatnonzero(is_branch & (sizes > 0) & (sizes[prompts] == 0)[example_of])
        lost = lonely[self.learn[starts[lonely]]]
        learnt: NDArray[np.int64] = counts - np.bincount(example_of[lost], minlength=len(self))
        return learnt

    def where(self, indices: Sequence[int]) -> list[str]:
        """``file:row`` of each of the examples, each once, in order."""
        pairs = sorted({(int(file), int(row)) for file, row in self.origins[list(indices)]})
        return [f"{self.files[file] if file < len(self.files) else ''}:{row}" for file, row in pairs]

    @classmethod
    def build(cls, examples: Iterable[Segments], origins: Sequence[tuple[int, int]] = ()) -> Store:
        """Lays examples into arrays; without ``origins`` they are rows 1, 2, … of file 0."""
        ids: list[NDArray[np.int32]] = []
        learn: list[NDArray[np.bool_]] = []
        lengths: list[int] = []
        counts: list[int] = []
        values: list[Sequence[float]] = []
        images: list[str] = []
        for example in examples:
            values.append(example.values)
            images += [] if example.image is None else [example.image]
            parts = [(example.prompt, [False] * len(example.prompt)), *example.branches]
            for tokens, marks in parts:
                ids.append(np.asarray(tokens, dtype=np.int32))
                learn.append(np.asarray(marks, dtype=np.bool_))
                lengths.append(len(tokens))
            counts.append(len(parts))
        return cls(
            np.concatenate(ids) if ids else np.zeros(0, np.int32),
            np.concatenate(learn) if learn else np.zeros(0, np.bool_),
            np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))).astype(np.int64),
            np.concatenate(([0], np.cumsum(counts, dtype=np.int64))).astype(np.int64),
            np.asarray(origins or [(0, row) for row in range(1, len(counts) + 1)], np.int64).reshape(-1, 2),
            values=_matrix(values),
            images=tuple(images),
        )

    @classmethod
    def join(cls, parts: Sequence[Store]) -> Store:
        """Several stores end to end."""
        if not parts:
            return cls.build(())
        return cls(
            np.concatenate([part.ids for part in parts]),
            np.concatenate([part.learn for part in parts]),
            _bounds([part.segments for part in parts]),
            _bounds([part.examples for part in parts]),
            np.concatenate([part.origins for part in parts]),
            values=np.concatenate([part.values for part in parts if len(part)] or [parts[0].values]),
            images=tuple(image for part in parts for image in part.images),
        )

    def digest(self) -> str:
        """SHA-256 of the content: two runs with equal digests see the same tokens in the same places."""
        sha = hashlib.sha256()
        for array in (self.ids, self.learn, self.segments, self.examples, self.values):
            sha.update(np.ascontiguousarray(array).tobytes())
        return sha.hexdigest()


def _matrix(values: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """``[examples, k]``, or ``[0, 0]`` where no example has numbers."""
    return np.asarray(values, np.float64) if any(values) else np.zeros((0, 0))


def _bounds(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Bounds that each begin at 0, as the bounds of all parts end to end."""
    lengths = [np.diff(part) for part in parts]
    return np.concatenate(([0], np.cumsum(np.concatenate(lengths)))).astype(np.int64)


_ARRAYS = ("ids", "learn", "segments", "examples", "origins", "values")


def key(**parts: Any) -> str:
    """The name of a cache entry: a hash of everything that decides its content."""
    text = json.dumps({"format": FORMAT, **parts}, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def folder(cache_dir: str | None) -> Path:
    """Where entries live: ``cache_dir``, else the user's cache."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "attune"
    return Path(cache_dir) if cache_dir else base


def write(place: Path, stores: dict[str, Store], meta: dict[str, Any]) -> None:
    """Writes an entry atomically: a reader sees all of it or none. A damaged entry is replaced.

    Raises OSError where the disk does not take it.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=place.parent))
    try:
        for name, store in stores.items():
            for array in _ARRAYS:
                np.save(temporary / f"{name}.{array}.npy", getattr(store, array), allow_pickle=False)
        (temporary / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
        if place.exists() and read(place, tuple(stores)) is None:
            shutil.rmtree(place)
        try:
            temporary.rename(place)
        except OSError:
            # Another process has written the same entry meanwhile: it is equal by construction.
            if read(place, tuple(stores)) is None:
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read(place: Path, names: Sequence[str]) -> tuple[dict[str, Store], dict[str, Any]] | None:
    """The entry at ``place``, memory-mapped, or None where there is none (or a damaged one)."""
    try:
        meta = json.loads((place / "meta.json").read_text(encoding="utf-8"))
        stores = {name: _open(place, name) for name in names}
        whole = all(_is_whole(store) for store in stores.values())
    except (OSError, ValueError, EOFError):
        return None
    return (stores, meta) if whole and isinstance(meta, dict) else None


def _open(place: Path, name: str) -> Store:
    ids, learn, segments, examples, origins, values = (
        _map(place / f"{name}.{array}.npy") for array in _ARRAYS
    )
    return Store(ids, learn, segments, examples, origins, values=values)


def _is_whole(store: Store) -> bool:
    """The arrays fit each other."""
    return bool(
        len(store.ids) == len(store.learn) == store.segments[-1:].sum()
        and len(store.segments) - 1 == store.examples[-1:].sum()
        and len(store.origins) == len(store)
        and len(store.values) in (0, len(store))
    )


def _map(path: Path) -> NDArray[Any]:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    assert isinstance(array, np.ndarray)
    return array
