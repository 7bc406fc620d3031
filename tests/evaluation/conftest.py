"""A saved base model and a run that tuned it with LoRA."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from tests.evaluation.tiny_run import RECORD, ROWS, save_base, tokenizer, write_lines


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("models") / "tiny-base")


@pytest.fixture
def run(tmp_path: Path, base: Path) -> Path:
    """A finished LoRA run whose adapter changes the model."""
    from peft import LoraConfig, get_peft_model

    folder = tmp_path / "runs" / "tuned"
    model = get_peft_model(
        LlamaForCausalLM.from_pretrained(base),
        LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
    )
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0.0, 0.5)
    model.save_pretrained(folder / "final")
    tokenizer().save_pretrained(folder / "final")
    (folder / "run.json").write_text(json.dumps({**RECORD, "model": str(base)}))
    (folder / "recipe.yaml").write_text(
        f"objective: sft\nmodel: {{path: {base}}}\ndata: {{train: [{{path: a.json}}], system: Be kind.}}\n"
        "adapter: {name: lora}\ngeneration: {max_new_tokens: 6}\n"
    )
    write_lines(folder / "held_out.jsonl", ROWS)
    return folder
