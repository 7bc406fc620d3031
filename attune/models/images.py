"""A model of images as the engine sees it: a pack is a batch of images, and gives a row of scores each.

Nothing is packed or padded: all images have one size. They are read from their files here, one pack at a
time, by the reader that is saved with the model, so that training and inference see the same pixels.

Norms over a batch (ResNet's) average over the images of one pass and keep running means for inference.
Where such a norm learns, its means do; where it is frozen, so are they: else an adapter's base would not be
the base any more.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..data.images import ImageReader
from ..data.layout import Batch
from . import trunk
from .policy import Policy, Pooling

_FIRST_TOKENS = ("cls_token", "class_embedding")
"""Names of the parameter of a trunk that has a token for the whole image, which is its first."""


class ImagePolicy(Policy):
    """``model`` gives scores of images and may carry adapters."""

    def __init__(self, model: Any, reader: ImageReader) -> None:
        super().__init__(model, packing=False)
        self.reader = reader

    def settle(self, packing: bool, packs: bool | None) -> None:
        """There is but one way to lay images."""
        del packing, packs
        self.packs, self.reason = True, ""

    @property
    def layout(self) -> str:
        return "images"

    @property
    def poolings(self) -> tuple[Pooling, ...]:
        names = (name.rpartition(".")[2] for name, _ in self.base.named_parameters())
        return ("mean", "cls") if any(name in _FIRST_TOKENS for name in names) else ("mean",)

    @property
    def num_layers(self) -> int:
        """Found by a look at a blank image: trunks count their stages in many ways."""
        blank = torch.zeros(1, 3, *self.reader.size)
        return len(self._layers(blank)) - 1

    def train(self, mode: bool = True) -> ImagePolicy:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BatchNorm) and not _learns(module):
                module.eval()
        return self

    def scores(self, batch: Batch) -> Tensor:
        found: Tensor = self.model(pixel_values=self._ready(self.reader.pixels(batch.images))).logits
        return found.float()

    def token_states(self, batch: Batch) -> tuple[Tensor, ...]:
        """Of every layer, the embeddings first, the states at the places of each image, ``[n, places, d]``;
        of the last layer as the head gets them.
        """
        return self._layers(self.reader.pixels(batch.images))

    @torch.no_grad()
    def _layers(self, pixels: Tensor) -> tuple[Tensor, ...]:
        was_training = self.training
        self.eval()
        found = trunk.of(self.base)(pixel_values=self._ready(pixels), output_hidden_states=True)
        self.train(was_training)
        states = list(found.hidden_states)
        if states[-1].shape == found.last_hidden_state.shape:
            states[-1] = found.last_hidden_state
        return tuple(state if state.ndim == 3 else state.flatten(2).transpose(1, 2) for state in states)

    def _ready(self, pixels: Tensor) -> Tensor:
        return pixels.to(self.device, next(self.base.parameters()).dtype)


def policy_of(model: Any, reader: Any, *, packing: bool = True, packs: bool | None = None) -> Policy:
    """``model`` as the engine sees it; ``reader``: its tokenizer, or an ``ImageReader``."""
    if isinstance(reader, ImageReader):
        return ImagePolicy(model, reader)
    return Policy(model, packing=packing, packs=packs)


def statistics(model: nn.Module) -> dict[str, Tensor]:
    """The running means of the norms that learn, by name: what a step changes besides the weights."""
    return {
        f"{place}.{name}": buffer
        for place, module in model.named_modules()
        if isinstance(module, _BatchNorm) and _learns(module)
        for name, buffer in module.named_buffers(recurse=False)
    }


def _learns(norm: _BatchNorm) -> bool:
    return any(parameter.requires_grad for parameter in norm.parameters())
