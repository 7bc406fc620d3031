"""Adapters of ours: modules beside a frozen base that change what some of its layers give.

PEFT has no place for a stranger's method in its file format, so ours have a folder of their own: the weights
as safetensors, and ``adapter_config.json`` with the method's name and options. ``Adapted`` answers to the
part of PEFT's interface that attune uses; the layers of the base are not replaced, only listened to.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..recipe import plugs
from ..recipe.errors import ModelError
from ..recipe.messages import join, say
from . import trunk

MARK = "attune_adapter"
"""The key of ``adapter_config.json`` that names a method of ours, where PEFT's file has ``peft_type``."""

WEIGHTS = "adapter_model.safetensors"


class Part(nn.Module):
    """Changes the output of one layer. A subclass gives ``forward(output)``; a layer that gives a tuple is
    changed in its first member.
    """

    is_on = True

    def hook(self, layer: nn.Module, inputs: Any, output: Any) -> Any:
        """What the layer gives instead; None leaves it alone."""
        del layer, inputs
        if not self.is_on:
            return None
        if isinstance(output, tuple):
            return (self(output[0]), *output[1:])
        return self(output)

    def fold(self, layer: nn.Module) -> None:
        """Puts the change into the layer's own weights. Raises ModelError where it is more than weights."""
        raise NotImplementedError


class Adapted(nn.Module):
    """``base`` with ``parts`` by the names of its layers; ``settings`` is the method's Config as a mapping,
    with its name.
    """

    def __init__(self, base: Any, parts: Mapping[str, Part], settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.places = tuple(parts)
        self.parts = nn.ModuleList(parts.values())
        self.settings = dict(settings)
        self.base_path: str | None = None
        self.revision: str | None = None
        self._hooks = [
            base.get_submodule(place).register_forward_hook(part.hook) for place, part in parts.items()
        ]

    @property
    def config(self) -> Any:
        return self.base.config

    @property
    def device(self) -> torch.device:
        found: torch.device = self.base.device
        return found

    @property
    def generation_config(self) -> Any:
        return self.base.generation_config

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.base(*args, **kwargs)

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """The base's, with the parts at work in it."""
        return self.base.generate(*args, **kwargs)

    def get_base_model(self) -> Any:
        """The transformers model."""
        return self.base

    @contextlib.contextmanager
    def disable_adapter(self) -> Iterator[None]:
        """Inside, the model is its base."""
        before = [part.is_on for part in self._parts()]
        for part in self._parts():
            part.is_on = False
        try:
            yield
        finally:
            for part, was_on in zip(self._parts(), before, strict=True):
                part.is_on = was_on

    @torch.no_grad()
    def merge_and_unload(self) -> Any:
        """The base with every part folded into its weights. Raises ModelError where that cannot be."""
        for place, part in zip(self.places, self._parts(), strict=True):
            part.fold(self.base.get_submodule(place))
        for hook in self._hooks:
            hook.remove()
        return self.base

    def tensors(self) -> dict[str, Tensor]:
        """What is learnt, by the layer's name and the part's own."""
        return {
            f"{place}.{name}": tensor
            for place, part in zip(self.places, self._parts(), strict=True)
            for name, tensor in part.state_dict().items()
        } | self._head()

    def save_pretrained(self, folder: str | Path, **_: Any) -> None:
        """Writes the folder that ``load`` reads."""
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        options = {key: value for key, value in self.settings.items() if key != "name"}
        known = {
            MARK: self.settings["name"],
            "options": options,
            "base_model_name_or_path": self.base_path,
            "revision": self.revision,
        }
        text = json.dumps(known, ensure_ascii=False, indent=2, sort_keys=True)
        (place / "adapter_config.json").write_text(text + "\n", encoding="utf-8")
        tensors = {name: tensor.detach().contiguous() for name, tensor in self.tensors().items()}
        save_file(tensors, place / WEIGHTS, metadata={"format": "pt"})

    def _head(self) -> dict[str, Tensor]:
        """The head of a model that scores learns whole beside the parts; one that speaks has none to keep."""
        found = trunk.head(self.base) if trunk.is_scoring(self.base) else {}
        return {
            f"{place}.{name}": tensor
            for place, module in found.items()
            for name, tensor in module.state_dict().items()
        }

    def _parts(self) -> list[Part]:
        return [part for part in self.parts if isinstance(part, Part)]


def is_adapter(model: Any) -> bool:
    """True for a base with an adapter on it, PEFT's or ours."""
    from peft import PeftModel

    return isinstance(model, Adapted | PeftModel)


def carries_adapter(model: Any) -> bool:
    """True where an adapter is on ``model`` or in its layers, whoever put it there: transformers does so by
    itself for an adapter's hub id.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    return is_adapter(model) or any(isinstance(layer, BaseTunerLayer) for layer in model.modules())


def inner(model: Any) -> Any:
    """The transformers model itself; what an adapter adds stands inside it."""
    return model.get_base_model() if is_adapter(model) else model


def is_ours(folder: str | Path) -> bool:
    """True for a folder that ``Adapted.save_pretrained`` wrote."""
    return MARK in _settings_of(Path(folder))


def load(base: Any, folder: str | Path) -> Adapted:
    """``base`` with the adapter of ``folder``: the method's own file attaches it, the weights are then read.

    Raises RecipeError for a method that is not installed, ModelError for weights that do not fit.
    """
    place = Path(folder)
    settings = _settings_of(place)
    method = plugs.find("adapters", str(settings[MARK]))
    adapted = method.attach(base, method.Config(name=settings[MARK], **settings["options"]))
    assert isinstance(adapted, Adapted)
    own, found = adapted.tensors(), load_file(place / WEIGHTS)
    unlike = sorted(
        name
        for name in own.keys() | found.keys()
        if name not in own or name not in found or own[name].shape != found[name].shape
    )
    if unlike:
        raise ModelError(
            say(
                "The adapter {place} does not fit its base: {n} tensors differ ({names}).",
                "适配器 {place} 与其基座不匹配：有 {n} 个张量不同（{names}）。",
                place=place,
                n=len(unlike),
                names=join([*unlike[:3], *(["…"] if unlike[3:] else [])]),
            )
        )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(found[name])
    return adapted


def _settings_of(folder: Path) -> dict[str, Any]:
    file = folder / "adapter_config.json"
    settings = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return settings if isinstance(settings, dict) else {}
