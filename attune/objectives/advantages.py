"""How much better an answer, or a token of it, was than expected: pure functions of rewards and values.

Legend: ``b`` answers, ``n`` tokens of all answers, end to end. ``sizes`` are the answers to each prompt (a
group), ``lengths`` the tokens of each answer; they sum to b and n.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

EPSILON = 1e-4
"""Added to the standard deviation of a group, as TRL has it."""

MOST = 2.0
"""What a sampling weight is cut at: a few answers must not decide a step."""


def group_normalised(rewards_b: Tensor, sizes: Sequence[int], *, by_deviation: bool = True) -> Tensor:
    """Each reward less the mean of its group, over the group's standard deviation; ``[b]``.

        A_i = (r_i - mean(r)) / (std(r) + epsilon),    std with n - 1

    Shao et al., "DeepSeekMath", arXiv 2402.03300, section 4.1. Without ``by_deviation``: A_i = r_i - mean(r),
    as Dr. GRPO has it (Liu et al., arXiv 2503.20783, section 3.2). An answer alone in its group has 0,
    as have those whose rewards are all equal.
    """
    found = []
    for rewards in _parts(rewards_b, sizes):
        centred = rewards - rewards.mean()
        # a mean of equal numbers may miss them by a rounding, which the small deviation would blow up
        centred = centred * float((rewards != rewards[:1]).any())
        if by_deviation and len(rewards) > 1:
            centred = centred / (rewards.std() + EPSILON)
        found.append(centred)
    return _end_to_end(found, rewards_b)


def leave_one_out(rewards_b: Tensor, sizes: Sequence[int]) -> Tensor:
    """Each reward less the mean of the others of its group; ``[b]``. An answer alone keeps its reward.

        A_i = r_i - 1 / (k - 1) * sum over j != i of r_j

    Ahmadian et al., "Back to basics", arXiv 2402.14740, equation 7; Kool et al., 2019.
    """
    found = []
    for rewards in _parts(rewards_b, sizes):
        others = (rewards.sum() - rewards) / max(1, len(rewards) - 1)
        found.append((rewards - others) * float((rewards != rewards[:1]).any() or len(rewards) == 1))
    return _end_to_end(found, rewards_b)


def gae(rewards_n: Tensor, values_n: Tensor, lengths: Sequence[int], gamma: float, lam: float) -> Tensor:
    """Generalised advantage estimates ``[n]``; nothing is expected after an answer's last token.

        delta_t = r_t + gamma * V_{t+1} - V_t,    A_t = delta_t + gamma * lam * A_{t+1}

    Schulman et al., arXiv 1506.02438, equations 11 and 16.
    """
    found = []
    for rewards, values in zip(_parts(rewards_n, lengths), _parts(values_n, lengths), strict=True):
        following = values.roll(-1)
        following[-1:] = 0.0
        found.append(_discounted(rewards + gamma * following - values, gamma * lam))
    return _end_to_end(found, rewards_n)


def returns(rewards_n: Tensor, lengths: Sequence[int], gamma: float) -> Tensor:
    """The discounted sum of what is still to come, ``[n]``: G_t = r_t + gamma * G_{t+1}."""
    return _end_to_end([_discounted(part, gamma) for part in _parts(rewards_n, lengths)], rewards_n)


def whiten(values: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1, over all of it; a single number becomes 0."""
    if len(values) < 2:
        return values - values
    return (values - values.mean()) / (values.std() + 1e-8)


def spread(values_b: Tensor, lengths: Sequence[int]) -> Tensor:
    """Each answer's number at each of its tokens, ``[n]``."""
    return values_b.repeat_interleave(values_b.new_tensor(lengths).long())


def at_the_end(values_b: Tensor, lengths: Sequence[int]) -> Tensor:
    """Each answer's number at its last token, 0 elsewhere, ``[n]``; without tokens it is lost."""
    found = values_b.new_zeros(sum(lengths))
    place = 0
    for value, length in zip(values_b, lengths, strict=True):
        place += length
        if length:
            found[place - 1] = value
    return found


def per_answer(values_n: Tensor, lengths: Sequence[int]) -> Tensor:
    """The sum over each answer's tokens, ``[b]``."""
    return _end_to_end([part.sum()[None] for part in _parts(values_n, lengths)], values_n)


def sampling_weights(
    logps_n: Tensor, sampled_n: Tensor, lengths: Sequence[int], *, of_answers: bool
) -> Tensor:
    """What each token weighs where something else than the policy drew it, ``[n]``.

        w = min(p / q, MOST)    p under the policy, q under what sampled; of the token, or of its whole answer

    Truncated importance sampling: Ionides, Journal of Computational and Graphical Statistics 17(2), 2008;
    of answers from another engine: Yao et al., "Your efficient RL framework secretly brings you off-policy RL
    training", 2025.
    """
    apart_n = logps_n - sampled_n
    if of_answers:
        apart_n = spread(per_answer(apart_n, lengths), lengths)
    return apart_n.exp().clamp(max=MOST)


def _parts(values: Tensor, lengths: Sequence[int]) -> Sequence[Tensor]:
    return values.split(list(lengths))  # type: ignore[no-untyped-call, no-any-return]


def _discounted(parts: Tensor, factor: float) -> Tensor:
    """x_t = parts_t + factor * x_{t+1}."""
    found, after = parts.clone(), 0.0
    for place in range(len(parts) - 1, -1, -1):
        after = float(parts[place]) + factor * after
        found[place] = after
    return found


def _end_to_end(parts: Sequence[Tensor], like: Tensor) -> Tensor:
    """``torch.cat`` without torch: a recipe that names an objective must not wait for it."""
    found, place = like.new_zeros(sum(map(len, parts))), 0
    for part in parts:
        found[place : place + len(part)] = part
        place += len(part)
    return found
