"""QLoRA on the CPU, for real; skipped where bitsandbytes is absent."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from attune.adapters import qlora
from attune.adapters.contract import AdapterContract, base_model
from attune.adapters.method import Method
from attune.models import quantize
from attune.recipe.errors import RecipeError


class TestQlora(AdapterContract):
    @pytest.fixture
    def config(self) -> Method:
        pytest.importorskip("bitsandbytes", reason="needs bitsandbytes, which is not here")
        return qlora.Config(rank=4)

    def reference(self, family: str) -> Any:
        return quantize.quantize(base_model(family), torch.float32)

    def test_merged_equals_the_forward(self, config: Method, family: str) -> None:
        pytest.skip("merging needs the base dequantised first: tests/models/test_quantize.py")


def test_without_bitsandbytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"needs bitsandbytes.*pip install 'attune\[qlora\]'"):
        qlora.attach(base_model(), qlora.Config())
