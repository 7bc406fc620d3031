"""Several adapters of one base as one: their weighted sum, TIES or DARE, as PEFT computes them.

    linear   sum_i w_i B_i A_i, exactly (PEFT's ``cat``: the ranks add up)
    ties     of A and of B the small numbers go, then what disagrees in sign (arXiv 2306.01708)
    dare     of A and of B numbers go at random, the others grow to make up for them (arXiv 2311.03099)

TIES and DARE work on the factors, as PEFT does it, and so ask for equal ranks. IA3 knows the weighted sum
only.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from ..recipe.errors import ModelError
from ..recipe.messages import join, say
from .folders import base_of
from .load import Opened, load_any, resolve_run

How = Literal["linear", "ties", "dare", "dare_ties"]
HOW: tuple[How, ...] = ("linear", "ties", "dare", "dare_ties")
DENSITY = 0.5
"""Share of the numbers that TIES and DARE keep."""

_PEFT = {"linear": "cat", "ties": "ties", "dare": "dare_linear", "dare_ties": "dare_ties"}


def load(
    runs: Sequence[str],
    weights: Sequence[float] | None,
    how: How,
    dtype: torch.dtype,
    *,
    dequantized: bool = False,
) -> Opened:
    """The base of the first run with the combination of all runs' adapters (equal weights by default,
    adding up to 1).

    Raises ModelError where they cannot be combined: other bases, other methods, or what PEFT refuses.
    """
    loaded = load_any(runs[0], dtype=dtype, dequantized=dequantized)
    if len(runs) == 1:
        return loaded
    weights = [1 / len(runs)] * len(runs) if weights is None else list(weights)
    if len(weights) != len(runs):
        raise ModelError(
            say(
                "{n} adapters and {m} weights: give one weight an adapter, such as --weights {example}.",
                "有 {n} 个适配器，却给了 {m} 个权重：请为每个适配器给一个权重，如 --weights {example}。",
                n=len(runs),
                m=len(weights),
                example=",".join(["0.5"] * len(runs)),
            )
        )
    places = [resolve_run(run) for run in runs]
    _must_be_alike(places)
    names = ["default", *(f"adapter{number}" for number in range(1, len(runs)))]
    for name, place in zip(names[1:], places[1:], strict=True):
        loaded.model.load_adapter(place, adapter_name=name)
    _combine(loaded.model, names, weights, how)
    loaded.model.eval().requires_grad_(False)
    return loaded


def _must_be_alike(places: Sequence[str]) -> None:
    """All are adapters of PEFT's, of one method, over one base."""
    first: tuple[str, Any] | None = None
    for place in places:
        file = Path(place) / "adapter_config.json"
        kind = json.loads(file.read_text(encoding="utf-8")).get("peft_type") if file.is_file() else None
        if kind not in ("LORA", "IA3"):
            raise ModelError(
                say(
                    "{place} cannot be combined with others: adapters of LoRA and its kin (lora, rslora, "
                    "dora, qlora) "
                    "or of IA3 can. Merge it alone.",
                    "{place} 不能与其他适配器组合：只有 LoRA 类（lora、rslora、dora、qlora）或 IA3 可以。请"
                    "单独合并。",
                    place=place,
                )
            )
        found = (str(kind), base_of(file).path)
        if first is not None and found != first:
            raise ModelError(
                say(
                    "{place} is {kind} over {base}, the first is {first_kind} over {first_base}: only "
                    "adapters of one "
                    "method over one base can be combined.",
                    "{place} 是 {base} 上的 {kind}，而第一个是 {first_base} 上的 {first_kind}：只能组合同一"
                    "基座、"
                    "同一方法的适配器。",
                    place=place,
                    kind=found[0],
                    base=found[1],
                    first_kind=first[0],
                    first_base=first[1],
                )
            )
        first = found


def _combine(model: Any, names: list[str], weights: list[float], how: How) -> None:
    is_ia3 = model.active_peft_config.peft_type.value == "IA3"
    options: dict[str, Any] = {} if is_ia3 else {"combination_type": _PEFT[how]}
    if how != "linear":
        options["density"] = DENSITY
    try:
        if is_ia3 and how != "linear":
            raise ValueError(how)
        torch.manual_seed(0)  # DARE draws
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.add_weighted_adapter(names, weights, "combined", **options)
    except (ValueError, TypeError, RuntimeError, NotImplementedError, KeyError) as error:
        raise ModelError(
            say(
                "PEFT cannot combine these adapters by --how {how}: {reason}. Allowed: {allowed}; linear "
                "takes LoRA "
                "of any ranks.",
                "PEFT 无法用 --how {how} 组合这些适配器：{reason}。可用：{allowed}；linear 适用于任意秩的 "
                "LoRA。",
                how=how,
                reason=error,
                allowed=join(HOW),
            )
        ) from None
    model.set_adapter("combined")
