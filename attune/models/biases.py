"""Biases that a merged model has and its architecture may lack: the configuration makes room, or nothing."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..recipe.errors import ModelError
from ..recipe.messages import join, say

_FLAGS = ("attention_bias", "mlp_bias", "qkv_bias", "use_bias", "use_qkv_bias")
"""Words of transformers' configurations for biases that an architecture can have or lack."""


def make_room(model: Any) -> None:
    """Turns on what the configuration needs for ``model`` to be loaded with the biases that it has; a bias
    that comes with that and that the model lacks is zero.

    Raises ModelError where the architecture has no place for one, with the matrices that it has a place for.
    """
    config = model.config.get_text_config()
    new = _biases(model) - _possible(model)
    for flag in _FLAGS:
        if new and getattr(config, flag, None) is False:
            setattr(config, flag, True)
            before, new = new, new - _possible(model)
            if new == before:
                setattr(config, flag, False)
    if new:
        without = sorted({name.split(".")[-2] for name in new})
        possible = sorted({name.split(".")[-2] for name in _possible(model)})
        raise ModelError(
            say(
                "{kind} has no place for a bias on {without} (it has one on: {possible}), so there is no "
                "ordinary "
                "model to merge into. Use the adapter's folder as it is, or train with "
                "adapter.target_modules="
                "[{possible}].",
                "{kind} 的 {without} 没有偏置的位置（有位置的是：{possible}），因此无法合并成普通模型。"
                "请直接使用适配器文件夹，或训练时设 adapter.target_modules=[{possible}]。",
                kind=model.config.model_type,
                without=join(without),
                possible=", ".join(possible) or "-",
            )
        )
    for name in _possible(model) - _biases(model):
        layer = model.get_submodule(name.rpartition(".")[0])
        layer.bias = nn.Parameter(torch.zeros_like(layer.weight[:, 0]), requires_grad=False)


def _biases(model: Any) -> set[str]:
    return {name for name, _ in model.named_parameters() if name.endswith(".bias")}


def _possible(model: Any) -> set[str]:
    """The biases of a new model of this configuration, which is made of shapes only."""
    with torch.device("meta"):
        return _biases(type(model)(model.config))
