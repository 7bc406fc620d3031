"""QLoRA on the CPU, for real; skipped where bitsandbytes is absent."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from attune.adapters import lora, qlora
from attune.adapters.contract import base_model
from attune.adapters.method import Method
from attune.engine.contract import LoopContract
from attune.models import quantize
from attune.recipe.errors import RecipeError


class TestQlora(LoopContract):
    @pytest.fixture
    def config(self) -> Method:
        pytest.importorskip("bitsandbytes", reason="needs bitsandbytes, which is not here")
        return qlora.Config(rank=4)

    def reference(self, family: str) -> Any:
        return quantize.quantize(base_model(family), torch.float32)

    def to_merge(self, model: Any, config: Method, family: str) -> Any:
        """The same adapter over ordinary matrices of the same values."""
        from peft import get_peft_model_state_dict, set_peft_model_state_dict

        assert isinstance(config, qlora.Config)
        plain = lora.with_lora(quantize.dequantize(self.reference(family)), config)
        set_peft_model_state_dict(plain, get_peft_model_state_dict(model))
        return plain.eval()


def test_without_bitsandbytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"needs bitsandbytes.*pip install 'attune\[qlora\]'"):
        qlora.attach(base_model(), qlora.Config())
