"""Loading: every way in, and every bad input in words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from attune.models.inputs import load_tokenizer, quiet
from attune.models.load import load_config, load_for_inference, load_weights, resolve_run
from attune.recipe.errors import ModelError
from attune.recipe.schema import Model

from ..data.tiny import tokenizer
from .tiny import SIZES, build, config


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-base"
    made = tokenizer()
    settings = config("llama")
    settings.vocab_size = len(made)
    torch.manual_seed(0)
    quiet()
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_config(settings).save_pretrained(folder)
    made.save_pretrained(folder)
    return folder


def save_adapter(base: Path, folder: Path) -> Any:
    model = load_weights(Model(path=str(base)), load_config(Model(path=str(base))), torch.float32)
    tuned = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    tuned.peft_config["default"].base_model_name_or_path = str(base)
    tuned.save_pretrained(folder)
    return tuned


def words(call: Callable[[], object]) -> str:
    with pytest.raises(ModelError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_missing_folder_names_the_nearest(base: Path) -> None:
    wrong = str(base.parent / "tiny-bsae")
    text = words(lambda: load_config(Model(path=wrong)))
    assert text == f"No model at {wrong}. Did you mean {base}?"
    assert "No model at ./absent/x/y." in words(lambda: load_tokenizer(Model(path="./absent/x/y")))
    assert "No model at absent.json." in words(lambda: load_config(Model(path="absent.json")))


def test_a_folder_without_config(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    text = words(lambda: load_config(Model(path=str(tmp_path))))
    assert "holds no config.json: it is no model folder. It holds: notes.txt." in text
    assert "It holds: -." in words(lambda: load_config(Model(path=str(make(tmp_path / "empty")))))


def make(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_a_folder_with_only_a_tokenizer_is_no_model(tmp_path: Path) -> None:
    tokenizer().save_pretrained(tmp_path)
    assert "holds no config.json" in words(lambda: load_config(Model(path=str(tmp_path))))
    assert len(load_tokenizer(Model(path="x", tokenizer=str(tmp_path))))


def test_a_folder_without_weights(base: Path, tmp_path: Path) -> None:
    shutil.copy(base / "config.json", tmp_path)
    model = Model(path=str(tmp_path))
    text = words(lambda: load_weights(model, load_config(model), torch.float32))
    assert f"{tmp_path} has a config.json but no weights (*.safetensors)." in text
    assert f"--model {tmp_path}/config.json" in text


def test_damaged_weights(base: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(base, tmp_path / "m"))
    (folder / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    model = Model(path=str(folder))
    text = words(lambda: load_weights(model, load_config(model), torch.float32))
    assert f"The model {folder} cannot be loaded:" in text


def test_weights_that_do_not_fit_the_configuration(base: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(base, tmp_path / "m"))
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "intermediate_size": 64}))
    model = Model(path=str(folder))
    text = words(lambda: load_weights(model, load_config(model), torch.float32))
    assert f"The model {folder} cannot be loaded:" in text


def test_a_broken_or_unknown_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    assert "cannot be loaded" in words(lambda: load_config(Model(path=str(tmp_path))))
    (tmp_path / "config.json").write_text('{"model_type": "of_tomorrow"}')
    assert "cannot be loaded" in words(lambda: load_config(Model(path=str(tmp_path))))


def test_a_folder_without_tokenizer(base: Path, tmp_path: Path) -> None:
    shutil.copy(base / "config.json", tmp_path)
    text = words(lambda: load_tokenizer(Model(path=str(tmp_path))))
    assert f"tokenizer in {tmp_path}" in text
    assert "model.tokenizer=<folder or id>" in text


def test_a_file_is_no_model(base: Path) -> None:
    text = words(lambda: load_config(Model(path=str(base / "model.safetensors"))))
    assert "is a file. A model is a folder (with config.json), a hub id, or a config.json" in text


def test_an_encoder_decoder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "t5", "is_encoder_decoder": true}')
    text = words(lambda: load_config(Model(path=str(tmp_path))))
    assert "is an encoder-decoder (t5); attune trains decoder-only causal language models." in text


def test_a_hub_id_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    text = words(lambda: load_config(Model(path="nobody/no-such-model")))
    assert "The model nobody/no-such-model cannot be loaded:" in text
    assert "a hub id that this machine can reach (HF_ENDPOINT sets a mirror)" in text


def test_random_weights_by_seed(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**SIZES, "model_type": "llama"}))
    model = Model(path=str(path))
    made = [load_weights(model, load_config(model), torch.float32, seed=seed) for seed in (1, 1, 2)]
    first, same, other = (next(m.parameters()) for m in made)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert load_weights(model, load_config(model), torch.bfloat16).dtype == torch.bfloat16


def test_random_weights_in_half_precision_keep_their_positions_exact(tmp_path: Path) -> None:
    """Rotary frequencies are a buffer, and no weight."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**SIZES, "model_type": "llama", "dtype": "bfloat16"}))
    wanted = Model(path=str(path))
    half = load_weights(wanted, load_config(wanted), torch.bfloat16)
    whole = load_weights(wanted, load_config(wanted), torch.float32)
    assert half.lm_head.weight.dtype == torch.bfloat16
    assert half.model.rotary_emb.inv_freq.dtype == torch.float32
    assert torch.equal(half.lm_head.weight, whole.lm_head.weight.bfloat16())
    assert not torch.equal(whole.lm_head.weight, half.lm_head.weight.float()), "drawn in float32"


