"""Virtual tokens in a layout, by hand."""

from __future__ import annotations

import torch

from attune.data.layout import Layout
from attune.models.virtual import widened


def test_they_stand_before_each_segment_without_a_parent() -> None:
    """A prompt of 3 with branches of 2 and 1, and a text of 4; two virtual tokens."""
    wide, shift = widened(Layout((3, 2, 1, 4), (-1, 0, 0, -1)), 2)
    assert wide == Layout((5, 2, 1, 6), (-1, 0, 0, -1))
    assert shift.tolist() == [2, 2, 2, 2, 2, 2, 4, 4, 4, 4]
    assert wide.positions().tolist() == [0, 1, 2, 3, 4, 5, 6, 5, 0, 1, 2, 3, 4, 5]
    old = torch.arange(10)
    assert (old + shift).tolist() == [2, 3, 4, 5, 6, 7, 10, 11, 12, 13]
