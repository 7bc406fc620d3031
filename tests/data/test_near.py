"""Near duplicates: similarity by hand, the estimate against the truth, what is found against brute force."""

from __future__ import annotations

import random
from itertools import combinations

import numpy as np
import pytest

from attune.data import near
from attune.data.near import (
    BINS,
    Match,
    Neighbours,
    Sample,
    band_size,
    chance,
    jaccard,
    shingles,
    signatures,
)

WORDS = [f"w{number}x" for number in range(400)]


def similarity(one: str, other: str) -> float:
    return jaccard(*shingles([one, other]))


def written(chance: random.Random, length: int = 60) -> str:
    return " ".join(chance.choice(WORDS) for _ in range(length))


def edited(text: str, chance: random.Random, num: int) -> str:
    words = text.split()
    for place in chance.sample(range(len(words)), num):
        words[place] = chance.choice(WORDS)
    return " ".join(words)


def exactly(texts: list[str]):
    found = shingles(texts)
    return lambda row, other: jaccard(found[row], found[other])


def test_similarity_by_hand():
    """{abcde, bcdef} and {abcde, bcdeg} have one of three in common."""
    assert similarity("abcdef", "abcdeg") == pytest.approx(1 / 3)
    assert similarity("abcdef", "abcdef") == 1
    assert similarity("abcdef", "ghijkl") == 0


def test_a_piece_that_stands_twice_counts_once():
    assert similarity("abcdeabcdeabcde", "abcdeabcde") == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Hello, World!", "hello world"),
        ("你好，世界！再见。", "你好世界再见"),
        ("ＡＢＣ１２３", "abc123"),
        ("line one\r\nline two", "Line one line two"),
    ],
)
def test_case_width_spaces_and_punctuation_do_not_count(one: str, other: str):
    assert similarity(one, other) == 1


@pytest.mark.parametrize(
    ("one", "other"), [("12345", "12346"), ("3+4=7", "3×4=7"), ("甲乙丙丁戊", "甲乙丙丁己")]
)
def test_digits_symbols_and_signs_count(one: str, other: str):
    assert similarity(one, other) == 0


def test_a_short_text_is_like_no_other():
    assert [len(found) for found in shingles(["", "abcd", "a.b,c d", "abcde"])] == [0, 0, 0, 1]
    assert similarity("abcd", "abcd") == 0
    assert not signatures(["", "abcd"]).any()
    assert list(Neighbours(signatures(["abcd", "abcd", "", ""])).leaders()) == []
    assert signatures([]).shape == (0, BINS)


