"""The keys and values of the rows being continued, in buffers that rows enter, leave and grow in.

transformers' ``DynamicCache`` copies all it holds for every token, and its sliding layers forget what a
cropped prompt would need again. Here a layer owns one buffer ``[rows, heads, columns, head size]``; all rows
**end at the same column** (a shorter row leaves masked columns at its left, which is left padding to the
model), so that

- a new token of every row is one slice write; the buffer is copied only when it runs full,
- a row that has finished is overwritten by the last one (``leave``), and the batch is one row smaller,
- prompts that were read in a cache of their own enter at the right end (``enter``), once for each sample,
- a sliding-window layer shows the model the last ``window - 1`` columns and keeps the rest, so ``crop`` is
  exact.

Legend: B rows, H key-value heads, T columns, D head size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PretrainedConfig
from transformers.cache_utils import (
    Cache,
    CacheLayerMixin,
    DummyLayer,
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
)


class RowLayer(CacheLayerMixin):  # type: ignore[misc]  # transformers is untyped
    """One layer's keys and values. ``window``: how far its attention looks back, or None."""

    is_croppable = True

    def __init__(self, window: int | None) -> None:
        super().__init__()
        self.window = window
        self.is_sliding = window is not None
        self.num_rows = 0
        self.start = 0
        self.end = 0

    # What a model calls -------------------------------------------------------------------------------------

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Empty buffers of the right shape, dtype and device."""
        self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Appends ``[B, H, new, D]`` and returns what the new tokens may attend to."""
        first = self._first_visible()
        if not self.is_initialized:
            # The first prompt is its own buffer: a cache that only lends its rows to another is never copied.
            self.keys, self.values, self.is_initialized = key_states, value_states, True
            self.num_rows, self.end = key_states.shape[0], key_states.shape[2]
            return key_states, value_states
        shift = first - self.start
        self._make_room(self.num_rows, left=0, right=key_states.shape[2])
        first = self.start + shift
        after = self.end + key_states.shape[2]
        self.keys[: self.num_rows, :, self.end : after] = key_states
        self.values[: self.num_rows, :, self.end : after] = value_states
        self.end = after
        return self.keys[: self.num_rows, :, first:after], self.values[: self.num_rows, :, first:after]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """(columns the next ``update`` returns, how many lie before them)."""
        first = self._first_visible()
        return self.end - first + query_length, first - self.start

    def get_seq_length(self) -> int:
        """Columns held: the length of the longest row."""
        return self.end - self.start

    def get_max_length(self) -> int:
        """No maximum."""
        return -1

    def crop(self, tokens_to_remove: int) -> None:
        """Forgets the last ``-tokens_to_remove`` columns (transformers' sign)."""
        self.end -= abs(tokens_to_remove)

    # What decode calls --------------------------------------------------------------------------------------

    def enter(self, other: RowLayer, picks: torch.Tensor) -> None:
        """Rows ``picks`` (int64; a row may occur many times) of ``other`` become the last rows here."""
        if not other.is_initialized:
            return  # layers that read another layer's keys hold none
        if not self.is_initialized:
            self.lazy_initialization(other.keys, other.values)
        width, num_rows = other.get_seq_length(), self.num_rows + len(picks)
        wider = max(0, width - self.get_seq_length())
        self._make_room(num_rows, left=wider, right=0)
        self.start -= wider
        new = slice(self.num_rows, num_rows), slice(None), slice(self.end - width, self.end)
        self.keys[new] = other.keys[picks, :, other.start : other.end]
        self.values[new] = other.values[picks, :, other.start : other.end]
        self.num_rows = num_rows

    def leave(self, holes: torch.Tensor, movers: torch.Tensor, num_rows: int, width: int) -> None:
        """``num_rows`` rows stay, the longest of ``width``: ``movers`` take the places ``holes``."""
        if not self.is_initialized:
            return
        self.start = self.end - width
        if len(holes):
            live = slice(None), slice(self.start, self.end)
            self.keys[(holes, *live)] = self.keys[(movers, *live)]
            self.values[(holes, *live)] = self.values[(movers, *live)]
        self.num_rows = num_rows

    def _first_visible(self) -> int:
        return self.start if self.window is None else max(self.start, self.end - self.window + 1)

    def _make_room(self, num_rows: int, left: int, right: int) -> None:
        """At least ``num_rows`` rows, and so many free columns before and after what is held."""
        rows, columns = max(num_rows, self.keys.shape[0]), self.keys.shape[2]
        if rows == self.keys.shape[0] and self.start >= left and self.end + right <= columns:
            return
        width = self.end - self.start
        columns = left + width + right + max(32, width // 4)
        self.keys = self._moved(self.keys, rows, columns, left)
        self.values = self._moved(self.values, rows, columns, left)
        self.start, self.end = left, left + width

    def _moved(self, old: torch.Tensor, rows: int, columns: int, left: int) -> torch.Tensor:
        # zeros, not empty: a masked column still takes part as 0 * value, and stray memory may hold NaN
        new = old.new_zeros(rows, old.shape[1], columns, old.shape[3])
        held = old[: self.num_rows, :, self.start : self.end]
        new[: self.num_rows, :, left : left + held.shape[2]] = held
        return new


class RowCache(Cache):  # type: ignore[misc]
    """``RowLayer`` for every layer of a model; ``rows_of(config)`` builds one."""

    def enter(self, other: RowCache, picks: Sequence[int]) -> None:
        """See ``RowLayer.enter``."""
        index: torch.Tensor | None = None
        for mine, theirs in zip(self.layers, other.layers, strict=True):
            if isinstance(mine, RowLayer):
                if index is None and theirs.is_initialized:
                    index = torch.tensor(picks, device=theirs.keys.device)
                if index is not None:
                    mine.enter(theirs, index)

    def leave(self, order: Sequence[int], width: int) -> None:
        """The rows become ``order`` (as ``order_without`` makes it), the longest of ``width`` columns."""
        moves = [(place, row) for place, row in enumerate(order) if place != row]
        for layer in self.layers:
            if isinstance(layer, RowLayer) and layer.is_initialized:
                holes, movers = torch.tensor(moves, device=layer.keys.device).reshape(-1, 2).T
                layer.leave(holes, movers, len(order), width)

    @property
    def width(self) -> int:
        """Columns held: the length of the longest row."""
        return max(
            (layer.get_seq_length() for layer in self.layers if isinstance(layer, RowLayer)), default=0
        )


def order_without(num_rows: int, gone: set[int]) -> list[int]:
    """Which old row stands at each new place when the last rows fill the places of those gone."""
    num_left = num_rows - len(gone)
    movers = iter(row for row in range(num_left, num_rows) if row not in gone)
    return [next(movers) if place in gone else place for place in range(num_left)]


def rows_of(config: PretrainedConfig) -> RowCache | None:
    """An empty cache for a model with this configuration.

    None where a layer remembers something other than keys and values column by column (state-space, linear
    attention, compressed or indexed keys): rows of such a model cannot be cut and joined this way.
    """
    layers: list[RowLayer | DummyLayer] = []
    for layer in DynamicCache(config=config).layers:
        # The exact class: a subclass holds further state.
        if type(layer) is DynamicSlidingWindowLayer:
            layers.append(RowLayer(layer.sliding_window))
        elif type(layer) is DynamicLayer:
            layers.append(RowLayer(None))
        elif type(layer) is DummyLayer:
            layers.append(layer)
        else:
            return None
    return RowCache(layers=layers) if layers else None
