"""Means, differences and verdicts from the scores of rows, by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from attune.evaluation import compare


def test_losses_of_different_tokens_are_not_subtracted() -> None:
    a = [{"nll": 2.0, "num_tokens": 2, "rouge_l": 1.0}, {"nll": 3.0, "num_tokens": 1, "rouge_l": 0.0}]
    b = [{"nll": 2.0, "num_tokens": 4, "rouge_l": 0.0}, {"nll": 3.0, "num_tokens": 1, "rouge_l": 0.0}]
    assert set(compare.differences(a, b)) == {"rouge_l"}
    assert set(compare.differences(a, a)) == {"loss", "perplexity", "rouge_l"}


def test_table_marks_what_is_sure() -> None:
    evaluation: dict[str, Any] = {
        "models": [
            {"name": "r", "scores": {"exact_match": {"mean": 0.75, "low": 0.5, "high": 1.0, "n": 9}}},
            {"name": "base", "scores": {"exact_match": {"mean": 0.25, "low": 0.0, "high": 0.5, "n": 9}}},
        ],
        "differences": {"exact_match": {"mean": 0.5, "low": 0.125, "high": 0.75, "n": 9}},
    }
    assert compare.table(evaluation) == (
        ["metric", "r", "base", "difference"],
        [["exact match", "75.0% [50.0%, 100.0%]", "25.0% [0.0%, 50.0%]", "+50.0% [+12.5%, +75.0%] *"]],
    )
    alone = {"models": evaluation["models"][:1], "differences": None}
    assert compare.table(alone) == (["metric", "r"], [["exact match", "75.0% [50.0%, 100.0%]"]])


def test_means_by_hand() -> None:
    rows: list[dict[str, float | None]] = [
        {"nll": 6.0, "num_tokens": 3, "exact_match": 1.0},
        {"nll": 4.0, "num_tokens": 1, "exact_match": 0.0},
        {"nll": None, "num_tokens": 0, "exact_match": 0.0},
    ]
    found = compare.intervals(rows)
    assert set(found) == {"loss", "perplexity", "exact_match"}
    assert found["loss"].mean == 10 / 4, "nats a token, not a mean of means"
    assert found["loss"].n == 2, "a row without tokens has no loss"
    assert found["perplexity"].mean == pytest.approx(math.exp(10 / 4))
    assert found["exact_match"].mean == pytest.approx(1 / 3)
    assert found["exact_match"].n == 3


def test_paired_is_narrower_than_apart() -> None:
    a: list[dict[str, float | None]] = [
        {"num_tokens": 0, "rouge_l": place / 20 + 0.02} for place in range(20)
    ]
    b: list[dict[str, float | None]] = [{"num_tokens": 0, "rouge_l": place / 20} for place in range(20)]
    gap, apart = compare.differences(a, b)["rouge_l"], compare.intervals(a)["rouge_l"]
    assert gap.mean == pytest.approx(0.02)
    assert gap.high - gap.low < 1e-9 < apart.high - apart.low


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("loss", 1.23456, "+1.235"),
        ("perplexity", 1234.5, "+1,234.50"),
        ("perplexity", 3e9, "+3e+09"),
        ("cut", 0.5, "+50.0%"),
    ],
)
def test_number(name: str, value: float, text: str) -> None:
    (metric,) = (one for one in compare.METRICS if one.name == name)
    assert compare.number(metric, value, sign=True) == text
    assert compare.number(metric, value) == text[1:]


@pytest.mark.parametrize(
    ("metric", "gap", "expected"),
    [
        ("loss", {"mean": -1.0, "low": -2.0, "high": -0.5}, "better"),
        ("loss", {"mean": 1.0, "low": 0.5, "high": 2.0}, "worse"),
        ("rouge_l", {"mean": 1.0, "low": 0.5, "high": 2.0}, "better"),
        ("rouge_l", {"mean": 1.0, "low": -0.5, "high": 2.0}, None),
        ("length", {"mean": 1.0, "low": 0.5, "high": 2.0}, None),
    ],
)
def test_verdict(metric: str, gap: dict[str, float], expected: str | None) -> None:
    (known,) = (one for one in compare.METRICS if one.name == metric)
    assert compare.verdict(known, gap) == expected
