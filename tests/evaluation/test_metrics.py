"""Scores by hand, Chinese and other scripts, and intervals that cover what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from attune.evaluation.metrics import (
    Interval,
    bootstrap,
    exact_match,
    normalise,
    paired_bootstrap,
    rouge_l,
    words,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Hello\n\tWorld ", "hello world"),
        ("ＡＢＣ！１２", "abc!12"),
        ("Straße", "strasse"),
        ("营业\u3000时间", "营业 时间"),
        ("ﬁn\u00a0x", "fin x"),
        ("", ""),
    ],
)
def test_normalise(text: str, expected: str) -> None:
    assert normalise(text) == expected
    assert normalise(normalise(text)) == expected


def test_exact_match_ignores_width_case_and_whitespace_but_not_punctuation() -> None:
    assert exact_match(" Yes ", ["no", "yes"]) == 1.0
    assert exact_match("（好）", ["(好)"]) == 1.0
    assert exact_match("Yes.", ["yes"]) == 0.0
    assert exact_match("好", []) == 0.0
    with pytest.raises(AssertionError, match="list of texts"):
        exact_match("y", "yes")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The cat's 2 hats.", ["the", "cat", "s", "2", "hats"]),
        ("周一至周五10点营业", ["周", "一", "至", "周", "五", "10", "点", "营", "业"]),
        ("用GPT-4吗？", ["用", "gpt", "4", "吗"]),
        ("カタカナとひらがな", list("カタカナとひらがな")),
        ("이름은", ["이", "름", "은"]),
        ("𠮷野家", ["𠮷", "野", "家"]),
        ("naïve cafe\u0301", ["naïve", "café"]),
        ("привет, мир", ["привет", "мир"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("…！ \u0301 🙂", []),
    ],
)
def test_words_of_many_scripts(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_rouge_l_by_hand() -> None:
    # police [the] gunman: subsequence "police the gunman" has 3 of 4 words on both sides
    assert rouge_l("police kill the gunman", "police killed the gunman") == pytest.approx(3 / 4)
    # 5 characters predicted, 7 in the reference, 我 爱 北 京 in common: P = 4/5, R = 4/7
    expected = 2 * (4 / 5) * (4 / 7) / (4 / 5 + 4 / 7)
    assert rouge_l("我爱北京城", "我很爱首北京都") == pytest.approx(expected)
    assert rouge_l("完全一样。", "完全一样！") == 1.0  # punctuation is no word
    assert rouge_l("", "字") == 0.0
    assert rouge_l("字", "") == 0.0
    assert rouge_l("……", "？") == 0.0
    assert rouge_l("👍", "👍") == 1.0


def test_rouge_l_is_the_library_where_the_library_can_read() -> None:
    from rouge_score.rouge_scorer import RougeScorer

    theirs = RougeScorer(["rougeL"])
    pairs = [
        ("The quick brown fox jumps", "the quick brown dog jumps on the log."),
        ("a b c d e f", "f e d c b a"),
        ("we are open 10-22, Monday to Friday", "Open Monday to Friday, 10-22."),
    ]
    for prediction, reference in pairs:
        expected = theirs.score(reference, prediction)["rougeL"].fmeasure
        assert rouge_l(prediction, reference) == pytest.approx(expected)
    assert theirs.score("完全一样", "完全一样")["rougeL"].fmeasure == 0.0  # why its own tokenizer is not used


def test_bootstrap_by_hand_on_two_values() -> None:
    # resamples of {0, 1}: means 0, 1/2, 1 with shares 1/4, 1/2, 1/4
    assert bootstrap([0.0, 1.0]) == Interval(0.5, 0.0, 1.0, 2)
    inner = bootstrap([0.0, 1.0], level=0.4)
    assert (inner.low, inner.high) == (0.5, 0.5)


def test_bootstrap_agrees_with_the_normal_interval() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, 400)
    found = bootstrap(values, num_resamples=4000)
    half = 1.96 * values.std() / math.sqrt(400)
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.02)
    assert found.high == pytest.approx(values.mean() + half, abs=0.02)


def test_bootstrap_is_repeatable_and_has_zero_width_where_all_rows_agree() -> None:
    values = np.random.default_rng(0).random(30)
    assert bootstrap(values, seed=3) == bootstrap(values, seed=3)
    assert bootstrap(values, seed=3) != bootstrap(values, seed=4)
    assert bootstrap([1.0] * 9) == Interval(1.0, 1.0, 1.0, 9)
    with pytest.raises(AssertionError, match="at least one row"):
        bootstrap([])


def test_many_rows_are_resampled_in_pieces_with_the_same_meaning() -> None:
    values = np.random.default_rng(0).random(100_000)
    found = bootstrap(values, num_resamples=100)
    assert found.mean == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / math.sqrt(100_000), rel=0.4)


def test_weights_make_the_mean_a_token() -> None:
    found = bootstrap([1.0, 4.0], weights=[3, 1])
    assert found.mean == pytest.approx((3 * 1 + 1 * 4) / 4)
    assert (found.low, found.high) == (1.0, 4.0)
    perplexity = bootstrap([1.0, 4.0], weights=[3, 1], transform=np.exp)
    assert perplexity.mean == pytest.approx(math.exp(7 / 4))
    assert [perplexity.low, perplexity.high] == pytest.approx([math.e, math.exp(4)])


def test_paired_difference_is_of_the_same_rows() -> None:
    hard = np.random.default_rng(2).normal(0, 10, 50)
    found = paired_bootstrap(hard + 1, hard)
    assert found.mean == pytest.approx(1.0)
    assert found.high - found.low == pytest.approx(0.0, abs=1e-9)
    apart = bootstrap(hard + 1)
    assert apart.high - apart.low > 3


def test_paired_by_hand_with_transform() -> None:
    found = paired_bootstrap([1.0, 1.0], [0.0, 0.0], weights=[1, 5], transform=np.exp)
    assert found.mean == pytest.approx(math.e - 1)
    assert found.low == pytest.approx(math.e - 1)


@pytest.mark.parametrize("draw", ["normal", "bernoulli"])
def test_the_interval_covers_the_truth_as_often_as_it_says(draw: str) -> None:
    random = np.random.default_rng(7)
    hits = 0
    for trial in range(400):
        if draw == "normal":
            values, truth = random.normal(1.0, 2.0, 60), 1.0
        else:
            values, truth = (random.random(60) < 0.3).astype(float), 0.3
        found = bootstrap(values, num_resamples=400, seed=trial)
        hits += found.low <= truth <= found.high
    assert 0.90 <= hits / 400 <= 0.98  # 0.95 less the known small-sample shortfall, and noise of 0.011
