"""Rollouts: the same whoever samples what, laid with their stop token, never with an end that was a cut."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from attune.data.cache import Store
from attune.data.examples import Message, Origin, Prompt
from attune.data.layout import Segments
from attune.engine import rollout
from attune.engine.online import dealt, explained
from attune.engine.rollout import Group, Prompts
from attune.engine.step import Micro
from attune.evaluation.rewards import rewards
from attune.inference.backends.torch import Decoder
from attune.inference.sampling import Sample
from attune.models.policy import Policy
from attune.objectives import grpo
from attune.recipe.errors import DataError
from attune.recipe.schema import Generation

STOPS = frozenset(range(200, 260))
"""Many, so that a random model stops now and then."""


@pytest.fixture(scope="module")
def policy(model_dir: Path) -> Policy:
    return Policy(LlamaForCausalLM.from_pretrained(model_dir).eval())


@pytest.fixture(scope="module")
def prompts() -> Prompts:
    """Five prompts of different lengths."""
    store = Store.build([Segments(list(range(10, 14 + 2 * n)), ()) for n in range(5)])
    whole = Store(store.ids, store.learn, store.segments, store.examples, store.origins, files=("p.jsonl",))
    rows = {
        Origin("p.jsonl", row): Prompt((Message("user", f"question {row}"),), str(row)) for row in range(1, 6)
    }
    return Prompts(whole, rows)


def rolled(policy: Policy, prompts: Prompts, model_dir: Path, asked: Any, seed: int = 3) -> list[Group]:
    return rollout.roll_out(
        Decoder(policy),
        prompts,
        asked,
        Generation(temperature=1.0, max_new_tokens=6, seed=seed),
        3,
        AutoTokenizer.from_pretrained(model_dir),
        STOPS,
        rewards(["length:2"]),
    )


def test_who_samples_what_does_not_matter(policy: Policy, prompts: Prompts, model_dir: Path) -> None:
    """Two processes give the groups of one; another seed gives others."""
    indices = [4, 0, 3, 1]
    shares = [rollout.shared_out(indices, Micro(100, rank, 2)) for rank in (0, 1)]
    assert shares == [[(0, 4), (2, 3)], [(1, 0), (3, 1)]]
    parts = [group for share in shares for group in rolled(policy, prompts, model_dir, share)]
    whole = rolled(policy, prompts, model_dir, list(enumerate(indices)))
    ids = [[sample.ids for sample in group.samples] for group in whole]
    assert ids == [
        [sample.ids for sample in group.samples] for group in sorted(parts, key=lambda group: group.place)
    ]
    other = rolled(policy, prompts, model_dir, list(enumerate(indices)), seed=4)
    assert ids != [[sample.ids for sample in group.samples] for group in other]


def test_what_was_sampled_is_what_is_measured(policy: Policy, prompts: Prompts, model_dir: Path) -> None:
    """The log-probabilities of the sampling and of the packed layout agree, stop tokens included."""
    groups = rolled(policy, prompts, model_dir, list(enumerate(range(5))))
    assert {sample.finished for group in groups for sample in group.samples} == {True, False}
    store, lengths = rollout.laid(groups, prompts, grpo.Config(truncated="keep"), 60)
    found = rollout.measured(policy, store, [range(len(store))], Micro(60), ("entropy",), None)
    sampled = [logp for group in groups for sample in group.samples for logp in sample.logps]
    assert lengths == [len(sample.logps) for group in groups for sample in group.samples]
    np.testing.assert_allclose(found["logps"], sampled, atol=2e-5)
    assert (found["entropy"] > 0).all()


def test_groups_are_laid_with_their_prompt_once_and_masked_where_cut(prompts: Prompts) -> None:
    samples = [
        Sample([5, 6], True, [-1.0, -2.0, -3.0], 201),
        Sample([5, 6, 7], False, [-4.0] * 3),
        Sample([], True, [-5.0], 202),
    ]
    group = Group(0, 2, samples, [], [0.0] * 3, {})
    store, lengths = rollout.laid([group], prompts, grpo.Config(), 100)
    assert lengths == [3, 0, 1]
    assert [list(ids) for ids, _ in store[0].branches] == [[5, 6, 201], [202]]
    assert store[0].prompt == prompts.ids(2)
    assert store.where([0]) == ["p.jsonl:3"]
    assert rollout.sampled([group], grpo.Config()).tolist() == [-1.0, -2.0, -3.0, -5.0]
    kept, lengths = rollout.laid([group], prompts, grpo.Config(truncated="keep"), 100)
    assert lengths == [3, 3, 1]
    assert kept.num_learnt.tolist() == [7]
    whole = rollout.sampled([group], grpo.Config(truncated="keep"))
    assert whole.tolist() == [-1.0, -2.0, -3.0, -4.0, -4.0, -4.0, -5.0]


def test_a_group_larger_than_a_pass_is_cut_between_answers(prompts: Prompts) -> None:
    samples = [Sample([5] * 9, True, [-1.0] * 10, 201) for _ in range(5)]
    group = Group(0, 0, samples, [], [0.0] * 5, {})
    store, lengths = rollout.laid([group], prompts, grpo.Config(), 4 + 25)
    assert [len(store[index].branches) for index in range(len(store))] == [2, 2, 1]
    assert lengths == [10] * 5
    tight, _ = rollout.laid([group], prompts, grpo.Config(), 8)
    assert [len(tight[index].branches) for index in range(len(tight))] == [1] * 5


def test_no_room_for_an_answer_is_said(prompts: Prompts) -> None:
    with pytest.raises(DataError, match=r"^2 prompts and 7 tokens .* window of 16 \(p.jsonl:4, p.jsonl:5\)"):
        rollout.check_room(prompts, 7, 16)
    assert prompts.longest == 12
    rollout.check_room(prompts, 4, 16)
    rollout.check_room(prompts, 1000, None)


def test_minibatches_deal_every_example_once_a_pass() -> None:
    config = grpo.Config(inner_epochs=2, minibatches=3)
    deals = dealt(7, config, 1, 5)
    assert [sorted(chain.from_iterable(deal)) for deal in deals] == [list(range(7))] * 2
    assert [len(part) for part in deals[0]] == [3, 2, 2]
    assert deals == dealt(7, config, 1, 5) != dealt(7, config, 1, 6)
    assert deals[0] != deals[1]
    assert dealt(2, config, 1, 5)[0] in ([[0], [1]], [[1], [0]]), "no empty update"
    assert dealt(3, grpo.Config(), 1, 5) == [[[0, 1, 2]]]


def test_how_much_the_critic_explains() -> None:
    returns = torch.tensor([1.0, 2.0, 3.0])
    assert explained(returns.clone(), returns) == 1.0
    assert explained(torch.zeros(3), returns) == 0.0
    assert explained(torch.zeros(3), torch.ones(3)) == 0.0
