"""What every adapter keeps, as tests: identity at the start, only it learns, it comes back, it packs.

An adapter, ours or a stranger's, joins by subclassing with its configuration::

    class TestMine(AdapterContract):
        @pytest.fixture
        def config(self): return mine.Config()

``attach`` is taken from the module of the configuration; a test overrides it where it must.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ..data.layout import Batch, Segments, lay
from ..models.policy import Policy
from ..recipe.schema import Choice
from . import fused

VOCABULARY = 61


def base_model() -> Any:
    """A random Llama of two layers; equal calls give equal weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    settings = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
    )
    return LlamaForCausalLM(settings)


def batch() -> Batch:
    """A prompt with two branches, and a text."""
    shared = Segments([3, 4, 5], (([6, 7], [True, True]), ([8, 9, 10], [False, True, True])))
    return lay([(0, shared), (1, Segments([], (([11, 12, 13, 14], [True] * 4),)))])


class AdapterContract:
    """Subclass, and give ``config``."""

    @pytest.fixture
    def config(self) -> Choice:
        raise NotImplementedError("the subclass gives the adapter's Config")

    def attach(self, model: Any, config: Choice) -> Any:
        return importlib.import_module(type(config).__module__).attach(model, config)

    def prepared(self, config: Choice) -> Any:
        """The base with its adapter, as the engine makes it."""
        torch.manual_seed(1)
        model = self.attach(base_model(), config)
        fused.fuse(model)
        return model

    def shaken(self, config: Choice) -> Any:
        """The same after learning something."""
        model = self.prepared(config)
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for weight in learnt(model).values():
                weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)
        return model

    def test_identity_at_the_start(self, config: Choice) -> None:
        expected, got = logits(base_model()), logits(self.prepared(config))
        torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)

    def test_only_it_learns_and_in_float32(self, config: Choice) -> None:
        model = self.shaken(config)
        weights = learnt(model)
        assert weights
        before = {name: p.clone() for name, p in model.named_parameters() if name not in weights}
        Policy(model)(batch()).sum().backward()
        for name, weight in model.named_parameters():
            assert (weight.grad is not None) == (name in weights), name
        for name, weight in weights.items():
            assert weight.dtype == torch.float32
            assert weight.grad is not None
            assert weight.grad.abs().sum() > 0, name
        assert all(torch.equal(p, before[name]) for name, p in model.named_parameters() if name in before)

    def test_packed_equals_padded(self, config: Choice) -> None:
        packed, padded = Policy(self.shaken(config)), Policy(self.shaken(config), packing=False)
        assert packed.packs, packed.reason
        torch.testing.assert_close(packed(batch()), padded(batch()), atol=1e-5, rtol=1e-5)

    def test_what_is_saved_comes_back_bit_exact(self, config: Choice, tmp_path: Path) -> None:
        model = self.shaken(config).eval()
        model.save_pretrained(tmp_path)
        loaded = self.load(tmp_path)
        found = dict(loaded.named_parameters())
        for name, weight in learnt(model).items():
            assert torch.equal(found[name], weight), name
        # Theirs is other arithmetic over the same numbers.
        torch.testing.assert_close(logits(loaded), logits(model), atol=1e-5, rtol=1e-5)

    def load(self, folder: Path) -> Any:
        """What transformers and PEFT make of the folder; neither knows attune."""
        from peft import PeftModel
        from transformers import LlamaForCausalLM

        if (folder / "adapter_config.json").is_file():
            return PeftModel.from_pretrained(base_model(), folder)
        return LlamaForCausalLM.from_pretrained(folder)

    def test_disabled_equals_the_base(self, config: Choice) -> None:
        model = self.shaken(config)
        if not hasattr(model, "disable_adapter"):
            pytest.skip("this method changes the base itself")
        assert not torch.equal(logits(model), logits(base_model()))
        with model.disable_adapter():
            assert torch.equal(logits(model), logits(base_model()))

    def test_equal_seeds_give_equal_starts(self, config: Choice) -> None:
        first, second = learnt(self.prepared(config)), learnt(self.prepared(config))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)


def learnt(model: Any) -> dict[str, torch.nn.Parameter]:
    """The parameters that learn, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


@torch.no_grad()
def logits(model: Any) -> Tensor:
    ids = torch.arange(3, 15)[None]
    output: Tensor = model.eval()(ids).logits
    return output
