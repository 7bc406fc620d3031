"""A model as the engine sees it: log-probabilities of a batch's learnt tokens, packed where that is exact.

Packing is decided by a probe, not by a list of models: a tiny packed batch is compared with the same examples
one by one, and must not change when a stranger in the pack does. A model that fails runs on padded rows
behind the same interface, and says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..data.layout import Batch, Segments, lay
from . import attention
from .logps import Head, logps, logps_through

Tensors = dict[str, Any]


class Policy(nn.Module):
    """``model`` may carry adapters. ``packs`` tells the layout in use, ``reason`` why it is not packed."""

    def __init__(self, model: Any, *, packing: bool = True) -> None:
        super().__init__()
        self.model = model
        self.base = model.get_base_model() if hasattr(model, "peft_config") else model
        self.head: Head | None = None
        self.packs = False
        self.reason = "train.packing=off"
        current = self.base.config._attn_implementation
        self._own_attention = "sdpa" if current == attention.NAME else current
        attention.register()
        self._set_attention(self._own_attention)
        self._probe(packing)

    @property
    def device(self) -> torch.device:
        parameter: Tensor = next(self.base.parameters())
        return parameter.device

    def forward(self, batch: Batch) -> Tensor:
        """Log-probabilities of the learnt tokens, float32 ``[n]``."""
        batch = batch.to(self.device)
        inputs, rows, columns = self._packed(batch) if self.packs else self._padded(batch)
        if self.head is None:
            logits: Tensor = self.base(**inputs, use_cache=False).logits[rows, columns].float()
            return logits.log_softmax(-1).gather(1, batch.targets[:, None])[:, 0]
        hidden = self.base.base_model(**inputs, use_cache=False).last_hidden_state[rows, columns]
        layer = self.base.get_output_embeddings()
        if type(layer) is nn.Linear:
            head = Head(layer.weight, layer.bias, self.head.scale, self.head.softcap)
            return logps(hidden, batch.targets, head)
        # An adapter sits on the head: its own forward is the only truth about it.
        return logps_through(layer, hidden, batch.targets, self.head.scale, self.head.softcap)

    def _packed(self, batch: Batch) -> tuple[Tensors, Any, Tensor]:
        inputs = {"input_ids": batch.ids[None], "position_ids": batch.positions[None], "layout": batch.layout}
        return inputs, 0, batch.sources

    def _padded(self, batch: Batch) -> tuple[Tensors, Any, Tensor]:
        """One row a branch, padded on the right; a learnt token's place there is its source's position."""
        rows = []
        segments = batch.ids.split(batch.layout.lengths)  # type: ignore[no-untyped-call]
        parents = set(batch.layout.parents)
        for place, parent in enumerate(batch.layout.parents):
            if place not in parents:
                rows.append(
                    torch.cat((segments[parent], segments[place])) if parent >= 0 else segments[place]
                )
        ids = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=0)
        lengths = torch.tensor([len(row) for row in rows], device=ids.device)
        mask = (torch.arange(ids.shape[1], device=ids.device)[None] < lengths[:, None]).long()
        return {"input_ids": ids, "attention_mask": mask}, batch.branches, batch.positions[batch.sources]

    @torch.no_grad()
    def _probe(self, packing: bool) -> None:
        """Decides head and layout on a few tokens; leaves the model's mode and random state alone."""
        modes = [(module, module.training) for module in self.base.modules()]
        self.base.eval()
        probe, twin = _probe_batches(self.base.config.get_text_config().vocab_size)
        tolerance = 1e-3 if next(self.base.parameters()).dtype == torch.float32 else 0.25
        expected = self(probe)
        self.head = _find_head(self.base)
        if self.head is not None and not _close(self(probe), expected, tolerance):
            self.head = None
        if packing:
            self.reason = self._try_packing(probe, twin, expected, tolerance)
        if not self.packs:
            self._set_attention(self._own_attention)
        for module, was_training in modes:
            module.training = was_training

    def _try_packing(self, probe: Batch, twin: Batch, expected: Tensor, tolerance: float) -> str:
        """Turns packing on where it is exact; otherwise the reason why not."""
        try:
            self._set_attention(attention.NAME)
            self.packs = True
            got, changed = self(probe), self(twin)
        except (TypeError, ValueError, RuntimeError, AttributeError, KeyError, IndexError) as error:
            self.packs = False
            return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:160]
        mine = (probe.branches == 0).to(got.device)
        if not _close(got, expected, tolerance):
            self.packs = False
            return f"packed and single log-probabilities differ by {(got - expected).abs().max():.2g}"
        if not torch.allclose(got[mine], changed[mine], atol=1e-6, rtol=0):
            self.packs = False
            return "an example sees its neighbour in the pack"
        return ""

    def _set_attention(self, name: str) -> None:
        if self.base.config._attn_implementation != name:
            self.base.set_attn_implementation(name)

    def own_attention(self) -> None:
        """Gives the model its own attention back, for saving and for generation."""
        self._set_attention(self._own_attention)


def _find_head(base: Any) -> Head | None:
    """The head as the configuration describes it; the probe finds out whether the description is complete."""
    layer = base.get_output_embeddings()
    if layer is None or not isinstance(getattr(layer, "weight", None), Tensor) or base.base_model is base:
        return None
    config = base.config.get_text_config()
    scale = 1.0
    if getattr(config, "logits_scaling", None):
        scale = 1.0 / config.logits_scaling
    elif getattr(config, "logit_scale", None):
        scale = float(config.logit_scale)
    return Head(
        layer.weight, getattr(layer, "bias", None), scale, getattr(config, "final_logit_softcapping", None)
    )


def _close(got: Tensor, expected: Tensor, tolerance: float) -> bool:
    return bool(torch.isfinite(got).all()) and bool((got - expected).abs().max() < tolerance)


@dataclass(frozen=True, slots=True)
class _Tokens:
    """Different small ids that exist in any vocabulary."""

    size: int

    def take(self, start: int, count: int) -> list[int]:
        return [3 + (start * 7 + place * 5) % max(1, min(self.size, 211) - 4) for place in range(count)]


def _probe_batches(vocab_size: int) -> tuple[Batch, Batch]:
    """Three examples, one of them with two branches; the twin differs in all but the first example."""
    tokens = _Tokens(vocab_size)

    def examples(shift: int) -> Batch:
        first = Segments(tokens.take(1, 5), ((tokens.take(2, 4), [True] * 4),))
        second = Segments(
            tokens.take(3 + shift, 6),
            tuple((tokens.take(at + shift, 3 + at % 2), [True] * (3 + at % 2)) for at in (4, 5)),
        )
        third = Segments((), ((tokens.take(6 + shift, 7), [True] * 7),))
        return lay([(0, first), (1, second), (2, third)])

    return examples(0), examples(9)