def test_the_first_million_characters_stand_for_a_text(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("attune.data.near._LONGEST", 100)
    text = written(random.Random(0))
    assert similarity(text[:100], text) == 1


def test_a_text_has_the_same_shingles_beside_any_other():
    alone = [shingles([text])[0].tolist() for text in ("the first text", "", "第二个文本在这里")]
    assert [found.tolist() for found in shingles(["the first text", "", "第二个文本在这里"])] == alone


def test_signatures_are_the_same_on_every_machine():
    """These were computed when the file was written; a sample that is drawn again must be the same."""
    found = signatures(["The same text gives the same numbers."])[0, :6].tolist()
    assert found == [58466, 12276, 5686, 62872, 6840, 26122]


def test_the_estimate_is_right_on_average_and_within_its_deviation():
    chance = random.Random(0)
    pairs = []
    for length in (15, 60, 400):
        for _ in range(40):
            text = written(chance, length)
            pairs.append((text, edited(text, chance, max(1, length // 25))))
    found = signatures([text for pair in pairs for text in pair])
    errors = [
        float(np.mean(found[2 * place] == found[2 * place + 1])) - similarity(*pair)
        for place, pair in enumerate(pairs)
    ]
    assert abs(np.mean(errors)) < 0.012
    assert np.std(errors) < 0.045
    assert np.max(np.abs(errors)) < 0.16


def test_bands():
    assert [band_size(at) for at in (0.5, 0.7, 0.8, 0.9)] == [3, 5, 7, 11]
    assert chance(0.8, 7) == pytest.approx(1 - (1 - 0.8**7) ** 18)
    assert chance(0.8, 7) == pytest.approx(0.986, abs=5e-4)
    assert chance(0.9, 7) > 0.9999
    assert chance(0.5, 7) == pytest.approx(0.13, abs=5e-3)
    assert band_size(1.0) == BINS


def test_what_is_found_against_brute_force():
    """All pairs compared: nothing is found that is not there, next to nothing is missed."""
    chance = random.Random(1)
    texts = []
    for number in range(100):
        text = written(chance)
        texts += [text, edited(text, chance, number % 6)]
    exact = exactly(texts)
    sets = [set(found.tolist()) for found in shingles(texts)]
    alike = {
        (one, other)
        for one, other in combinations(range(len(texts)), 2)
        if len(sets[one] & sets[other]) >= 0.8 * len(sets[one] | sets[other])
    }
    assert len(alike) > 40
    found = list(Neighbours(signatures(texts), exactly=exact).leaders())
    assert {(match.like, match.row) for match in found} <= alike
    assert len(found) >= 0.95 * len(alike)
    assert all(match.similarity == exact(match.row, match.like) for match in found)


def chain() -> list[str]:
    """Each is like the next, the first is not like the last."""
    words = [f"{number}abcdefg" for number in range(60)]
    return [" ".join(words[start : start + 50]) for start in (0, 5, 10)]


def test_a_chain_keeps_what_is_like_no_one_that_stays():
    texts = chain()
    assert similarity(texts[0], texts[1]) > 0.75
    assert similarity(texts[0], texts[2]) < 0.75
    alike = Neighbours(signatures(texts), 0.75, exactly=exactly(texts))
    assert [match[:2] for match in alike.leaders()] == [(1, 0)]


def test_the_order_decides_who_leads():
    texts = chain()
    alike = Neighbours(signatures(texts), 0.75, exactly=exactly(texts))
    assert [match[:2] for match in alike.leaders([1, 0, 2])] == [(0, 1), (2, 1)]


def test_a_chain_is_one_cluster():
    texts = [*chain(), "something else that is long enough", chain()[2] + " end"]
    assert Neighbours(signatures(texts), 0.75, exactly=exactly(texts)).clusters() == [0, 0, 0, 3, 0]


def test_across_compares_the_two_sides_only():
    text = written(random.Random(2))
    found = Neighbours(signatures([text, text + " a", text + " b", "another text of its own"])).across(2)
    assert sorted(match[:2] for match in found) == [(2, 0), (2, 1)]


def test_other_answers_are_never_alike():
    text = written(random.Random(3))
    texts = [text, text, text, text]
    answers = np.array([7, 8, 0, 7], np.uint64)
    found = [match[:2] for match in Neighbours(signatures(texts), answers=answers).leaders()]
    assert found == [(2, 0), (3, 0)]


def test_a_template_is_nobodys_own():
    """40 texts under one long instruction: alike as a whole, but one pair only in what is their own."""
    chance = random.Random(4)
    instruction = written(chance, 60)
    slots = [written(chance, 5) for _ in range(40)]
    texts = [f"{instruction} {slot}" for slot in [*slots, slots[7]]]
    found = signatures(texts)
    assert len(list(Neighbours(found).leaders())) == 40
    own = list(Neighbours(found, own_only=True).leaders())
    assert own == [Match(40, 7, 1.0)]


def test_a_bucket_of_thousands_is_no_trouble():
    """One template that is not quite alike: each text meets 50 others at most, and a true pair is found."""
    chance = random.Random(5)
    instruction = written(chance, 30)
    texts = [f"{instruction} {written(chance, 12)}" for _ in range(500)]
    texts.append(texts[100] + " end")
    calls = 0

    def counted(row: int, other: int) -> float:
        nonlocal calls
        calls += 1
        return similarity(texts[row], texts[other])

    found = list(Neighbours(signatures(texts), exactly=counted).leaders())
    assert [match[:2] for match in found] == [(500, 100)]
    assert calls < 50 * len(texts)


def test_a_sample_does_not_depend_on_the_order():
    texts = [written(random.Random(number), 10) for number in range(100)]
    keys = [random.Random(-number).getrandbits(64) for number in range(100)]

    def drawn(order: list[int]) -> dict[int, list[int]]:
        sample = Sample(20)
        for number in order:
            if sample.wants(keys[number]):
                sample.add(keys[number], number, texts[number])
        numbers, found = sample.taken()
        assert sample.num_seen == 100
        return dict(zip(numbers.tolist(), found.tolist(), strict=True))

    there, back = drawn(list(range(100))), drawn(list(range(99, -1, -1)))
    assert there == back
    assert sorted(there) == sorted(sorted(range(100), key=keys.__getitem__)[:20])
    assert there == {number: signatures([texts[number]])[0].tolist() for number in there}


def test_a_sample_without_a_limit_holds_all(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("attune.data.near._BATCH", 100)  # several batches
    texts = [written(random.Random(number), 10) for number in range(30)]
    sample, small = Sample(), Sample(7)
    for number, text in enumerate(texts):
        sample.add(number, number, text)
        if small.wants(1000 - number):
            small.add(1000 - number, number, text)
    numbers, found = sample.taken()
    assert numbers.tolist() == list(range(30))
    assert (found == signatures(texts)).all()
    assert small.taken()[0].tolist() == list(range(23, 30))


def test_an_empty_sample():
    numbers, found = Sample(5).taken()
    assert len(numbers) == len(found) == 0
    assert list(Neighbours(found).leaders()) == []
    assert Neighbours(found).clusters() == []


def test_short_texts_are_signed_before_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "_BATCH", 10 * near.BINS)
    sample = near.Sample()
    for number in range(100):
        sample.add(number, number, "ab")
        assert len(sample._texts) < 10, "128 numbers a text are at work while they are signed"
    assert len(sample.taken()[0]) == 100
