"""Near duplicates: texts of which most pieces are the same, found without comparing all with all.

A text is the set of its shingles: the pieces of 5 letters, digits, marks or symbols that stand in it, in
small letters and after NFKC, with spaces and punctuation left out; the same for Chinese and English. Two
texts are as similar as their sets: Jaccard's ``|A ∩ B| / |A ∪ B|``. One changed sign changes up to 5
shingles: a text with one other sign in it is at 0.8 from 49 signs on. A text of fewer than 5 signs has no
shingle and is like no other; of a text of more than a million characters the first million count.

A signature holds ``BINS`` numbers by which the similarity is estimated: shingles are hashed once, the hash
chooses one of 128 bins, and a bin keeps its least hash (one permutation hashing, Li, Owen and Zhang 2012,
https://arxiv.org/abs/1208.1259); an empty bin takes that of another, in a fixed order of its own (optimal
densification, Shrivastava 2017, https://arxiv.org/abs/1703.04664). Each bin of two texts agrees with the
probability of their similarity J, as with 128 permutations, at the price of one. The deviation of the
estimate is sqrt(J (1 - J) / 128): 0.035 at 0.8.

Candidates are texts that agree in all bins of one band (locality-sensitive hashing). ``band_size(0.8)`` is 7:
18 bands find a pair of similarity 0.8 with probability ``1 - (1 - 0.8**7)**18`` = 98.6 %, one of 0.9 with
99.998 %, and bring one of 0.5 to be compared with 13 %.

Why not a library: datasketch hashes each shingle in Python 128 times and brings scipy; this is two pages of
numpy and looks at 52,002 rows of Alpaca in under three seconds.
"""

from __future__ import annotations

import unicodedata
from array import array
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

SHINGLE = 5
"""Signs of a shingle."""
BINS = 128
THRESHOLD = 0.8
_SHIFT = np.uint32(25)
"""The upper 7 bits of a hash are its bin."""
_EMPTY = np.uint32(2**32 - 1)
_RECALL = 0.98
_SLACK = 0.15
"""Four deviations of the estimate: what is that much below the threshold need not be compared exactly."""
_LONGEST = 1_000_000
_BATCH = 1 << 20
"""Characters that are hashed at once; each text counts for its bins too, or short ones would be too many."""
_MOST = 50
"""Texts of one bucket that a text is compared with: in a file of one template all are in one bucket."""
_TEMPLATE_SHARE = 0.1
_TEMPLATE_TEXTS = 20
_PLANES = 0x30000
"""Signs beyond are private or control signs: left out."""

Hashes = npt.NDArray[np.uint32]
Signatures = npt.NDArray[np.uint16]
Exactly = Callable[[int, int], float]
"""The similarity of two texts by their numbers."""


class Match(NamedTuple):
    """Text number ``row`` is like text number ``like``."""

    row: int
    like: int
    similarity: float


def shingles(texts: Sequence[str]) -> list[Hashes]:
    """The hashes of each text's shingles, in the order of the text, repeats and all."""
    if not any(texts):
        return [np.empty(0, np.uint32) for _ in texts]
    joined = [unicodedata.normalize("NFKC", text[:_LONGEST]) for text in texts]
    ends = np.cumsum([len(text) for text in joined])
    codes = np.frombuffer("".join(joined).encode("utf-32-le", "surrogatepass"), np.uint32)
    signs = _alphabet()[np.minimum(codes, _PLANES)]
    kept = signs != 0
    ends = np.concatenate([[0], np.cumsum(kept)])[ends]  # where each text ends among the signs that are kept
    hashes = _mixed(_rolled(signs[kept]))
    starts = [0, *ends[:-1]]
    return [hashes[start : max(start, end - SHINGLE + 1)] for start, end in zip(starts, ends, strict=True)]


def signatures(texts: Sequence[str]) -> Signatures:
    """One row a text, ``[texts, BINS]``; all zero for a text without shingles."""
    return _signatures(shingles(texts))


def jaccard(one: Hashes, other: Hashes) -> float:
    """The similarity of two texts by their shingles; 0 where one has none."""
    if not len(one) or not len(other):
        return 0.0
    one, other = np.unique(one), np.unique(other)
    common = len(np.intersect1d(one, other, assume_unique=True))
    return common / (len(one) + len(other) - common)


def band_size(threshold: float) -> int:
    """The most bins a band may have so that a pair at ``threshold`` is found with 98 %."""
    sizes = range(1, BINS + 1)
    return max(size for size in sizes if chance(threshold, size) >= _RECALL or size == 1)


