"""TRL's SFTTrainer on the same weights and rows: the same tokens are learnt, the first gradients agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from attune.adapters import fused
from attune.data.encode import Encoder
from attune.data.encode import Policy as Rules
from attune.data.examples import Conversation, Message
from attune.data.layout import Batch, lay
from attune.data.template import ChatTemplate
from attune.models.policy import Policy

from ..data.tiny import CHATML, tokenizer
from ..models.tiny import SIZES

trl = pytest.importorskip("trl", reason="needs TRL: pip install attune[parity]")
datasets = pytest.importorskip("datasets", reason="needs datasets: pip install attune[parity]")

SAME = CHATML.replace("<|im_end|>\n", "<|im_end|>")
"""Without the newline after the stop token: TRL would learn it, attune ends at the stop."""

QUESTIONS = ["What is 1 + 1?", "请问你们几点开门？", "Capital of France?", "?"]
ANSWERS = ["It is 2.", "早上十点。", "Paris is the capital of France, a long answer.", "!"]


def build(adapter: bool) -> Any:
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    made = tokenizer(template=SAME)
    settings = LlamaConfig(**{**SIZES, "vocab_size": len(made), "initializer_range": 0.1})
    settings.pad_token_id = made.eos_token_id
    model: Any = LlamaForCausalLM(settings)
    if adapter:
        model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "lora_B" in name:
                    weight.copy_(torch.randn(weight.shape, generator=generator) * 0.1)
    return model


def ours(adapter: bool) -> tuple[list[list[int]], float, dict[str, torch.Tensor]]:
    made = tokenizer(template=SAME)
    encoder = Encoder(made, ChatTemplate.load(made), Rules(256))
    pieces = []
    for question, answer in zip(QUESTIONS, ANSWERS, strict=True):
        (piece,) = encoder.encode(
            Conversation((Message("user", question), Message("assistant", answer)))
        ).segments
        pieces.append(piece)
    batch: Batch = lay(list(enumerate(pieces)))
    model = build(adapter)
    fused.fuse(model)
    policy = Policy(model)
    assert policy.packs
    loss = -policy(batch).sum() / batch.num_learnt
    loss.backward()
    learnt = [batch.targets[batch.branches == place].tolist() for place in range(len(pieces))]
    return learnt, float(loss), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("adapter", [True, False], ids=["lora", "full"])
def test_one_step(adapter: bool, tmp_path: Path) -> None:
    model, made = build(adapter), tokenizer(template=SAME)
    rows = [
        {"prompt": [{"role": "user", "content": q}], "completion": [{"role": "assistant", "content": a}]}
        for q, a in zip(QUESTIONS, ANSWERS, strict=True)
    ]
    seen: dict[str, Any] = {}

    class Trainer(trl.SFTTrainer):  # type: ignore[misc, name-defined]
        def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            seen["labels"] = inputs["labels"].clone()
            loss = super().training_step(model, inputs, *args, **kwargs)
            seen["loss"] = float(loss)
            seen["grads"] = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
            return loss

    settings = trl.SFTConfig(
        output_dir=str(tmp_path),
        per_device_train_batch_size=len(rows),
        max_steps=1,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        eos_token="<|im_end|>",
        dataset_num_proc=None,
    )
    Trainer(
        model=model, args=settings, train_dataset=datasets.Dataset.from_list(rows), processing_class=made
    ).train()
    learnt, loss, grads = ours(adapter)
    theirs = [[token for token in row.tolist() if token != -100] for row in seen["labels"]]
    assert sorted(theirs) == sorted(learnt)
    assert abs(loss - seen["loss"]) < 1e-5
    assert grads.keys() == seen["grads"].keys()
    for name, grad in seen["grads"].items():
        torch.testing.assert_close(grads[name], grad, atol=1e-4, rtol=1e-4)
