"""One new token over the cache: grouped heads give what transformers' own attention gives."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from attune.inference.attention import decode_attention


@pytest.mark.parametrize("num_queries", [1, 3])
@pytest.mark.parametrize("num_keys", [2, 4])
def test_it_is_transformers_attention(num_queries: int, num_keys: int) -> None:
    torch.manual_seed(0)
    query = torch.randn(3, 4, num_queries, 8)
    key, value = torch.randn(2, 3, num_keys, 7, 8)
    mask = torch.ones(3, 1, num_queries, 7, dtype=torch.bool)
    mask[1, ..., :4] = False
    module: Any = SimpleNamespace(num_key_value_groups=4 // num_keys, is_causal=True)
    ours = decode_attention(module, query, key, value, mask, scaling=0.3)[0]
    theirs = sdpa_attention_forward(module, query, key, value, mask, scaling=0.3)[0]
    assert ours.shape == theirs.shape == (3, num_queries, 4, 8)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)