def chance(similarity: float, size: int) -> float:
    """The probability that two texts become candidates, with bands of ``size`` bins."""
    return float(1 - (1 - similarity**size) ** (BINS // size))


class Neighbours:
    """Finds the texts that are like others, of which one has the signatures.

    ``exactly`` gives the true similarity of two texts where they are still at hand; else the estimate counts.
    ``own_only``: what stands at one place of the signature in more than a tenth of the texts (and in more
    than 20) is a template's; where two texts agree in that, it counts neither for nor against them.
    ``answers``: texts whose numbers differ are never alike, unless one of them is 0.

    A text is compared with the 50 latest that share one of its buckets, so that a file of one template, whose
    texts are all in the same buckets, takes no longer than others.
    """

    def __init__(
        self,
        of: Signatures,
        threshold: float = THRESHOLD,
        *,
        exactly: Exactly | None = None,
        own_only: bool = False,
        answers: npt.NDArray[np.uint64] | None = None,
    ) -> None:
        self._signatures, self._threshold, self._exactly = of, threshold, exactly
        self._is_own = _own(of) if own_only else None
        self._answers = answers
        self._buckets = _buckets(of, band_size(threshold))
        self._latest: dict[int, deque[int]] = defaultdict(lambda: deque(maxlen=_MOST))

    def leaders(self, order: Sequence[int] | None = None) -> Iterator[Match]:
        """Each text that is like a leader, with the leader that it is most like. Leaders are the texts that
        are like no leader before them in ``order`` (that of the signatures): what is left without the others.
        """
        for row in self._shared(order):
            best = max(self._like(row, self._met(row)), key=lambda match: match.similarity, default=None)
            if best is None:
                self._remember(row)
            else:
                yield best

    def across(self, end: int) -> Iterator[Match]:
        """Each text from number ``end`` on with the texts before ``end`` that it is like."""
        for row in self._shared():
            if row < end:
                self._remember(row)
            else:
                yield from self._like(row, self._met(row))

    def clusters(self) -> list[int]:
        """For each text the first one of its cluster: texts that are alike, directly or by others between."""
        parent = list(range(len(self._signatures)))

        def root(row: int) -> int:
            while parent[row] != row:
                parent[row] = row = parent[parent[row]]
            return row

        for row in self._shared():
            for match in self._like(row, {other for other in self._met(row) if root(other) != root(row)}):
                one, other = sorted((root(row), root(match.like)))
                parent[other] = one
            self._remember(row)
        return [root(row) for row in range(len(parent))]

    def _shared(self, order: Sequence[int] | None = None) -> Iterator[int]:
        """The texts that share a bucket."""
        is_shared = np.any(self._buckets >= 0, axis=1).tolist()
        return (row for row in (range(len(is_shared)) if order is None else order) if is_shared[row])

    def _met(self, row: int) -> set[int]:
        return {other for bucket in self._own(row) for other in self._latest[bucket]}

    def _remember(self, row: int) -> None:
        for bucket in self._own(row):
            self._latest[bucket].append(row)

    def _own(self, row: int) -> list[int]:
        return [bucket for bucket in self._buckets[row].tolist() if bucket >= 0]

    def _like(self, row: int, others: Iterable[int]) -> Iterator[Match]:
        near = self._may_be_like(row, np.array(sorted(others), np.intp))
        if not len(near):
            return
        similarity = self._estimates(row, near)
        slack = _SLACK if self._exactly else 0.0
        for place in np.flatnonzero(similarity >= self._threshold - slack).tolist():
            other = int(near[place])
            found = self._exactly(row, other) if self._exactly else float(similarity[place])
            if found >= self._threshold:
                yield Match(row, other, found)

    def _may_be_like(self, row: int, others: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        if self._answers is None or not self._answers[row]:
            return others
        answers = self._answers[others]
        may: npt.NDArray[np.intp] = others[(answers == 0) | (answers == self._answers[row])]
        return may

    def _estimates(self, row: int, others: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        """``[others]``: the share of the bins in which they agree with ``row``."""
        same = self._signatures[others] == self._signatures[[row]]
        counted = np.ones_like(same) if self._is_own is None else ~same | self._is_own[row]
        found: npt.NDArray[np.float64] = (same & counted).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)
        return found


class Sample:
    """The signatures of many texts; beyond ``limit`` of them, of those with the least keys: the same ones in
    whatever order they come. 256 bytes a text are held.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.num_seen = 0
        """How many texts there were to choose from."""
        self._limit = limit
        self._bound = 2**64
        self._keys = array("Q")
        self._numbers = array("Q")
        self._texts: list[str] = []
        self._num_signs = 0
        self._signatures: list[Signatures] = []

    def wants(self, key: int) -> bool:
        """Whether a text of this key (below 2**64, as if drawn at random) may be of the sample; if so ``add``
        it. Asked once a text.
        """
        self.num_seen += 1
        return key <= self._bound

    def add(self, key: int, number: int, text: str) -> None:
        """``number`` is what the text is called afterwards."""
        self._keys.append(key)
        self._numbers.append(number)
        self._texts.append(text)
        self._num_signs += len(text) + BINS
        if self._num_signs >= _BATCH:
            self._sign()

    def taken(self) -> tuple[npt.NDArray[np.intp], Signatures]:
        """The numbers of the texts, in the order in which they came, and their signatures."""
        self._sign()
        self._cut()
        return np.array(self._numbers, np.intp), self._signatures[0]

    def _sign(self) -> None:
        self._signatures.append(signatures(self._texts))
        self._texts, self._num_signs = [], 0
        if self._limit is not None and len(self._keys) > 2 * self._limit:
            self._cut()

    def _cut(self) -> None:
        found = np.concatenate(self._signatures)
        if self._limit is not None and len(self._keys) > self._limit:
            keys = np.array(self._keys, np.uint64)
            kept = np.sort(np.argsort(keys, kind="stable")[: self._limit])
            self._bound = int(keys[kept].max())
            self._keys = array("Q", keys[kept].tolist())
            self._numbers = array("Q", np.array(self._numbers, np.uint64)[kept].tolist())
            found = found[kept]
        self._signatures = [found]


def _buckets(of: Signatures, size: int) -> npt.NDArray[np.int32]:
    """``[texts, bands]``: the number of the bucket, which no other band shares; -1 where a text is alone."""
    bands = []
    begin = 0
    for band in range(BINS // size):
        keys = np.zeros(len(of), np.uint64)
        for values in of[:, band * size : (band + 1) * size].T:
            keys = (keys ^ values) * np.uint64(0x9E3779B97F4A7C15)
            keys ^= keys >> np.uint64(29)
        _, bucket, count = np.unique(keys, return_inverse=True, return_counts=True)
        is_shared = (count[bucket] > 1) & (of[:, 0] != 0)
        bands.append(np.where(is_shared, bucket + begin, -1).astype(np.int32))
        begin += len(count)
    return np.stack(bands, axis=1)


def _own(of: Signatures) -> npt.NDArray[np.bool_]:
    """``[texts, BINS]``: whether what stands there is the text's own, not a template's."""
    most = max(_TEMPLATE_TEXTS, _TEMPLATE_SHARE * len(of))
    own = np.empty(of.shape, bool)
    for place, values in enumerate(of.T):
        own[:, place] = np.bincount(values, minlength=2**16)[values] <= most
    return own


def _signatures(found: Sequence[Hashes]) -> Signatures:
    rows = np.repeat(np.arange(len(found), dtype=np.int64) * BINS, [len(hashes) for hashes in found])
    hashes = np.concatenate([*found, np.empty(0, np.uint32)])
    least = np.full(len(found) * BINS, _EMPTY)
    np.minimum.at(least, rows + (hashes >> _SHIFT), hashes)
    dense = _densified(least.reshape(-1, BINS))
    # 16 bits tell hashes apart well enough: the lower ones, for those above are often zero in a least hash.
    low = np.maximum(dense & np.uint32(0xFFFF), 1)
    return np.where(dense == _EMPTY, 0, low).astype(np.uint16)


def _densified(least: Hashes) -> Hashes:
    """Each empty bin takes what the first filled bin in its own order of the others holds."""
    dense = least.copy()
    rows, bins = np.nonzero((least == _EMPTY) & (least != _EMPTY).any(axis=1, keepdims=True))
    for sources in _orders():
        if not len(rows):
            break
        taken = least[rows, sources[bins]]
        dense[rows, bins] = taken
        still = taken == _EMPTY
        rows, bins = rows[still], bins[still]
    return dense


@cache
def _orders() -> npt.NDArray[np.intp]:
    """``[BINS, BINS]``: column j is the order in which bin j asks the bins."""
    return np.argsort(np.random.RandomState(0).random_sample((BINS, BINS)), axis=0)


@cache
def _alphabet() -> Hashes:
    """What each code point counts as: 0 for what is left out, else a random number for its small letter."""
    signs = np.zeros(_PLANES + 1, np.uint32)
    for code in range(_PLANES):
        sign = chr(code)
        if unicodedata.category(sign)[0] in "LNMS":
            signs[code] = ord(sign.lower()[0])
    return np.where(signs, _mixed(signs) | np.uint32(1), np.uint32(0))


def _rolled(signs: Hashes) -> Hashes:
    """A number for each run of ``SHINGLE`` signs: a polynomial in an odd constant, modulo 2**32."""
    length = max(0, len(signs) - SHINGLE + 1)
    value = np.zeros(length, np.uint32)
    for place in range(SHINGLE):
        value *= np.uint32(0x9E3779B1)
        value += signs[place : place + length]
    return value


def _mixed(value: Hashes) -> Hashes:
    """Every bit depends on every other (the finalizer of MurmurHash3)."""
    value = value ^ (value >> np.uint32(16))
    value = value * np.uint32(0x85EBCA6B)
    value ^= value >> np.uint32(13)
    value *= np.uint32(0xC2B2AE35)
    value ^= value >> np.uint32(16)
    return value
