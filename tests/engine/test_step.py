"""One optimizer step: the cut into packs never matters, and a loss that is no number names its rows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from attune.data.cache import Store
from attune.data.layout import Segments
from attune.engine import step
from attune.models.policy import Policy
from attune.objectives import sft
from attune.recipe.errors import RunError

EXAMPLES = range(8)
CONFIG = sft.Config()


@pytest.fixture(scope="module")
def store() -> Store:
    """Eight examples of 4 to 18 tokens; the second half of each is learnt, the last also has two branches."""
    made = []
    for number in EXAMPLES:
        ids = [5 + (number * 31 + place * 17) % 290 for place in range(4 + 2 * number)]
        half = len(ids) // 2
        branches = [(ids[half:], [True] * (len(ids) - half))]
        if number == 7:
            branches.append((ids[half:][::-1], [True] * (len(ids) - half)))
        made.append(Segments(ids[:half], tuple(branches)))
    built = Store.build(made, [(0, 10 + number) for number in EXAMPLES])
    return Store(built.ids, built.learn, built.segments, built.examples, built.origins, ("my.json",))


def policy_of(model_dir: Path, *, packing: bool = True) -> Policy:
    return Policy(LlamaForCausalLM.from_pretrained(model_dir), packing=packing)


def gradients(policy: Policy, store: Store, micro_tokens: int) -> tuple[torch.Tensor, step.Outcome]:
    policy.zero_grad()
    outcome = step.accumulate(policy, store, list(EXAMPLES), step.Micro(micro_tokens), sft, CONFIG, None)
    return torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None]), outcome


def assert_same(got: torch.Tensor, expected: torch.Tensor) -> None:
    assert (got - expected).norm() < 1e-6 * expected.norm()


def test_one_pack_of_eight_equals_eight_packs_of_one(model_dir: Path, store: Store) -> None:
    policy = policy_of(model_dir)
    assert policy.packs
    assert len(step.share_of_packs(store, list(EXAMPLES), step.Micro(1000))) == 1
    assert len(step.share_of_packs(store, list(EXAMPLES), step.Micro(1))) == 8
    whole, outcome = gradients(policy, store, 1000)
    single, outcome_single = gradients(policy, store, 1)
    assert_same(single, whole)
    assert outcome_single.loss == pytest.approx(outcome.loss, rel=1e-6)
    assert outcome_single.num_learnt == outcome.num_learnt == int(store.num_learnt.sum())
    assert outcome_single.num_tokens == outcome.num_tokens == int(store.lengths.sum())


def test_packed_equals_padded(model_dir: Path, store: Store) -> None:
    packed, outcome = gradients(policy_of(model_dir), store, 40)
    padded_policy = policy_of(model_dir, packing=False)
    assert not padded_policy.packs
    padded, outcome_padded = gradients(padded_policy, store, 40)
    assert_same(padded, packed)
    assert outcome_padded.loss == pytest.approx(outcome.loss, rel=1e-6)


def test_loss_and_gradient_are_those_of_plain_cross_entropy(model_dir: Path, store: Store) -> None:
    """transformers, one branch at a time, one mean over all learnt tokens."""
    got, outcome = gradients(policy_of(model_dir), store, 40)
    model = LlamaForCausalLM.from_pretrained(model_dir)
    losses = []
    for number in EXAMPLES:
        example = store[number]
        for ids, _ in example.branches:
            row = torch.tensor([*example.prompt, *ids])[None]
            logits = model(input_ids=row).logits[0, len(example.prompt) - 1 : -1]
            losses.append(
                torch.nn.functional.cross_entropy(logits, torch.tensor(list(ids)), reduction="none")
            )
    mean = torch.cat(losses).mean()
    mean.backward()
    expected = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    assert_same(got, expected)
    assert outcome.loss == pytest.approx(mean.item(), rel=1e-6)
    assert outcome.grad_norm == pytest.approx(float(expected.double().norm()), rel=1e-6)


def test_two_processes_share_the_packs_of_one(store: Store) -> None:
    for micro_tokens in (1, 40, 1000):
        shares = [
            step.share_of_packs(store, list(EXAMPLES), step.Micro(micro_tokens, rank, 2)) for rank in (0, 1)
        ]
        assert sorted(index for rows in shares for row in rows for index in row) == list(EXAMPLES)
        assert all(shares), "no process is idle"


def test_clipping_scales_to_the_norm_and_leaves_a_short_gradient_alone() -> None:
    for norm, expected in ((1.0, [0.6, 0.8]), (None, [3.0, 4.0]), (10.0, [3.0, 4.0])):
        layer = torch.nn.Linear(2, 1, bias=False)
        before = layer.weight.detach().clone()
        layer.weight.grad = torch.tensor([[3.0, 4.0]])
        step.move(layer, torch.optim.SGD(layer.parameters(), lr=9.0), 0.5, norm, 5.0)
        moved = (before - layer.weight.detach()) / 0.5
        torch.testing.assert_close(moved, torch.tensor([expected]), rtol=1e-5, atol=1e-6)
        assert layer.weight.grad is None


def test_held_out_loss_is_the_mean_over_tokens_and_leaves_the_mode_alone(
    model_dir: Path, store: Store
) -> None:
    policy = policy_of(model_dir)
    _, outcome = gradients(policy, store, 40)
    policy.zero_grad()
    policy.train()
    loss, metrics, count = step.held_out_loss(policy, store, step.Micro(30), sft, CONFIG, None)
    assert (loss, metrics, count) == (pytest.approx(outcome.loss, rel=1e-6), {}, outcome.num_learnt)
    assert policy.training
    assert all(p.grad is None for p in policy.parameters())


def test_held_out_examples_beyond_one_portion_are_counted(
    model_dir: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = step.held_out_loss(policy_of(model_dir), store, step.Micro(30), sft, CONFIG, None)
    monkeypatch.setattr(step, "_EXAMPLES_AT_ONCE", 3)
    portions = step.held_out_loss(policy_of(model_dir), store, step.Micro(30), sft, CONFIG, None)
    assert portions == (pytest.approx(whole[0], rel=1e-6), {}, whole[2])


def test_a_loss_that_is_no_number_names_file_and_rows(model_dir: Path, store: Store) -> None:
    policy = policy_of(model_dir)
    with torch.no_grad():
        token = int(store[3].prompt[0])
        policy.base.get_input_embeddings().weight[token] = float("nan")
    rows = {f"my.json:{10 + n}" for n in EXAMPLES if token in [*store[n].prompt, *store[n].branches[0][0]]}
    with pytest.raises(RunError, match="became nan") as caught:
        step.accumulate(policy, store, list(EXAMPLES), step.Micro(1), sft, CONFIG, None)
    named = {word.strip(".,") for word in str(caught.value).split() if word.startswith("my.json")}
    assert len(named) == 1
    assert named <= rows
    assert "Lower train.learning_rate" in str(caught.value)


def test_a_gradient_that_is_no_number_names_the_rows_of_the_step(model_dir: Path, store: Store) -> None:
    policy = policy_of(model_dir)
    policy.base.get_input_embeddings().weight.register_hook(lambda grad: grad * float("nan"))
    with pytest.raises(RunError, match=r"The gradient became nan on the rows my\.json:10, my\.json:11"):
        step.accumulate(policy, store, list(EXAMPLES), step.Micro(50), sft, CONFIG, None)


def test_the_random_numbers_of_a_step_depend_on_seed_step_and_process_only() -> None:
    def draw(*key: int) -> list[float]:
        step.seed(*key)
        return torch.rand(3).tolist()

    first = draw(42, 7, 0)
    torch.rand(100)
    assert draw(42, 7, 0) == first
    assert len({tuple(draw(*key)) for key in ((42, 7, 0), (42, 8, 0), (42, 7, 1), (43, 7, 0))}) == 4
