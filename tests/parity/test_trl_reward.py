"""TRL's RewardTrainer on the same weights and pairs: the loss and the gradients of the first step agree."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from attune.data.encode import Encoder
from attune.data.encode import Policy as Rules
from attune.data.examples import Message, Preference
from attune.data.layout import lay
from attune.data.template import ChatTemplate
from attune.models import heads
from attune.models.policy import Policy
from attune.objectives import reward

from ..data.tiny import CHATML, tokenizer
from ..models.tiny import SIZES

trl = pytest.importorskip("trl", reason="needs TRL: pip install attune[parity]")
datasets = pytest.importorskip("datasets", reason="needs datasets: pip install attune[parity]")

SAME = CHATML.replace("<|im_end|>\n", "<|im_end|>")
"""Without the newline after the stop token: TRL's row would end with it, attune's ends at the stop."""

ROWS = [
    ("What is 1 + 1?", "It is 2.", "It is 3, I think.", 1.0),
    ("请问你们几点开门？", "早上十点。", "不知道。", 0.25),
    ("Capital of France?", "Paris is the capital of France, a long answer.", "Rome", 2.0),
    ("?", "!", "Why do you ask?", 0.0),
]


def build(family: str) -> Any:
    import transformers

    torch.manual_seed(0)
    made = tokenizer(template=SAME)
    config = getattr(transformers, f"{family}Config")(
        **{**SIZES, "vocab_size": len(made), "initializer_range": 0.15}
    )
    heads.describe(config, heads.REWARD, 0, None)
    return transformers.AutoModelForSequenceClassification.from_config(config)


def ours(family: str, config: reward.Config) -> tuple[float, dict[str, torch.Tensor]]:
    made = tokenizer(template=SAME)
    encoder = Encoder(made, ChatTemplate.load(made), Rules(256))
    pieces = []
    for question, chosen, rejected, margin in ROWS:
        answers = ((Message("assistant", chosen),), (Message("assistant", rejected),))
        example = Preference((Message("user", question),), answers, margin=margin)
        pieces += encoder.encode(example).segments
    batch = lay(list(enumerate(pieces)))
    policy = Policy(build(family))
    assert policy.packs, policy.reason
    loss = reward.loss(policy.scores(batch), batch, config)[0] / reward.denominator(batch)
    loss.backward()
    return float(loss.detach()), {n: p.grad for n, p in policy.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", ["Llama", "Qwen2"])
@pytest.mark.parametrize(("margin", "center"), [(False, None), (True, 0.05)])
def test_one_step(family: str, margin: bool, center: float | None, tmp_path: Path) -> None:
    rows = [
        {
            "prompt": [{"role": "user", "content": question}],
            "chosen": [{"role": "assistant", "content": chosen}],
            "rejected": [{"role": "assistant", "content": rejected}],
            **({"margin": by} if margin else {}),
        }
        for question, chosen, rejected, by in ROWS
    ]
    seen: dict[str, Any] = {}

    class Trainer(trl.RewardTrainer):  # type: ignore[misc, name-defined]
        def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            loss = super().training_step(model, inputs, *args, **kwargs)
            seen["loss"] = float(loss)
            seen["grads"] = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
            return loss

    settings = trl.RewardConfig(
        output_dir=str(tmp_path),
        per_device_train_batch_size=len(rows),
        max_steps=1,
        max_length=256,
        center_rewards_coefficient=center,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        report_to=[],
        logging_strategy="no",
        save_strategy="no",
        disable_dropout=True,
        pad_token="<unk>" if "<unk>" in tokenizer().get_vocab() else None,
    )
    made = tokenizer(template=SAME)
    made.pad_token_id = 0
    model = build(family)
    Trainer(
        model=model, args=settings, train_dataset=datasets.Dataset.from_list(rows), processing_class=made
    ).train()
    config = reward.Config(margin_scale=1.0 if margin else 0.0, center=center or 0.0)
    loss, grads = ours(family, config)
    assert loss == pytest.approx(seen["loss"], abs=1e-5)
    assert not math.isclose(loss, math.log(2), abs_tol=1e-3)
    assert grads.keys() == seen["grads"].keys()
    for name, grad in seen["grads"].items():
        torch.testing.assert_close(grads[name], grad, atol=1e-5, rtol=1e-4)
