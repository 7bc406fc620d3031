"""How an answer is scored, and how sure one can be of a mean: pure functions of texts and numbers.

Shapes: ``n`` rows, ``r`` resamples.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1100, 0x11FF),  # Hangul letters
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x2FFF),  # CJK radicals
    (0x3005, 0x3007),  # 々〆〇
    (0x3021, 0x312F),  # numerals, kana, bopomofo
    (0x3130, 0x31FF),  # Hangul letters, kana extensions
    (0x3400, 0x4DBF),  # Han, extension A
    (0x4E00, 0x9FFF),  # Han
    (0xAC00, 0xD7AF),  # Hangul syllables
    (0xF900, 0xFAFF),  # Han, compatibility
    (0x20000, 0x3FFFF),  # Han, further extensions
)
"""A character is a token here: words have no spaces between them (in Hangul, particles are glued to them)."""


def normalise(text: str) -> str:
    """What counts as the same text: Unicode NFKC (full-width Ａ！ equals A!), case folded, and every run of
    whitespace one space, none at the ends. Punctuation counts.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split())


def exact_match(prediction: str, references: Sequence[str]) -> float:
    """1.0 if the prediction equals one of the references after ``normalise``, else 0.0."""
    assert not isinstance(references, str), "references is a list of texts"
    wanted = normalise(prediction)
    return float(any(normalise(reference) == wanted for reference in references))


def words(text: str) -> list[str]:
    """The tokens of ROUGE: a character where the script has no spaces (Chinese, Japanese, Korean, Thai …),
    else a run of letters and digits. Normalised as by ``normalise``; punctuation and symbols are no tokens.
    """
    tokens: list[str] = []
    before = "gap"
    for char in normalise(text):
        kind = unicodedata.category(char)[0]
        if kind == "M" and before != "gap":  # an accent or vowel sign belongs to what it stands on
            tokens[-1] += char
        elif kind not in "LN":
            before = "gap"
        elif _is_unspaced(ord(char)):
            tokens.append(char)
            before = "character"
        elif before == "word":
            tokens[-1] += char
        else:
            tokens.append(char)
            before = "word"
    return tokens


def _is_unspaced(code: int) -> bool:
    return code >= _UNSPACED[0][0] and any(first <= code <= last for first, last in _UNSPACED)


class _Words:
    """The shape in which rouge-score takes a tokenizer (its own drops every letter outside a-z)."""

    def tokenize(self, text: str) -> list[str]:
        return words(text)


@lru_cache(maxsize=1)
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], tokenizer=_Words())


def rouge_l(prediction: str, reference: str) -> float:
    """ROUGE-L F1 in 0..1: the longest common subsequence of ``words``, against the lengths of both.

    Texts without any word (only punctuation, or empty) score 1 if they are the same text, else 0.
    """
    if not words(reference):
        return exact_match(prediction, [reference])
    return float(_rouge().score(reference, prediction)["rougeL"].fmeasure)


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over ``n`` rows and where it may lie: ``low`` and ``high`` of the asked level."""

    mean: float
    low: float
    high: float
    n: int

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def _same(values: Floats) -> Floats:
    return values


def bootstrap(
    values: ArrayLike,
    num_resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    *,
    weights: ArrayLike | None = None,
    transform: Callable[[Floats], Floats] = _same,
) -> Interval:
    """The mean of ``values`` ``[n]`` with its percentile bootstrap interval; rows are what is resampled.

    ``weights`` ``[n]`` make it a weighted mean (the loss a token, where rows differ in their tokens);
    ``transform`` maps the mean and every resampled mean (``np.exp`` makes a perplexity of a loss).
    Values that are all equal give an interval of zero width, whatever ``n``.
    """
    return _interval(
        _columns([values], weights), lambda means: transform(means[0]), num_resamples, seed, level
    )


def paired_bootstrap(
    a: ArrayLike,
    b: ArrayLike,
    num_resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    *,
    weights: ArrayLike | None = None,
    transform: Callable[[Floats], Floats] = _same,
) -> Interval:
    """The difference ``a - b`` of two means over the same rows ``[n]``: each resample takes the same rows of
    both, so that what is hard for both does not widen the interval. Arguments as in ``bootstrap``.
    """
    columns = _columns([a, b], weights)

    def difference(means: Floats) -> Floats:
        return transform(means[0]) - transform(means[1])

    return _interval(columns, difference, num_resamples, seed, level)


def _columns(values: Sequence[ArrayLike], weights: ArrayLike | None) -> Floats:
    """``[k + 1, n]``: each column of values times its weight, and last the weights."""
    table = np.asarray(values, dtype=np.float64)
    assert table.ndim == 2, f"one value a row; got shape {table.shape}"
    assert table.shape[1] > 0, "a mean needs at least one row"
    weight = np.ones(table.shape[1]) if weights is None else np.asarray(weights, dtype=np.float64)
    return np.concatenate([table * weight, weight[None]])


def _interval(
    columns: Floats, statistic: Callable[[Floats], Floats], num_resamples: int, seed: int, level: float
) -> Interval:
    """``statistic`` maps weighted means ``[k, r]`` to ``[r]``."""
    n = columns.shape[1]
    sums = np.concatenate(list(_resampled_sums(columns, num_resamples, seed)), axis=1)
    resampled = statistic(sums[:-1] / sums[-1])
    total = columns.sum(axis=1, keepdims=True)
    (point,) = statistic(total[:-1] / total[-1])
    tail = (1 - level) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Interval(float(point), float(low), float(high), n)


def _resampled_sums(columns: Floats, num_resamples: int, seed: int) -> Iterator[Floats]:
    """``[k, r']`` at a time, so that 50,000 rows do not need 2,000 x 50,000 indices at once."""
    random = np.random.default_rng(seed)
    n = columns.shape[1]
    at_once = max(1, 2**21 // n)
    for start in range(0, num_resamples, at_once):
        rows = random.integers(n, size=(min(at_once, num_resamples - start), n))
        yield columns[:, rows].sum(axis=2)
