"""A base in four bits (NF4 with double quantisation), and back.

Each matrix of the layers is cut into blocks of 64 numbers, each block divided by its largest, and each number
replaced by the nearest of 16 quantiles of the normal distribution; the 64ths' sizes are quantised again to
8 bits. About 0.52 bytes a weight. Dettmers et al., QLoRA, arXiv 2305.14314, section 3. The arithmetic is
bitsandbytes', on a GPU or a CPU. The head and the embeddings keep their precision, as in the paper.

The codes depend on the weights of the base's own files alone, not on the precision of the arithmetic: what
was learnt over them fits again whenever the folder is loaded.
"""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..recipe.errors import RecipeError
from ..recipe.messages import say
from . import trunk

_BLOCK = 64
BYTES_A_WEIGHT = 0.5 + 1 / _BLOCK + 4 / (_BLOCK * 256)
"""A code of 4 bits; for each 64 a size of 8 bits; for each 256 of these one in float32."""

_FILE = "quantization.json"
"""Beside an adapter that was trained over a quantised base; PEFT and vLLM take no notice of it."""
_SETTINGS = {"quant_type": "nf4", "double_quantization": True}


def quantize(model: Any, compute: torch.dtype, device: torch.device | str | None = None) -> Any:
    """Replaces the matrices of ``model`` one by one, so that both forms never lie side by side as a whole;
    the other weights become ``compute``. On ``meta`` the codes have a shape and no numbers. A model that is
    quantised already stays as it is.

    Raises RecipeError where bitsandbytes is not installed.
    """
    device = device or next(model.parameters()).device
    if is_quantized(model):
        return model
    need_bitsandbytes()
    for parent, name, layer in list(_matrices(model)):
        setattr(parent, name, _quantized(layer, compute, device))
    for parameter in model.parameters():
        if parameter.is_floating_point() and not is_coded(parameter):
            parameter.data = parameter.data.to(compute)
    model.is_loaded_in_4bit = True  # PEFT asks the model, not its layers
    return model.to(device)


@torch.no_grad()
def dequantize(model: Any, dtype: torch.dtype = torch.float32) -> Any:
    """The quantised ``model`` with ordinary matrices of the same values."""
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn.modules import Linear4bit

    for module in list(model.modules()):
        for name, layer in list(module.named_children()):
            if isinstance(layer, Linear4bit):
                codes: Any = layer.weight
                weight = dequantize_4bit(codes.data, codes.quant_state).to(dtype)
                plain = nn.Linear(
                    layer.in_features, layer.out_features, layer.bias is not None, device="meta"
                )
                plain.weight = nn.Parameter(weight, requires_grad=False)
                if layer.bias is not None:
                    plain.bias = nn.Parameter(layer.bias.to(dtype), requires_grad=False)
                setattr(module, name, _on_its_side(plain) if layer.is_conv1d else plain)
    model.is_loaded_in_4bit = False
    return model


def is_quantized(model: Any) -> bool:
    """True for a model that ``quantize`` made."""
    return bool(getattr(model, "is_loaded_in_4bit", False))


def is_coded(tensor: Tensor) -> bool:
    """True for codes of 4 bits that stand for a matrix."""
    return getattr(tensor, "quant_state", None) is not None


def num_weights(tensor: Tensor) -> int:
    """Numbers in a parameter; of a quantised one those that it stands for."""
    state = getattr(tensor, "quant_state", None)
    return tensor.numel() if state is None else math.prod(state.shape)


def num_bytes(tensor: Tensor) -> int:
    """Memory of a parameter; of a quantised one that of its blocks' sizes too."""
    if is_coded(tensor):
        return round(num_weights(tensor) * BYTES_A_WEIGHT)
    return tensor.numel() * tensor.element_size()


def scales(codes: Any) -> tuple[Tensor, ...]:
    """What the codes of a matrix are multiplied with: the blocks' sizes, their own sizes, their mean."""
    state = codes.quant_state
    return state.absmax, state.state2.absmax, state.offset


def mark(folder: Path) -> None:
    """Notes in an adapter's folder that its base was quantised."""
    (folder / _FILE).write_text(json.dumps(_SETTINGS, indent=1) + "\n", encoding="utf-8")


def is_marked(folder: str | Path) -> bool:
    """True for an adapter that was trained over a quantised base."""
    return (Path(folder) / _FILE).is_file()


def matrix_names(model: Any) -> list[str]:
    """The matrices that ``quantize`` replaces: all but those of the head."""
    kept = trunk.head_layers(model)
    return [
        name
        for name, layer in model.named_modules()
        if type(layer).__name__ in ("Linear", "Conv1D") and layer not in kept
    ]


def _matrices(model: Any) -> Iterator[tuple[Any, str, Any]]:
    for name in matrix_names(model):
        parent, _, own = name.rpartition(".")
        yield model.get_submodule(parent), own, model.get_submodule(name)


def _quantized(layer: Any, compute: torch.dtype, device: torch.device | str) -> Any:
    from bitsandbytes.nn.modules import Linear4bit, Params4bit

    is_conv1d = type(layer).__name__ == "Conv1D"
    weight = (layer.weight.T if is_conv1d else layer.weight).detach().contiguous()
    made: Any = Linear4bit(
        weight.shape[1],
        weight.shape[0],
        bias=layer.bias is not None,
        compute_dtype=compute,
        quant_type="nf4",
        compress_statistics=True,
        device="meta",
    )
    if weight.is_meta:
        made.weight = _codes_of_shape(weight)
    else:
        codes: Any = Params4bit(weight, requires_grad=False, quant_type="nf4", compress_statistics=True)
        made.weight = codes.to(device)  # where the numbers become codes
    if layer.bias is not None:
        made.bias = nn.Parameter(layer.bias.detach().to(device), requires_grad=False)
    made.is_conv1d = is_conv1d
    return made


def _codes_of_shape(weight: Tensor) -> Any:
    """Codes without numbers. The blocks' sizes are left whole: that is no matter for shapes."""
    from bitsandbytes.functional import QuantState
    from bitsandbytes.nn.modules import Params4bit

    count = weight.numel()
    sizes, quantiles = weight.new_empty(-(-count // _BLOCK), dtype=torch.float32), weight.new_empty(16)
    state = QuantState(sizes, weight.shape, quantiles, _BLOCK, "nf4", weight.dtype)
    codes = weight.new_empty(((count + 1) // 2, 1), dtype=torch.uint8)
    return Params4bit(codes, requires_grad=False, quant_state=state, quant_type="nf4", bnb_quantized=True)


def _on_its_side(linear: nn.Linear) -> Any:
    """GPT-2's kind of matrix, ``[in, out]``."""
    from transformers.pytorch_utils import Conv1D

    made = Conv1D(linear.out_features, linear.in_features)
    made.weight = nn.Parameter(linear.weight.T.contiguous(), requires_grad=False)
    made.bias = linear.bias
    return made


def need_bitsandbytes(option: str = "adapter=qlora", instead: str = "adapter=lora") -> None:
    """Raises RecipeError where it is not installed, and ``option`` needs it."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise RecipeError(
            say(
                "{option} needs bitsandbytes, which is not installed. Type: pip install 'attune[qlora]'; or "
                "use {instead}.",
                "{option} 需要 bitsandbytes，但尚未安装。请输入：pip install 'attune[qlora]'；或改用 "
                "{instead}。",
                option=option,
                instead=instead,
            )
        )
