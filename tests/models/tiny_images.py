"""Tiny models of images and images of three colours, drawn here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image

COLORS = ("blue", "green", "red")
_VIT: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 16,
    "patch_size": 4,
    "hidden_dropout_prob": 0.1,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "ViT": _VIT,
    "Dinov2": _VIT,
    "Swin": {
        "image_size": 16,
        "patch_size": 2,
        "embed_dim": 8,
        "depths": [1, 1],
        "num_heads": [1, 2],
        "window_size": 2,
    },
    "ConvNext": {
        "hidden_sizes": [8, 16],
        "depths": [1, 1],
        "num_stages": 2,
        "patch_size": 2,
        "image_size": 16,
    },
    "ResNet": {
        "embedding_size": 8,
        "hidden_sizes": [8, 16],
        "depths": [1, 1],
        "layer_type": "basic",
        "image_size": 16,
    },
    "Siglip": {"vision_config": _VIT},
}
"""Patches with and without a token for the whole, stages of patches, of convolutions, with norms over the
batch; a trunk under another name.
"""


def config(family: str) -> Any:
    made = getattr(transformers, f"{family}Config")(**FAMILIES[family])
    made.architectures = [f"{family}ForImageClassification"]
    return made


def save_model(folder: Path, family: str) -> Path:
    """With random weights, a head for two classes and no processor."""
    torch.manual_seed(0)
    transformers.AutoModelForImageClassification.from_config(config(family)).save_pretrained(folder)
    return folder


def draw(folder: Path, count: int, *, seed: int = 0) -> Path:
    """``count`` images of each colour, of several sizes, noisy; a folder a class."""
    random = np.random.default_rng(seed)
    for place, color in enumerate(COLORS):
        (folder / color).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = random.integers(0, 120, (12 + number % 5, 16, 3), dtype=np.uint8)
            pixels[..., 2 - place] += 100
            Image.fromarray(pixels).save(folder / color / f"{number}.png")
    return folder