def test_weights_in_the_wanted_precision(base: Path) -> None:
    model = Model(path=str(base))
    for dtype in (torch.float32, torch.bfloat16):
        assert load_weights(model, load_config(model), dtype).dtype == dtype


def test_a_model_folder_for_inference(base: Path) -> None:
    loaded = load_for_inference(str(base), "cpu")
    assert (loaded.path, loaded.base) == (str(base), None)
    assert not loaded.model.training
    assert not any(p.requires_grad for p in loaded.model.parameters())
    assert loaded.template.stop == "<|im_end|>"


def test_adapters_and_runs_for_inference(base: Path, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "x"
    tuned = save_adapter(base, run / "final")
    expected = tuned.eval()(torch.tensor([[5, 6, 7]])).logits
    for path in (run / "final", run):
        loaded = load_for_inference(str(path), "cpu")
        assert (loaded.path, loaded.base) == (str(run / "final"), str(base))
        assert torch.equal(loaded.model(torch.tensor([[5, 6, 7]])).logits, expected)
    assert loaded.tokenizer.chat_template  # the base's, where the adapter has none


def test_an_unfinished_run(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    assert f"The run {tmp_path} is not finished: run its command again" in words(
        lambda: resolve_run(str(tmp_path))
    )


def test_an_adapter_that_does_not_fit_its_base(base: Path, tmp_path: Path) -> None:
    save_adapter(base, tmp_path / "a")
    settings = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    for change in ({"target_modules": ["nothing"]}, {"r": 3}):
        (tmp_path / "a" / "adapter_config.json").write_text(json.dumps({**settings, **change}))
        text = words(lambda: load_for_inference(str(tmp_path / "a"), "cpu"))
        assert f"The adapter {tmp_path / 'a'} does not fit its base {base}:" in text


def test_an_adapter_folder_that_is_damaged_or_has_lost_its_base(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    save_adapter(base, folder)
    settings = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(
        json.dumps({**settings, "base_model_name_or_path": "/gone/base"})
    )
    assert "The base /gone/base of the adapter" in words(lambda: load_for_inference(str(folder), "cpu"))
    for broken in ("{", "[]", "{}"):
        (folder / "adapter_config.json").write_text(broken)
        assert "adapter_config.json names no base model" in words(
            lambda: load_for_inference(str(folder), "cpu")
        )
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    (folder / "adapter_model.safetensors").write_bytes(b"cut")
    assert "does not fit its base" in words(lambda: load_for_inference(str(folder), "cpu"))


def test_build_is_repeatable() -> None:
    assert torch.equal(next(build("llama").parameters()), next(build("llama").parameters()))
