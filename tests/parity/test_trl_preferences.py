"""TRL 1.16 on the same weights and rows: DPO with every margin function that both have, KTO, ORPO and SimPO
give the same tokens, reference, loss and gradients.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from attune.data.encode import Encoder
from attune.data.encode import Policy as Rules
from attune.data.examples import Message, Preference, Verdict
from attune.data.layout import Batch, Segments, lay
from attune.data.template import ChatTemplate
from attune.models.policy import Policy
from attune.models.reference import as_reference
from attune.objectives import _preference, dpo, kto, orpo, simpo

from ..data.tiny import tokenizer
from .test_trl import ANSWERS, QUESTIONS, SAME, build

trl = pytest.importorskip("trl", reason="needs TRL: pip install attune[parity]")
datasets = pytest.importorskip("datasets", reason="needs datasets: pip install attune[parity]")

WORSE = ["Who knows, it may be 3.", "不知道。", "Rome.", "What?"]
NAMES = {"bco": "bco_pair", "exo": "exo_pair", "nca": "nca_pair", "sppo": "sppo_hard"}
"""TRL's names where they are others; ``cdpo`` it has only where ``aot`` has one pair to sort."""

Grads = dict[str, Tensor]


def message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def encoded(example: Preference | Verdict) -> Segments:
    made = tokenizer(template=SAME)
    (piece,) = Encoder(made, ChatTemplate.load(made), Rules(256)).encode(example).segments
    return piece


def preferences() -> list[Segments]:
    rows = zip(QUESTIONS, ANSWERS, WORSE, strict=True)
    return [
        encoded(
            Preference(
                (Message("user", question),), ((Message("assistant", good),), (Message("assistant", bad),))
            )
        )
        for question, good, bad in rows
    ]


def gradients(model: Any, loss: Tensor) -> Grads:
    model.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def move(model: Any) -> None:
    """The adapter away from its start, the same way each time."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.1)


def must_agree(ours: tuple[Tensor, Grads], theirs: tuple[Tensor, Grads]) -> None:
    torch.testing.assert_close(ours[0].detach(), theirs[0].detach(), atol=1e-5, rtol=1e-5)
    assert ours[1].keys() == theirs[1].keys()
    for name, grad in theirs[1].items():
        torch.testing.assert_close(ours[1][name], grad, atol=1e-5, rtol=1e-4)


def settings(kind: Any, place: Path, **more: Any) -> Any:
    return kind(
        output_dir=str(place),
        per_device_train_batch_size=len(QUESTIONS),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to=[],
        beta=0.3,
        dataset_num_proc=None,
        **more,
    )


def lora() -> Any:
    from peft import LoraConfig

    return LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")


def with_reference(policy: Policy, batch: Batch) -> Batch:
    with as_reference(policy):
        return replace(batch, reference=policy(batch))


def learnt_of(inputs: Any, prefix: str = "") -> list[list[int]]:
    rows = zip(inputs[f"{prefix}input_ids"], inputs[f"{prefix}completion_mask"], strict=True)
    return [ids[mask.bool()].tolist() for ids, mask in rows]


def targets(batch: Batch) -> list[list[int]]:
    return [batch.targets[batch.branches == place].tolist() for place in range(batch.num_branches)]


@pytest.fixture(scope="module")
def dpo_trainer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    rows = [
        {
            "prompt": [message("user", question)],
            "chosen": [message("assistant", good)],
            "rejected": [message("assistant", bad)],
        }
        for question, good, bad in zip(QUESTIONS, ANSWERS, WORSE, strict=True)
    ]
    config = settings(trl.DPOConfig, tmp_path_factory.mktemp("dpo"), precompute_ref_log_probs=True)
    config.label_smoothing = 0.1
    trainer = trl.DPOTrainer(
        model=build(adapter=False),
        args=config,
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tokenizer(template=SAME),
        peft_config=lora(),
    )
    inputs = next(iter(trainer.get_train_dataloader()))
    move(trainer.model)
    trainer.model.eval()
    return trainer, inputs


def our_policy(theirs: Any) -> Policy:
    """TRL's weights in a model of ours."""
    from peft import get_peft_model

    model = get_peft_model(build(adapter=False), lora())
    model.load_state_dict(theirs.state_dict())
    policy = Policy(model)
    assert policy.packs
    return policy.eval()


def in_order(inputs: Any, batch: list[Segments]) -> Batch:
    """Our examples in the order in which TRL has shuffled them."""
    wanted = learnt_of(inputs)[: len(batch)]
    ours = [targets(lay([(0, piece)]))[0] for piece in batch]
    return lay([(place, batch[ours.index(tokens)]) for place, tokens in enumerate(wanted)])


