"""The held-out split: by prompt, by hash, bounded."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from attune.data.examples import Conversation, Example, Message, Text, prompt_key
from attune.data.split import split, split_keys, split_strata


def asked(prompt: str, answer: str = "yes", system: str | None = None) -> Conversation:
    first = [Message("system", system)] if system else []
    return Conversation((*first, Message("user", prompt), Message("assistant", answer)))


MANY: list[Example] = [asked(f"question {number}") for number in range(400)]


def held_prompts(examples: list[Example], share: float, seed: int = 7, limit: int = 500) -> set[str]:
    return {prompt_key(examples[index]) for index in split(examples, share, seed, limit)[1]}


def test_every_row_is_on_exactly_one_side_in_order():
    train, held = split(MANY, 0.25, seed=1)
    assert sorted([*train, *held]) == list(range(400))
    assert train == sorted(train)
    assert held == sorted(held)
    assert 70 <= len(held) <= 130  # 100 expected; a seeded draw


def test_one_prompt_with_many_answers_is_on_one_side():
    examples: list[Example] = [asked(f"q{number % 40}", f"answer {number}") for number in range(400)]
    train, held = split(examples, 0.3, seed=3)
    assert held
    assert not {prompt_key(examples[i]) for i in train} & {prompt_key(examples[i]) for i in held}


def test_the_system_message_does_not_make_another_prompt():
    examples: list[Example] = [
        asked(f"q{number // 2}", system=f"persona {number % 2}") for number in range(100)
    ]
    held = split(examples, 0.5, seed=0)[1]
    assert all(index + 1 in held for index in held if index % 2 == 0)


@settings(max_examples=50, deadline=None)
@given(st.permutations(range(120)), st.integers(0, 5))
def test_the_side_of_a_prompt_does_not_depend_on_what_else_is_in_the_file(order, seed):
    """Beyond the three bounds, the side is a function of (seed, share, prompt)."""
    some = [MANY[index] for index in order[:80]]
    among_all = held_prompts(MANY, 0.3, seed)
    among_some = held_prompts(some, 0.3, seed)
    assert among_some == among_all & {prompt_key(example) for example in some}


def test_another_seed_holds_out_others():
    assert held_prompts(MANY, 0.2, seed=1) != held_prompts(MANY, 0.2, seed=2)


def test_the_place_of_a_prompt_is_the_same_in_every_version():
    """These five were drawn when the split was first written; a run that is resumed must draw them again."""
    assert split(MANY, 0.02, seed=42)[1] == [14, 100, 308, 393, 395]


def test_a_larger_share_holds_out_the_same_and_more():
    assert held_prompts(MANY, 0.1) < held_prompts(MANY, 0.2)


def test_at_most_limit_rows():
    assert len(split(MANY, 0.5, seed=0, limit=30)[1]) == 30
    assert held_prompts(MANY, 0.5, limit=30) < held_prompts(MANY, 0.5)


def test_one_prompt_with_a_third_of_the_rows_stays_in_training():
    """Else a share of 5% could take a third of the data away."""
    often: list[Example] = [asked("What is up?", f"answer {number}") for number in range(200)]
    for seed in range(40):
        held = held_prompts([*MANY, *often], 0.05, seed)
        assert prompt_key(often[0]) not in held
        assert len(split([*MANY, *often], 0.05, seed)[1]) <= 60


def test_at_least_one_of_twenty_prompts_and_no_more():
    for seed in range(20):
        train, held = split(MANY[:20], 1e-9, seed)
        assert (len(train), len(held)) == (19, 1)
    assert split(MANY[:19], 1e-9, seed=0)[1] == []


def test_never_everything():
    assert split(MANY[:1], 0.99, seed=0) == ([0], [])
    assert split([], 0.5, seed=0) == ([], [])
    for seed in range(20):
        assert len(split(MANY[:3], 0.999, seed)[0]) >= 1


def test_share_zero_holds_nothing_out():
    assert split(MANY, 0.0, seed=0) == (list(range(400)), [])


def test_texts_are_their_own_prompt():
    twice: list[Example] = [Text(f"document {number // 2}") for number in range(100)]
    train, held = split(twice, 0.3, seed=5)
    assert held
    assert {index // 2 for index in train}.isdisjoint({index // 2 for index in held})


def test_split_keys_is_the_same_rule_without_the_limit():
    keys = [prompt_key(example) for example in MANY]
    assert split_keys(keys, 0.1, 42) == split(MANY, 0.1, 42)
    many = [f"question {number}" for number in range(6000)]
    assert len(split_keys(many, 0.2, 42)[1]) > 1000
    assert len(split_keys(many, 0.2, 42, limit=500)[1]) == 500


def test_strata_are_held_out_alike():
    """Of 90, 9 and 2 rows a tenth: 9, 1 (0.9 rounded) and 1 (at least one of two); of a single one none."""
    strata = ["often"] * 90 + ["seldom"] * 9 + ["pair"] * 2 + ["once"]
    keys = [f"text {number}" for number in range(len(strata))]
    train, held = split_strata(keys, strata, 0.1, seed=42)
    assert Counter(strata[index] for index in held) == {"often": 9, "seldom": 1, "pair": 1}
    assert sorted([*train, *held]) == list(range(len(strata)))
    assert split_strata(keys, strata, 0.0, seed=42) == (list(range(len(strata))), [])
    assert split_strata(keys, strata, 0.1, seed=43)[1] != held


def test_a_group_of_a_stratum_stays_together():
    keys = [f"text {number // 4}" for number in range(80)]
    _, held = split_strata(keys, ["a"] * 80, 0.25, seed=1)
    assert len(held) == 20
    assert all(Counter(keys[index] for index in held)[keys[index]] == 4 for index in held)
