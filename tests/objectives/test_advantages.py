"""Advantages by hand: on a few numbers each."""

from __future__ import annotations

import math

import pytest
import torch

from attune.objectives import advantages

REWARDS = torch.tensor([1.0, 2.0, 6.0, 5.0, 5.0])
SIZES = (3, 2)


def test_group_normalised() -> None:
    """Mean 3, deviations -2, -1, 3, variance 14 / 2; the second group is all alike."""
    got = advantages.group_normalised(REWARDS, SIZES)
    std = math.sqrt(7.0) + advantages.EPSILON
    torch.testing.assert_close(got, torch.tensor([-2 / std, -1 / std, 3 / std, 0.0, 0.0]))
    plain = advantages.group_normalised(REWARDS, SIZES, by_deviation=False)
    torch.testing.assert_close(plain, torch.tensor([-2.0, -1.0, 3.0, 0.0, 0.0]))
    assert advantages.group_normalised(torch.tensor([7.0]), (1,)).tolist() == [0.0]


def test_equal_rewards_give_exactly_nothing() -> None:
    """Seven times 0.1 has a mean that is not 0.1."""
    same = torch.full((7,), 0.1)
    assert advantages.group_normalised(same, (7,)).tolist() == [0.0] * 7
    assert advantages.leave_one_out(same, (7,)).tolist() == [0.0] * 7


def test_leave_one_out() -> None:
    """1 - (2 + 6) / 2, 2 - (1 + 6) / 2, 6 - (1 + 2) / 2."""
    got = advantages.leave_one_out(REWARDS, SIZES)
    torch.testing.assert_close(got, torch.tensor([-3.0, -1.5, 4.5, 0.0, 0.0]))
    assert advantages.leave_one_out(torch.tensor([7.0]), (1,)).tolist() == [7.0]


def test_gae() -> None:
    """Backwards, gamma 0.5, lambda 0.5: delta_2 = 4 - 1, delta_1 = 2 + 0.5 - 2, delta_0 = 1 + 1 - 3."""
    rewards, values = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([3.0, 2.0, 1.0])
    expected = torch.tensor([-1 + 0.25 * (0.5 + 0.25 * 3), 0.5 + 0.25 * 3, 3.0])
    torch.testing.assert_close(advantages.gae(rewards, values, (3,), 0.5, 0.5), expected)


def test_gae_ends_with_each_answer_and_its_limits_are_known() -> None:
    rewards, values = torch.tensor([1.0, 2.0, 4.0, 3.0]), torch.tensor([3.0, 2.0, 1.0, 5.0])
    lengths = (2, 0, 2)
    whole = advantages.gae(rewards, values, lengths, 1.0, 1.0)
    torch.testing.assert_close(whole, advantages.returns(rewards, lengths, 1.0) - values)
    one_step = advantages.gae(rewards, values, lengths, 1.0, 0.0)
    torch.testing.assert_close(one_step, torch.tensor([1 + 2 - 3, 2 - 2, 4 + 5 - 1, 3 - 5.0]))


def test_returns() -> None:
    got = advantages.returns(torch.tensor([1.0, 2.0, 4.0, 3.0]), (3, 1), 0.5)
    assert got.tolist() == [1 + 0.5 * (2 + 0.5 * 4), 2 + 0.5 * 4, 4.0, 3.0]


def test_whiten() -> None:
    got = advantages.whiten(torch.tensor([1.0, 3.0]))
    torch.testing.assert_close(got, torch.tensor([-1.0, 1.0]) / math.sqrt(2))
    assert advantages.whiten(torch.tensor([5.0])).tolist() == [0.0]


def test_numbers_of_answers_at_their_tokens() -> None:
    values, lengths = torch.tensor([1.0, 2.0, 3.0]), (2, 0, 1)
    assert advantages.spread(values, lengths).tolist() == [1.0, 1.0, 3.0]
    assert advantages.at_the_end(values, lengths).tolist() == [0.0, 1.0, 3.0]
    assert advantages.per_answer(torch.tensor([1.0, 2.0, 4.0]), lengths).tolist() == [3.0, 0.0, 4.0]


def test_sampling_weights() -> None:
    """Ratios 1.5, 1 and 4, of which the last is cut; of answers 1.5 and 4."""
    logps = torch.tensor([1.5, 1.0, 4.0]).log()
    got = [
        advantages.sampling_weights(logps, torch.zeros(3), (2, 0, 1), of_answers=whole)
        for whole in (False, True)
    ]
    torch.testing.assert_close(got[0], torch.tensor([1.5, 1.0, 2.0]))
    torch.testing.assert_close(got[1], torch.tensor([1.5, 1.5, 2.0]))
    assert advantages.sampling_weights(logps[:0], logps[:0], (0,), of_answers=True).tolist() == []


@pytest.mark.parametrize("function", [advantages.group_normalised, advantages.leave_one_out])
def test_groups_do_not_see_each_other(function: object) -> None:
    assert callable(function)
    both = function(REWARDS, SIZES)
    other = function(torch.cat([REWARDS[:3], torch.tensor([9.0, -4.0])]), SIZES)
    assert torch.equal(both[:3], other[:3])
