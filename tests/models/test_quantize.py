"""Four bits: the values by hand, the round trip, what is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from attune.adapters.contract import FAMILIES, base_model, logits
from attune.models import quantize

bitsandbytes = pytest.importorskip("bitsandbytes", reason="needs bitsandbytes, which is not here")

# Quantiles of the normal distribution, appendix E of arXiv 2305.14314.
NF4 = torch.tensor(
    [
        -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
        -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
        0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
        0.7229568362236023, 1.0,
    ]
)  # fmt: skip


@pytest.mark.parametrize("family", list(FAMILIES))
def test_each_number_becomes_the_nearest_quantile_of_its_block(family: str) -> None:
    base = base_model(family)
    names = quantize.matrix_names(base)
    assert len(names) == (8 if family == "gpt2" else 14)
    wholes = {name: base.get_submodule(name).weight.clone() for name in names}
    head = base.get_output_embeddings().weight.clone()
    model = quantize.dequantize(quantize.quantize(base, torch.float32))
    for name, whole in wholes.items():
        got = model.get_submodule(name).weight
        assert got.shape == whole.shape
        rows = (whole.T if family == "gpt2" else whole).contiguous().view(-1, 64)
        size = rows.abs().amax(1, keepdim=True)
        nearest = NF4[(rows / size)[..., None].sub(NF4).abs().argmin(-1)] * size
        mine = (got.T if family == "gpt2" else got).contiguous().view(-1, 64)
        # The blocks' sizes are quantised themselves, to 8 bits.
        torch.testing.assert_close(mine, nearest, atol=0.02, rtol=0.02)
        assert (mine - rows).abs().max() < 0.2 * rows.abs().max()
    assert torch.equal(model.get_output_embeddings().weight, head)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_the_round_trip_changes_no_logit_but_by_rounding(family: str) -> None:
    four = quantize.quantize(base_model(family), torch.float32)
    assert quantize.is_quantized(four)
    expected = logits(four)
    assert (expected - logits(base_model(family))).abs().max() > 1e-3
    again = quantize.dequantize(four)
    assert not quantize.is_quantized(again)
    torch.testing.assert_close(logits(again), expected, atol=1e-4, rtol=1e-4)


def test_the_codes_do_not_depend_on_the_arithmetic() -> None:
    first = quantize.quantize(base_model(), torch.float32)
    second = quantize.quantize(base_model(), torch.bfloat16)
    name = quantize.matrix_names(base_model())[0]
    assert torch.equal(first.get_submodule(name).weight.data, second.get_submodule(name).weight.data)
    assert second.get_input_embeddings().weight.dtype == torch.bfloat16


def test_weights_are_counted_as_what_they_stand_for() -> None:
    whole = sum(p.numel() for p in base_model().parameters())
    four = quantize.quantize(base_model(), torch.float32)
    assert sum(p.numel() for p in four.parameters()) < whole
    assert sum(map(quantize.num_weights, four.parameters())) == whole
    assert quantize.num_weights(nn.Parameter(torch.zeros(3, 4))) == 12


def test_the_mark(tmp_path: Path) -> None:
    assert not quantize.is_marked(tmp_path)
    quantize.mark(tmp_path)
    assert quantize.is_marked(tmp_path)