@pytest.mark.parametrize("name", [name for name in dpo.LOSSES if name != "cdpo"])
def test_dpo(name: str, dpo_trainer: Any) -> None:
    trainer, inputs = dpo_trainer
    policy = our_policy(trainer.model)
    batch = with_reference(policy, in_order(inputs, preferences()))
    assert sorted(targets(batch)) == sorted(learnt_of(inputs))
    assert batch.reference is not None
    sums = batch.per_branch(batch.reference)
    torch.testing.assert_close(sums[0::2], inputs["ref_chosen_logps"], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(sums[1::2], inputs["ref_rejected_logps"], atol=1e-4, rtol=1e-5)
    smoothing = None if dpo.LOSSES[name].smoothing is None else 0.1
    total, metrics = dpo.loss(
        policy(batch), batch, dpo.Config(loss=name, beta=0.3, label_smoothing=smoothing)
    )
    loss = total / dpo.denominator(batch)
    trainer.loss_types = [NAMES.get(name, name)]
    theirs = trainer._compute_loss(trainer.model, dict(inputs), False)
    must_agree((loss, gradients(policy.model, loss)), (theirs, gradients(trainer.model, theirs)))
    if not dpo.LOSSES[name].is_averaged:
        logged = trainer._metrics["eval"]
        assert float(metrics["margin"]) / 4 == pytest.approx(logged["rewards/margins"][-1], abs=1e-4)
        assert float(metrics["accuracy"]) / 4 == logged["rewards/accuracies"][-1]


@pytest.mark.parametrize(
    ("theirs", "weights", "options"),
    [
        (["aot"], [1.0], {"loss": "cdpo", "label_smoothing": 0.1}),
        (["aot_unpaired"], [1.0], {"loss": "cdpo", "label_smoothing": 0.1}),
        (["sigmoid", "sft"], [1.0, 0.5], {"nll_weight": 0.5}),
        (["ipo", "sft"], [1.0, 0.5], {"loss": "ipo", "nll_weight": 0.5}),
    ],
    ids=["cdpo", "cdpo-unpaired", "sigmoid-nll", "ipo-nll"],
)
def test_dpo_pair_by_pair(
    theirs: list[str],
    weights: list[float],
    options: dict[str, Any],
    dpo_trainer: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What TRL sorts over a batch (aot) or weighs by length over a batch (the likelihood) is, in batches of
    one pair, the mean over pairs that ours is.
    """
    trainer, inputs = dpo_trainer
    monkeypatch.setattr(trainer, "loss_types", theirs)
    monkeypatch.setattr(trainer, "loss_weights", weights)
    count = len(QUESTIONS)
    parts = [
        {
            name: rows[[row]] if len(rows) == count else rows[[row, count + row]]
            for name, rows in inputs.items()
        }
        for row in range(count)
    ]
    whole = torch.stack([trainer._compute_loss(trainer.model, part, False) for part in parts]).mean()
    policy = our_policy(trainer.model)
    batch = with_reference(policy, in_order(inputs, preferences()))
    loss = dpo.loss(policy(batch), batch, dpo.Config(beta=0.3, **options))[0] / dpo.denominator(batch)
    must_agree((loss, gradients(policy.model, loss)), (whole, gradients(trainer.model, whole)))


@pytest.mark.parametrize("name", ["kto", "apo_zero"])
def test_kto(name: str, tmp_path: Path) -> None:
    labels = [True, False, False, True]
    rows = [
        {"prompt": [message("user", q)], "completion": [message("assistant", a)], "label": label}
        for q, a, label in zip(QUESTIONS, ANSWERS, labels, strict=True)
    ]
    config = settings(
        trl.KTOConfig,
        tmp_path,
        loss_type={"apo_zero": "apo_zero_unpaired"}.get(name, name),
        desirable_weight=1.0,
        undesirable_weight=1.5,
        train_sampling_strategy="sequential",
    )
    trainer = trl.KTOTrainer(
        model=build(adapter=False),
        args=config,
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tokenizer(template=SAME),
        peft_config=lora(),
    )
    inputs = next(iter(trainer.get_train_dataloader()))
    move(trainer.model)
    trainer.model.eval()
    theirs = trainer._compute_loss(trainer.model, dict(inputs), False)
    policy = our_policy(trainer.model)
    pieces = [
        encoded(Verdict((Message("user", q),), (Message("assistant", a),), label))
        for q, a, label in zip(QUESTIONS, ANSWERS, labels, strict=True)
    ]
    weighed = [
        replace(piece, values=(float(good), 1.0 if good else 1.5))
        for piece, good in zip(pieces, labels, strict=True)
    ]
    batch = with_reference(policy, lay(list(enumerate(weighed))))
    assert targets(batch) == learnt_of(inputs)
    options = kto.Config(loss=name, beta=0.3)
    if name == "kto":
        crossed = [Segments(pieces[place].prompt, pieces[place - 1].branches) for place in range(4)]
        first = with_reference(policy, lay(list(enumerate(crossed))))
        assert targets(first) == learnt_of(inputs, "KL_")
        batch = replace(batch, shared=kto.first_pass(policy(first), first, options))
        assert float(batch.shared[0]) > 0, "or z0 would be cut off at zero"
    total, _ = kto.loss(policy(batch), batch, options)
    loss = total / kto.denominator(batch)
    must_agree((loss, gradients(policy.model, loss)), (theirs, gradients(trainer.model, theirs)))


def concatenated(pieces: list[Segments]) -> dict[str, Tensor]:
    """TRL's batch of the older trainers: padded on the right, the prompt masked in the labels."""
    found: dict[str, Tensor] = {}
    for place, name in enumerate(("chosen", "rejected")):
        rows = [([*piece.prompt, *piece.branches[place][0]], len(piece.prompt)) for piece in pieces]
        width = max(len(ids) for ids, _ in rows)
        for key, fill in (("input_ids", 0), ("attention_mask", 0), ("labels", -100)):
            found[f"{name}_{key}"] = torch.full((len(rows), width), fill)
        for row, (ids, start) in enumerate(rows):
            found[f"{name}_input_ids"][row, : len(ids)] = torch.tensor(ids)
            found[f"{name}_attention_mask"][row, : len(ids)] = 1
            found[f"{name}_labels"][row, start : len(ids)] = torch.tensor(ids[start:])
    return found


def older(kind: Any, **options: Any) -> Any:
    """An older trainer's arithmetic without its set-up."""
    trainer = object.__new__(kind)
    accelerator = SimpleNamespace(device=torch.device("cpu"), gather_for_metrics=lambda value: value)
    shared = {"is_encoder_decoder": False, "aux_loss_enabled": False, "accelerator": accelerator}
    vars(trainer).update(**shared, pad_token_id=0, padding_value=0, **options)
    return trainer


def test_simpo() -> None:
    cpo = pytest.importorskip("trl.experimental.cpo")
    options = {"loss_type": "simpo", "beta": 2.0, "simpo_gamma": 0.7, "cpo_alpha": 0.0}
    trainer = older(cpo.CPOTrainer, **options, label_smoothing=0.0, alpha=0.0)
    model, pieces = build(adapter=True), preferences()
    chosen, rejected, *_ = trainer.concatenated_forward(model, concatenated(pieces))
    losses, *_ = trainer.cpo_loss(chosen, rejected)
    theirs = losses.mean()
    policy, batch = Policy(build(adapter=True)), lay(list(enumerate(pieces)))
    total, _ = simpo.loss(policy(batch), batch, simpo.Config(beta=2.0, gamma=0.7))
    loss = total / simpo.denominator(batch)
    must_agree((loss, gradients(policy.model, loss)), (theirs, gradients(model, theirs)))


@pytest.mark.parametrize("name", ["sigmoid", "cdpo", "hinge", "ipo"])
def test_without_a_reference(name: str) -> None:
    """CPO's forms are those of DPO whose reference is 1."""
    cpo = pytest.importorskip("trl.experimental.cpo")
    smoothing = 0.1 if name == "cdpo" else 0.0
    options = {"loss_type": "sigmoid" if name == "cdpo" else name, "simpo_gamma": 0.0, "cpo_alpha": 0.0}
    trainer = older(cpo.CPOTrainer, **options, beta=0.3, label_smoothing=smoothing, alpha=0.0)
    model, pieces = build(adapter=True), preferences()
    chosen, rejected, *_ = trainer.concatenated_forward(model, concatenated(pieces))
    theirs = trainer.cpo_loss(chosen, rejected)[0].mean()
    policy, batch = Policy(build(adapter=True)), lay(list(enumerate(pieces)))
    config = dpo.Config(loss=name, beta=0.3, label_smoothing=smoothing or None, reference="none")
    loss = dpo.loss(policy(batch), batch, config)[0] / dpo.denominator(batch)
    must_agree((loss, gradients(policy.model, loss)), (theirs, gradients(model, theirs)))


def test_orpo() -> None:
    """TRL takes the likelihood over the prompt too, so only the odds ratio is compared."""
    older_orpo = pytest.importorskip("trl.experimental.orpo")
    trainer = older(older_orpo.ORPOTrainer, beta=0.25)
    model, pieces = build(adapter=True), preferences()
    chosen, rejected, *_ = trainer.concatenated_forward(model, concatenated(pieces))
    losses, *_ = trainer.odds_ratio_loss(chosen, rejected)
    theirs = -losses.mean()
    policy, batch = Policy(build(adapter=True)), lay(list(enumerate(pieces)))
    logps = policy(batch)
    total, _ = orpo.loss(logps, batch, orpo.Config(beta=0.25))
    loss = (total - _preference.best_nll(logps, batch)) / orpo.denominator(batch)
    must_agree((loss, gradients(policy.model, loss)), (theirs, gradients(model, theirs)))
