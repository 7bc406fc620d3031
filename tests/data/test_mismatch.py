"""Answers of other prompts: each used once, never one's own, cut where they do not fit, seeded."""

from __future__ import annotations

import pytest

from attune.data.cache import Store
from attune.data.layout import Segments
from attune.data.mismatch import mismatched, other_prompts, prompt_keys
from attune.recipe.errors import DataError


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("prompts", [[1, 2], [1, 1, 2, 2], [1, 2, 1, 3, 4, 1], list(range(9))])
def test_every_answer_goes_to_another_prompt(prompts: list[int], seed: int) -> None:
    partners = other_prompts([bytes([prompt]) for prompt in prompts], seed).tolist()
    assert sorted(partners) == list(range(len(prompts)))
    assert all(prompts[place] != prompts[partner] for place, partner in enumerate(partners))


def test_the_seed_decides() -> None:
    prompts = [bytes([number]) for number in range(20)]
    drawn = [other_prompts(prompts, seed).tolist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_answers_are_cut_to_the_window_and_rows_keep_their_place() -> None:
    long = (([5, 6, 7, 8], [True] * 4),)
    store = Store.build([Segments([1, 2, 3], long), Segments([4], long)], [(0, 7), (0, 9)])
    crossed = mismatched(store, seed=0, max_length=5)
    assert [list(crossed[0].branches[0][0]), list(crossed[1].branches[0][0])] == [[5, 6], [5, 6, 7, 8]]
    assert crossed[0].prompt == [1, 2, 3]
    assert crossed.origins.tolist() == [[0, 7], [0, 9]]


def test_a_single_prompt_is_refused() -> None:
    with pytest.raises(DataError, match=r"All 3 examples have the same prompt.*objective\.loss=apo_zero"):
        other_prompts([b"1"] * 3, 0)


def test_equal_prompts_have_equal_keys() -> None:
    answer = (([5], [True]),)
    store = Store.build([Segments([1, 2], answer), Segments([1], answer), Segments([1, 2], answer)])
    first, second, third = prompt_keys(store)
    assert first == third != second
    assert prompt_keys(Store.build(())) == []
