"""Sampling: equal to transformers' processors, hand-computed cases, and numbers that belong to a request."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from attune.inference.sampling import (
    choose,
    draw,
    keep_top_k,
    keep_top_p,
    logps_of,
    penalize,
    seen_tokens,
    uniforms,
)
from attune.recipe.schema import Generation

B, V = 5, 23


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(B, V, generator=torch.Generator().manual_seed(0)) * 3


def _seen(history: torch.Tensor) -> torch.Tensor:
    return torch.stack([seen_tokens(row, V, torch.device("cpu")) for row in history.tolist()])


@pytest.mark.parametrize("penalty", [0.5, 1.3])
def test_penalty_equals_transformers(logits: torch.Tensor, penalty: float) -> None:
    history = torch.randint(V, (B, 9))
    assert torch.equal(
        penalize(logits, _seen(history), penalty), RepetitionPenaltyLogitsProcessor(penalty)(history, logits)
    )


@pytest.mark.parametrize("k", [1, 4, V, V + 5])
def test_top_k_equals_transformers(logits: torch.Tensor, k: int) -> None:
    tied = logits.round()
    assert torch.equal(keep_top_k(tied, k), TopKLogitsWarper(k)(None, tied))


@pytest.mark.parametrize("p", [1e-6, 0.3, 0.9, 0.999])
def test_top_p_equals_transformers(logits: torch.Tensor, p: float) -> None:
    assert torch.equal(keep_top_p(logits, p), TopPLogitsWarper(p)(None, logits))


def test_the_order_is_that_of_transformers(logits: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn_from = []
    monkeypatch.setattr(
        "attune.inference.sampling.draw", lambda kept, _: drawn_from.append(kept) or kept.argmax(-1)
    )
    history = torch.randint(V, (B, 9))
    generation = Generation(temperature=0.7, top_k=9, top_p=0.8, repetition_penalty=1.7)
    choose(logits, generation, _seen(history), torch.zeros(B, dtype=torch.float64))
    reference = LogitsProcessorList(
        [
            RepetitionPenaltyLogitsProcessor(1.7),
            TemperatureLogitsWarper(0.7),
            TopKLogitsWarper(9),
            TopPLogitsWarper(0.8),
        ]
    )
    assert torch.equal(drawn_from[0], reference(history, logits))


def test_hand_computed_cuts() -> None:
    logits = torch.tensor([[0.1, 0.5, 0.4]]).log()
    assert keep_top_k(logits, 2).isinf().tolist() == [[True, False, False]]
    assert keep_top_p(logits, 0.5).isinf().tolist() == [[True, False, True]]
    assert keep_top_p(logits, 0.55).isinf().tolist() == [[True, False, False]]
    assert keep_top_p(logits, 1.0) is logits


def test_hand_computed_penalty() -> None:
    logits = torch.tensor([[2.0, -2.0, 3.0]])
    seen = torch.tensor([[True, True, False]])
    assert penalize(logits, seen, 2.0).tolist() == [[1.0, -4.0, 3.0]]


def test_hand_computed_draw() -> None:
    logits = torch.tensor([0.5, 0.3, 0.2]).log().expand(6, 3)
    uniform = torch.tensor([0.0, 0.49, 0.51, 0.79, 0.81, 1.0 - 2**-53], dtype=torch.float64)
    assert draw(logits, uniform).tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1.0 - 2**-53])
def test_what_was_cut_is_never_drawn(uniform: float) -> None:
    logits = torch.tensor([[-torch.inf, 1.0, -torch.inf, 2.0, -torch.inf]])
    assert draw(logits, torch.tensor([uniform], dtype=torch.float64)).item() in (1, 3)


def test_draws_follow_the_probabilities() -> None:
    probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05])
    count = 20_000
    uniform = torch.rand(count, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ids = draw(probabilities.log().expand(count, 4), uniform)
    shares = torch.bincount(ids, minlength=4) / count
    assert (shares - probabilities).abs().max() < 0.015  # more than four standard deviations


def test_temperature_zero_is_greedy_after_the_penalty() -> None:
    logits = torch.tensor([[2.0, 1.9]])
    assert choose(logits, Generation()).tolist() == [0]
    seen = torch.tensor([[True, False]])
    assert choose(logits, Generation(repetition_penalty=1.5), seen).tolist() == [1]


def test_numbers_belong_to_seed_prompt_sample_and_step() -> None:
    numbers = uniforms(7, 3, 1, 40)
    assert torch.equal(numbers[:11], uniforms(7, 3, 1, 11))
    for other in (uniforms(8, 3, 1, 40), uniforms(7, 4, 1, 40), uniforms(7, 3, 2, 40)):
        assert not torch.equal(numbers, other)
    assert numbers.min() >= 0
    assert numbers.max() < 1


def test_a_row_does_not_depend_on_its_neighbours(logits: torch.Tensor) -> None:
    generation = Generation(temperature=0.9, top_k=7, top_p=0.9)
    uniform = torch.rand(B, dtype=torch.float64)
    together = choose(logits, generation, None, uniform)
    order = torch.tensor([3, 0, 4])
    assert torch.equal(together[order], choose(logits[order], generation, None, uniform[order]))


def test_logps_are_those_of_the_model(logits: torch.Tensor) -> None:
    ids = torch.tensor([0, 5, 22, 7, 7])
    expected = logits.log_softmax(-1)[torch.arange(B), ids]
    torch.testing.assert_close(logps_of(logits, ids), expected)


def test_seen_ignores_tokens_that_cannot_be_written() -> None:
    assert seen_tokens([1, 1, 9], 3, torch.device("cpu")).tolist() == [False, True, False]
