"""TRL's GRPO and RLOO losses on the same weights, answers and advantages: loss and gradients agree.

TRL's own ``_compute_loss`` runs on a padded batch; ours on prompts that are laid once with their answers as
branches.
"""

from __future__ import annotations

from collections import defaultdict
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from attune.data.layout import Segments, lay
from attune.models.policy import Policy
from attune.objectives import grpo, rloo
from attune.objectives._online import Experience, Repeated

from ..models.tiny import build

pytest.importorskip("trl", reason="needs TRL: pip install attune[parity]")

PROMPTS = ([5, 6, 7], [8, 9, 10, 11, 12])
ANSWERS = (([20, 21], [22, 23, 24, 25], [26]), ([30, 31, 32], [33], [34, 35]))
REWARDS = torch.tensor([1.0, 0.0, 0.5, 2.0, 2.5, -1.0])
LENGTHS = tuple(len(answer) for answers in ANSWERS for answer in answers)
MOST = 16


def near(values: Tensor, seed: int) -> Tensor:
    """Numbers near these: log-probabilities of another moment."""
    return values + 0.4 * torch.randn(values.shape, generator=torch.Generator().manual_seed(seed))


def padded(lengths: tuple[int, ...]) -> dict[str, Tensor]:
    """TRL's batch: prompts padded on the left, answers on the right; one of no length is masked."""
    rows = [(prompt, answer) for prompt, answers in zip(PROMPTS, ANSWERS, strict=True) for answer in answers]
    before, after = max(map(len, PROMPTS)), max(LENGTHS)
    return {
        "prompt_ids": torch.tensor([[0] * (before - len(p)) + p for p, _ in rows]),
        "prompt_mask": torch.tensor([[0] * (before - len(p)) + [1] * len(p) for p, _ in rows]),
        "completion_ids": torch.tensor([a + [0] * (after - len(a)) for _, a in rows]),
        "completion_mask": torch.tensor([[1] * length + [0] * (after - length) for length in lengths]),
    }


def in_rows(values_n: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """Numbers of the learnt tokens as TRL's rows."""
    found = torch.zeros(len(LENGTHS), max(LENGTHS))
    for row, part in enumerate(values_n.split(list(lengths))):
        found[row, : len(part)] = part
    return found


def trl_logps(model: Any, ids: Tensor, mask: Tensor, keep: int, **_: Any) -> tuple[Tensor, Tensor, None]:
    """What TRL's trainer asks its model for, the plain way."""
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = model(input_ids=ids, attention_mask=mask, position_ids=positions).logits[:, -keep - 1 : -1]
    log_p = logits.log_softmax(-1)
    return log_p.gather(2, ids[:, -keep:, None])[..., 0], -(log_p.exp() * log_p).sum(-1), None


def trl_trainer(config: Repeated, **more: Any) -> Any:
    """As much of a trainer as the loss reads."""
    accelerator = SimpleNamespace(
        reduce=lambda values, reduction: values, gather=lambda values: values, num_processes=1
    )
    return SimpleNamespace(
        _get_per_token_logps_and_entropies=trl_logps,
        accelerator=accelerator,
        args=SimpleNamespace(use_bias_correction_kl=False, delta=None, steps_per_generation=1),
        model=SimpleNamespace(training=True),
        beta=config.beta,
        epsilon_low=config.clip_low,
        epsilon_high=config.clip_high,
        current_gradient_accumulation_steps=1,
        max_completion_length=config.max_new_tokens,
        importance_sampling_level="token",
        top_entropy_quantile=1.0,
        aux_loss_enabled=False,
        off_policy_mask_threshold=None,
        use_vllm=False,
        _entropy_bonus_enabled=False,
        _metrics={"train": defaultdict(list)},
        **more,
    )


def gradients(model: Any) -> dict[str, Tensor]:
    found = {
        name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None
    }
    model.zero_grad()
    return found


def compared(
    objective: ModuleType, config: Repeated, trainer: Any, trl: Any, lengths: tuple[int, ...] = LENGTHS
) -> None:
    """``lengths``: learnt tokens of each answer; 0 where it is masked for its truncation."""
    model = build("llama")
    policy = Policy(model)
    assert policy.packs
    segments = [
        Segments(
            prompt,
            tuple(
                (answer, [True] * len(answer))
                for answer, length in zip(answers, lengths[3 * place :], strict=False)
                if length
            ),
        )
        for place, (prompt, answers) in enumerate(zip(PROMPTS, ANSWERS, strict=True))
    ]
    with torch.no_grad():
        now = policy(lay(list(enumerate(segments))))
    seen = Experience(REWARDS, (3, 3), lengths, near(now, 1), near(now, 2))
    given = objective.estimate(seen, config, config.beta)
    cut = sum(lengths[:3])
    parts = (slice(None, cut), slice(cut, None))
    batch = lay(
        [
            (row, Segments(one.prompt, one.branches, given={k: v[own].tolist() for k, v in given.items()}))
            for row, (one, own) in enumerate(zip(segments, parts, strict=True))
        ]
    )
    loss = objective.loss(policy(batch), batch, config)[0] / objective.denominator(batch)
    loss.backward()
    mine = gradients(model)

    policy.own_attention()
    starts = torch.tensor([0, *lengths[:-1]]).cumsum(0)
    assert seen.reference is not None
    inputs = {
        **padded(lengths),
        "old_per_token_logps": in_rows(seen.logps, lengths),
        "old_logps": in_rows(seen.logps, lengths).sum(1),
        "ref_per_token_logps": in_rows(seen.reference, lengths),
        "advantages": given["advantages"][starts],
        "num_items_in_batch": torch.tensor(float(sum(lengths))),
    }
    theirs = trl._compute_loss(trainer, model, inputs)
    theirs.backward()
    torch.testing.assert_close(loss, theirs.detach(), rtol=1e-5, atol=1e-6, check_dtype=False)
    other = gradients(model)
    assert other.keys() == mine.keys()
    for name, gradient in other.items():
        torch.testing.assert_close(mine[name], gradient, rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.parametrize(
    ("options", "loss_type"),
    [
        ({}, "grpo"),
        ({"beta": 0.1}, "grpo"),
        ({"average": "constant", "scale": "none"}, "dr_grpo"),
        ({"average": "token", "clip_high": 0.28, "beta": 0.04}, "dapo"),
        ({"average": "token"}, "bnpo"),
    ],
    ids=["grpo", "grpo-kl", "dr-grpo", "dapo", "bnpo"],
)
def test_grpo(options: dict[str, Any], loss_type: str) -> None:
    from trl.trainer.grpo_trainer import GRPOTrainer

    config = grpo.Config(max_new_tokens=MOST, **options)
    compared(grpo, config, trl_trainer(config, loss_type=loss_type), GRPOTrainer)


def test_masked_answers() -> None:
    """Two of six were cut. (In its mean over answers TRL counts those too, and ours does not.)"""
    from trl.trainer.grpo_trainer import GRPOTrainer

    config = grpo.Config(max_new_tokens=MOST, average="token", beta=0.04)
    lengths = tuple(0 if answer in (1, 3) else length for answer, length in enumerate(LENGTHS))
    compared(grpo, config, trl_trainer(config, loss_type="dapo"), GRPOTrainer, lengths)


@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_rloo(beta: float) -> None:
    from trl.trainer.rloo_trainer import RLOOTrainer

    config = rloo.Config(max_new_tokens=MOST, beta=beta)
    compared(rloo, config, trl_trainer(config), RLOOTrainer)
