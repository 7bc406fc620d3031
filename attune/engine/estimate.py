"""How much memory and time a step takes, from shapes alone.

Counts of one forward and backward pass over T tokens of a decoder with L layers, hidden size d, feed-forward
size f, h heads of size a and k key heads, in a dtype of s bytes (activations that autograd keeps):

    a layer    s T (  2 d (inputs of the two norms) + 2 d (their outputs) + (h + 2 k) a (q, k, v, twice for
               rotary) + h a (attention's output) + 4 f (gate, up, activated, product) )
    the head   s N d twice, and one chunk of float32 logits
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch

from ..models import memory
from ..models.adapted import Adapted, inner
from ..models.policy import Policy


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes that decide memory and time."""

    num_layers: int
    hidden: int
    feed_forward: int
    heads: int
    key_heads: int
    head_size: int
    vocabulary: int

    @classmethod
    def of(cls, config: Any) -> Shape:
        """Reads them from a transformers configuration, under any of their usual names."""
        text = config.get_text_config()
        hidden = int(text.hidden_size)
        heads = int(getattr(text, "num_attention_heads", 0) or 1)
        feed_forward = (
            getattr(text, "intermediate_size", None) or getattr(text, "n_inner", None) or 4 * hidden
        )
        return cls(
            int(text.num_hidden_layers),
            hidden,
            int(feed_forward),
            heads,
            int(getattr(text, "num_key_value_heads", None) or heads),
            int(getattr(text, "head_dim", None) or hidden // heads),
            int(text.vocab_size),
        )

    def activation_bytes(
        self, num_tokens: int, dtype_bytes: int, *, checkpointing: bool = False, frozen_layers: int = 0
    ) -> int:
        """What autograd keeps for the backward pass of ``num_tokens`` tokens; of the first ``frozen_layers``,
        before which nothing learns, it keeps nothing.
        """
        num_layers = self.num_layers - frozen_layers
        attention = (2 * (self.heads + 2 * self.key_heads) + self.heads) * self.head_size
        # float32 copies inside the norms come on top of the inputs and outputs in the arithmetic's dtype
        a_layer = num_tokens * (
            dtype_bytes * (4 * self.hidden + attention + 4 * self.feed_forward) + 8 * self.hidden
        )
        if checkpointing:
            return num_layers * num_tokens * self.hidden * dtype_bytes + a_layer
        return num_layers * a_layer

    def matrix_parameters(self) -> int:
        """Weights of the layers' matrices, which decide the arithmetic of a token."""
        attention = self.hidden * self.head_size * (2 * self.heads + 2 * self.key_heads)
        return self.num_layers * (attention + 3 * self.hidden * self.feed_forward)

    def step_flops(self, num_tokens: int, num_learnt: int, *, full: bool) -> float:
        """Float operations of forward and backward: 2 a weight and token forward, 2 for the inputs' gradient,
        and 2 more for the weights' where all weights learn.
        """
        passes = 6 if full else 4
        return (
            passes * num_tokens * self.matrix_parameters()
            + (8 if full else 4) * num_learnt * self.hidden * self.vocabulary
        )


@dataclass(frozen=True, slots=True)
class Counts:
    """What a model with its adapter consists of."""

    total: int
    trained: int
    frozen_layers: int
    """Those before the first thing that learns."""

    @classmethod
    def of(cls, model: Any) -> Counts:
        """Of a model that may have shapes and no numbers."""
        sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
        return cls(sum(n for n, _ in sizes), sum(n for n, learns in sizes if learns), _frozen_layers(model))


def _frozen_layers(model: Any) -> int:
    """How many layers stand before the first thing that learns: no gradient goes back through them."""
    if isinstance(model, Adapted):
        names = list(model.places)
    else:
        names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    head = inner(model).get_output_embeddings()
    ends = {name for name, module in inner(model).named_modules() if module is head}
    first = []
    for name in names:
        if found := re.search(r"\.(\d+)\.", name):
            first.append(int(found[1]))
        elif not (name.endswith("norm.weight") or any(end in name for end in ends)):
            return 0
    return min(first, default=0)


def checkpointing_needed(policy: Policy, num_tokens: int, device: torch.device) -> bool:
    """True where the activations of a pass would take more than four fifths of what is free."""
    free = memory.available_gib(device)
    if free is None:
        return False
    size = 2 if next(policy.base.parameters()).dtype == torch.bfloat16 else 4
    trained = sum(p.numel() for p in policy.parameters() if p.requires_grad)
    wanted = Shape.of(policy.base.config).activation_bytes(num_tokens, size) + 12 * trained
    return wanted / memory.GIB > 0.8 * free
