"""LoRA: a frozen matrix W learns a low-rank correction, W' = W + scaling * B A.

    y = x W^T + scaling * dropout(x) A^T B^T,   A [rank, in],  B [out, rank] zero at the start
    scaling = alpha / rank, or alpha / sqrt(rank) with rsLoRA

Hu et al., arXiv 2106.09685, section 4.1; rank-stabilised scaling: Kalajdzievski, arXiv 2312.03732. Layers and
file format are PEFT's; the arithmetic of the hot path is in ``fused.py``.
"""

# ruff: noqa: E501 (a help text holds both languages in one line)
from __future__ import annotations

import re
import warnings
from typing import Any, Literal

from pydantic import Field

from ..recipe import plugs
from ..recipe.errors import RecipeError
from ..recipe.messages import join, say
from ..recipe.schema import Choice

LEARNING_RATE = 2e-4
MERGEABLE = True


class Config(Choice):
    """Low-rank adaptation. | 低秩适配。"""

    name: Literal["lora"] = "lora"
    rank: int = Field(16, ge=1)
    """Rank of the correction. | 低秩矩阵的秩。"""
    alpha: float | None = Field(None, gt=0)
    """Numerator of the scaling alpha / rank; default: twice the rank. | 缩放 alpha / rank 的分子；默认为秩的两倍。"""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout on the input of the correction. | 低秩支路输入的 dropout。"""
    target_modules: str | list[str] = "all-linear"
    """Which layers: all-linear (all but the head), a list of name endings, or a regular expression. | 作用的层：all-linear（除输出层外）、名称列表或正则。"""
    rslora: bool = False
    """Scale by alpha / sqrt(rank). | 按 alpha / sqrt(rank) 缩放。"""


def attach(model: Any, config: Config) -> Any:
    """The model with LoRA layers: only they learn, in float32, and the output is unchanged at the start.

    Raises RecipeError where ``target_modules`` matches nothing, with the layers that exist.
    """
    from peft import LoraConfig, get_peft_model

    alpha = config.alpha if config.alpha is not None else 2 * config.rank
    settings = LoraConfig(
        r=config.rank,
        lora_alpha=alpha,
        lora_dropout=config.dropout,
        target_modules=config.target_modules,
        use_rslora=config.rslora,
        task_type="CAUSAL_LM",
    )
    _check_targets(model, config.target_modules)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PEFT's deprecations are for its developers
            return get_peft_model(model, settings)
    except ValueError as error:
        if "arget module" not in str(error):
            raise
        raise RecipeError(_no_layer(model, config.target_modules)) from None


def _check_targets(model: Any, wanted: str | list[str]) -> None:
    """Every name must match a layer: PEFT is content when one of several does."""
    if wanted == "all-linear":
        return
    names = [name for name, _ in model.named_modules() if name]
    if isinstance(wanted, str):
        try:
            pattern = re.compile(wanted)
        except re.error as error:
            raise RecipeError(
                say(
                    "adapter.target_modules={got!r} is no regular expression ({reason}). "
                    "Give one, a list of layers, or all-linear. Layers: {names}.",
                    "adapter.target_modules={got!r} 不是正则表达式（{reason}）。请给出正则、层的列表或 all-linear。层：{names}。",
                    got=wanted,
                    reason=error,
                    names=join(adaptable(model)),
                )
            ) from None
        if not any(pattern.fullmatch(name) for name in names):
            raise RecipeError(_no_layer(model, wanted))
        return
    missing = [end for end in wanted if not any(f".{name}".endswith(f".{end}") for name in names)]
    if len(missing) == len(wanted):
        raise RecipeError(_no_layer(model, wanted))
    if missing:
        raise RecipeError(
            [plugs.unknown("adapter.target_modules", name, adaptable(model)) for name in missing]
        )


def _no_layer(model: Any, wanted: str | list[str]) -> str:
    return say(
        "adapter.target_modules={got!r} matches no layer of this model. Layers that can be adapted: {names}; or all-linear.",
        "adapter.target_modules={got!r} 与该模型的任何层都不匹配。可用的层：{names}；或 all-linear。",
        got=wanted,
        names=join(adaptable(model)),
    )


def adaptable(model: Any) -> list[str]:
    """Endings of the names of layers that hold one matrix, each once, sorted."""
    kinds = ("Linear", "Conv1D")
    return sorted(
        {name.rpartition(".")[2] for name, layer in model.named_modules() if type(layer).__name__ in kinds}
    )
