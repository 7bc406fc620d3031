"""The schedule by hand and against transformers; what AdamW decays."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

from attune.engine import checkpoint
from attune.engine.optimize import adamw, learning_rate_at, must_run_on, num_warmup_steps
from attune.recipe.errors import RecipeError
from attune.recipe.schema import Train


def rates(train: Train, num_steps: int, peak: float = 1.0) -> list[float]:
    return [learning_rate_at(step, num_steps, peak, train) for step in range(num_steps)]


@pytest.mark.parametrize(
    ("asked", "num_steps", "steps"),
    [(0.03, 100, 3), (0.03, 10, 1), (0.25, 10, 3), (0.0, 10, 0), (1.0, 10, 1), (4.0, 10, 4), (20.0, 10, 20)],
)
def test_warmup_below_one_is_a_share_and_rounds_up(asked: float, num_steps: int, steps: int) -> None:
    assert num_warmup_steps(Train(warmup_steps=asked), num_steps) == steps


def test_constant_by_hand() -> None:
    train = Train(schedule="constant", warmup_steps=4.0)
    assert rates(train, 6, peak=2.0) == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]


def test_linear_by_hand() -> None:
    train = Train(schedule="linear", warmup_steps=1.0)
    assert rates(train, 5) == [1.0, 1.0, 0.75, 0.5, 0.25]


def test_cosine_by_hand() -> None:
    train = Train(schedule="cosine", warmup_steps=0.0)
    half = math.sqrt(0.5)
    assert rates(train, 4) == pytest.approx([1.0, (1 + half) / 2, 0.5, (1 - half) / 2])


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_the_floor_is_a_share_of_the_peak(schedule: str) -> None:
    train = Train.model_validate({"schedule": schedule, "warmup_steps": 0.0, "min_learning_rate_share": 0.2})
    bare = Train.model_validate({"schedule": schedule, "warmup_steps": 0.0})
    for got, without in zip(rates(train, 50, 3.0), rates(bare, 50, 3.0), strict=True):
        assert got == pytest.approx(0.2 * 3.0 + 0.8 * without)
    assert learning_rate_at(50, 50, 3.0, train) == pytest.approx(0.6)


def test_a_warmup_longer_than_the_run_stays_below_the_peak() -> None:
    assert rates(Train(warmup_steps=20.0), 4) == pytest.approx([0.05, 0.1, 0.15, 0.2])


@pytest.mark.parametrize(
    ("schedule", "theirs"),
    [("cosine", get_cosine_schedule_with_warmup), ("linear", get_linear_schedule_with_warmup)],
)
def test_after_the_warmup_it_is_the_schedule_of_transformers(schedule: str, theirs: object) -> None:
    """Theirs begins the warm-up at zero, where a whole step changes nothing; ours at peak / warm-up."""
    num_steps, warmup, peak = 40, 5, 3e-4
    train = Train.model_validate({"schedule": schedule, "warmup_steps": float(warmup)})
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=peak)
    scheduler = theirs(optimizer, warmup, num_steps)  # type: ignore[operator]
    expected = []
    for _ in range(num_steps):
        expected.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    got = rates(train, num_steps, peak)
    assert got[warmup:] == pytest.approx(expected[warmup:], rel=1e-9)
    assert got[: warmup - 1] == pytest.approx(expected[1:warmup], rel=1e-9)


def model() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    net[2].weight.requires_grad_(False)
    return net


def test_matrices_decay_and_vectors_do_not() -> None:
    """With a gradient of zero AdamW only decays: a matrix shrinks by learning rate * decay."""
    net = model()
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimizer = adamw(net, Train(weight_decay=0.5), learning_rate=0.1)
    for parameter in net.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    after = dict(net.named_parameters())
    torch.testing.assert_close(after["0.weight"], before["0.weight"] * (1 - 0.1 * 0.5))
    for name in ("0.bias", "1.weight", "1.bias", "2.weight", "2.bias"):
        assert torch.equal(after[name], before[name]), name


def test_only_what_learns_is_in_the_optimizer() -> None:
    net = model()
    held = {id(p) for group in adamw(net, Train(), 0.1).param_groups for p in group["params"]}
    assert held == {id(p) for p in net.parameters() if p.requires_grad}


def test_the_numbers_of_the_recipe_reach_adamw() -> None:
    train = Train(adam_beta1=0.7, adam_beta2=0.8, adam_epsilon=1e-5)
    group = adamw(model(), train, learning_rate=0.3).param_groups[0]
    assert (group["betas"], group["eps"], group["lr"]) == ((0.7, 0.8), 1e-5, 0.3)


def test_two_steps_equal_the_equations() -> None:
    """Algorithm 2 of arXiv 1711.05101, written out."""
    weight = nn.Parameter(torch.tensor([[1.0, -2.0]]))
    net = nn.Module()
    net.weight = weight
    optimizer = adamw(net, Train(weight_decay=0.1, adam_beta1=0.9, adam_beta2=0.99), learning_rate=0.01)
    value, first, second = torch.tensor([[1.0, -2.0]]), torch.zeros(1, 2), torch.zeros(1, 2)
    for step, gradient in enumerate((torch.tensor([[0.5, 1.0]]), torch.tensor([[-0.2, 0.3]])), start=1):
        weight.grad = gradient.clone()
        optimizer.step()
        value = value * (1 - 0.01 * 0.1)
        first = 0.9 * first + 0.1 * gradient
        second = 0.99 * second + 0.01 * gradient**2
        value = value - 0.01 * (first / (1 - 0.9**step)) / ((second / (1 - 0.99**step)).sqrt() + 1e-8)
    torch.testing.assert_close(weight.detach(), value)


def test_paged_moments_need_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Train(optimizer="paged_adamw")
    with pytest.raises(
        RecipeError, match=r"of an NVIDIA GPU, and there is none here\. Use train\.optimizer=adamw"
    ):
        must_run_on(torch.device("cpu"), asked)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"paged_adamw needs bitsandbytes.* or use train\.optimizer=adamw"):
        must_run_on(torch.device("cuda"), asked)
    must_run_on(torch.device("cpu"), Train())


@pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU")
def test_paged_adamw_takes_the_steps_of_adamw_and_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    """On a CPU bitsandbytes runs the same optimizer without pages; pages themselves are not tested here."""
    pytest.importorskip("bitsandbytes", reason="needs bitsandbytes, which is not here")
    asked = {"weight_decay": 0.1, "adam_beta2": 0.95}
    plain, paged = Train.model_validate(asked), Train.model_validate({**asked, "optimizer": "paged_adamw"})

    def steps(net: nn.Module, optimizer: torch.optim.Optimizer, first: int, last: int) -> None:
        for number in range(first, last + 1):
            net(torch.full((2, 3), float(number))).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()

    one, two, three = model(), model(), model()
    first, second, third = adamw(one, plain, 1e-2), adamw(two, paged, 1e-2), adamw(three, paged, 1e-2)
    steps(one, first, 1, 4)
    steps(two, second, 1, 2)
    checkpoint.write(tmp_path, two, second, {"step": 2})
    steps(two, second, 3, 4)
    found, _ = checkpoint.newest(tmp_path)
    assert found is not None
    checkpoint.restore(found, three, third)
    steps(three, third, 3, 4)
    for mine, other, again in zip(one.parameters(), two.parameters(), three.parameters(), strict=True):
        torch.testing.assert_close(other, mine, atol=1e-6, rtol=1e-5)
        assert torch.equal(again, other)
