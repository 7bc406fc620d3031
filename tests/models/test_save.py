"""What is saved is an ordinary folder, whole or not there, that stops where it was trained to stop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from attune.adapters import fused, lora
from attune.data.template import ChatTemplate
from attune.models.folders import base_of
from attune.models.load import load_for_inference
from attune.models.save import save
from attune.recipe.schema import Model

from ..data.tiny import tokenizer
from .tiny import SIZES

IDS = torch.arange(5, 20)[None]


def base_model() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**{**SIZES, "vocab_size": len(TOKENIZER)})).eval()


TOKENIZER = tokenizer()
TEMPLATE = ChatTemplate.load(TOKENIZER)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    save(base_model(), TOKENIZER, TEMPLATE, tmp_path / "base")
    return tmp_path / "base"


def tuned_model() -> Any:
    model = lora.attach(base_model(), lora.Config(rank=4))
    fused.fuse(model)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=generator) * 0.2)
    return model.eval()


def test_a_whole_model_comes_back(base: Path) -> None:
    loaded = AutoModelForCausalLM.from_pretrained(base)
    assert torch.equal(loaded(IDS).logits, base_model()(IDS).logits)
    again = AutoTokenizer.from_pretrained(base)
    assert again.chat_template == TOKENIZER.chat_template
    assert again("What?")["input_ids"] == TOKENIZER("What?")["input_ids"]


def test_generation_stops_at_the_learnt_stop(base: Path, tmp_path: Path) -> None:
    settings = json.loads((base / "generation_config.json").read_text())
    assert settings["eos_token_id"] == sorted(TEMPLATE.stop_ids)
    assert settings["pad_token_id"] is not None
    save(tuned_model(), TOKENIZER, TEMPLATE, tmp_path / "a", str(base))
    assert json.loads((tmp_path / "a" / "generation_config.json").read_text())["eos_token_id"] == sorted(
        TEMPLATE.stop_ids
    )
    assert load_for_inference(str(tmp_path / "a"), "cpu").template.stop_ids >= TEMPLATE.stop_ids


def test_peft_loads_our_adapter(base: Path, tmp_path: Path) -> None:
    model = tuned_model()
    save(model, TOKENIZER, TEMPLATE, tmp_path / "a", str(base))
    settings = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert (settings["r"], settings["lora_alpha"], settings["base_model_name_or_path"]) == (4, 8, str(base))
    assert not (tmp_path / "a" / "README.md").exists()
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "a").eval()
    expected = model(IDS).logits
    assert not torch.allclose(expected, base_model()(IDS).logits, atol=1e-2)
    torch.testing.assert_close(theirs(IDS).logits, expected, atol=1e-5, rtol=1e-5)


def test_an_adapter_of_peft_loads_here(base: Path, tmp_path: Path) -> None:
    theirs = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base),
        LoraConfig(r=2, lora_alpha=5, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"),
    )
    optimizer = torch.optim.SGD([p for p in theirs.parameters() if p.requires_grad], 0.5)
    for _ in range(2):
        theirs(IDS, labels=IDS).loss.backward()
        optimizer.step()
    theirs.eval().save_pretrained(tmp_path / "a")
    loaded = load_for_inference(str(tmp_path / "a"), "cpu")
    assert torch.equal(loaded.model(IDS).logits, theirs(IDS).logits)
    assert loaded.base == str(base)


def test_a_failed_save_leaves_the_old_one_whole(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in base.iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TOKENIZER, "save_pretrained", full)
    with pytest.raises(OSError, match="No space"):
        save(base_model(), TOKENIZER, TEMPLATE, base)
    assert {path.name: path.read_bytes() for path in base.iterdir()} == before
    assert [path.name for path in base.parent.iterdir()] == ["base"]


def test_saving_again_replaces(base: Path) -> None:
    (base / "stale.bin").write_text("old")
    save(base_model(), TOKENIZER, TEMPLATE, base)
    assert not (base / "stale.bin").exists()
    assert [path.name for path in base.parent.iterdir()] == ["base"]


def test_a_text_model_has_no_template(tmp_path: Path) -> None:
    save(base_model(), TOKENIZER, None, tmp_path / "m")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "m").vocab_size == len(TOKENIZER)


@pytest.mark.parametrize("is_adapter", [False, True])
def test_sampling_options_without_sampling_do_not_end_a_run(
    is_adapter: bool, base: Path, tmp_path: Path
) -> None:
    """Llama 2's folder has them; transformers refuses to write what it has read itself."""
    settings = json.loads((base / "generation_config.json").read_text())
    (base / "generation_config.json").write_text(json.dumps({**settings, "temperature": 0.9, "top_p": 0.6}))
    model = AutoModelForCausalLM.from_pretrained(base)
    if is_adapter:
        model = lora.attach(model, lora.Config(rank=2))
    save(model, TOKENIZER, TEMPLATE, tmp_path / "a", str(base))
    written = json.loads((tmp_path / "a" / "generation_config.json").read_text())
    assert written["eos_token_id"] == sorted(TEMPLATE.stop_ids)
    assert written["pad_token_id"] == settings["pad_token_id"]
    assert "temperature" not in written


def test_the_revision_of_the_base_is_kept(base: Path, tmp_path: Path) -> None:
    save(tuned_model(), TOKENIZER, TEMPLATE, tmp_path / "a", "owner/name", "v2")
    assert base_of(tmp_path / "a" / "adapter_config.json") == Model(path="owner/name", revision="v2")
    save(tuned_model(), TOKENIZER, TEMPLATE, tmp_path / "a", str(base))
    assert base_of(tmp_path / "a" / "adapter_config.json") == Model(path=str(base))
