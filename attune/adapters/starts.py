"""Where LoRA's A and B begin, other than with B at zero: PiSSA and OLoRA, over an untouched base.

Both split the matrix, W = R + s B0 A0, and learn A and B from A0 and B0 over the frozen rest R. Here W stays
whole and the start is subtracted: W' = W + s (B A - B0 A0), which is a LoRA of twice the rank whose second
half is frozen. So the base stays the base (disabled, it is found again), and what is saved is a plain LoRA
of rank 2r that PEFT and vLLM load without computing a singular value.

PiSSA: Meng et al., arXiv 2404.02948, equations 2 to 4. OLoRA: Büyükakyüz, arXiv 2406.01775, algorithm 1. The
factors are those of PEFT.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..recipe.errors import RecipeError
from ..recipe.messages import say

if TYPE_CHECKING:
    from torch import Tensor


def begin(model: Any, start: str) -> None:
    """Gives every LoRA layer of ``model`` the factors of its matrix as start (``pissa`` or ``olora``).

    Raises RecipeError for a layer whose matrix has no such factors (an embedding, a quantised one).
    """
    from peft.tuners.lora import LoraLayer

    settings = model.peft_config["default"]
    for name, layer in model.named_modules():
        if isinstance(layer, LoraLayer):
            if "default" not in layer.lora_A:
                raise RecipeError(_no_factors(name, start))
            _factorise(name, layer, start)
            _freeze_start(layer.lora_A["default"], 0, 1.0)
            _freeze_start(layer.lora_B["default"], 1, -1.0)
    # Twice the rank and twice alpha are the same scaling; with rsLoRA it grows with the root only.
    settings.lora_alpha *= 2**0.5 if settings.use_rslora else 2
    settings.r *= 2


def _factorise(name: str, layer: Any, start: str) -> None:
    import torch

    weight = layer.get_base_layer().weight
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    rank = len(a)
    if rank > min(weight.shape):
        raise RecipeError(
            say(
                "adapter.rank={rank} is more than the {n} singular vectors of {name}. Give at most {n}, or "
                "use "
                "adapter.start=zero.",
                "adapter.rank={rank} 超过 {name} 的 {n} 个奇异向量。请给出不超过 {n} 的值，或用 "
                "adapter.start=zero。",
                rank=rank,
                name=name,
                n=min(weight.shape),
            )
        )
    if weight.is_meta:
        return  # counted, not computed
    with torch.no_grad():
        whole = (weight.T if layer.fan_in_fan_out else weight).float()
        if start == "pissa":
            u, sizes, vh = torch.linalg.svd(whole, full_matrices=False)
            root = (sizes[:rank] / layer.scaling["default"]).sqrt()
            a.copy_(root[:, None] * vh[:rank])
            b.copy_(u[:, :rank] * root)
        else:
            q, r = torch.linalg.qr(whole)
            a.copy_(r[:rank])
            b.copy_(q[:, :rank])


def _freeze_start(linear: Any, dim: int, sign: float) -> None:
    """``weight`` becomes the learnt matrix and a frozen copy of its start, as one."""
    import torch
    from torch.nn.utils import parametrize

    class WithFrozen(torch.nn.Module):
        frozen: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("frozen", sign * linear.weight.detach().clone())

        def forward(self, learnt: Tensor) -> Tensor:
            return torch.cat((learnt, self.frozen), dim=dim)

    parametrize.register_parametrization(linear, "weight", WithFrozen(), unsafe=True)
    linear.register_state_dict_post_hook(_as_one)


def _as_one(linear: Any, state: dict[str, Any], prefix: str, _: Any) -> None:
    """What is saved is one plain matrix."""
    for key in [key for key in state if key.startswith(f"{prefix}parametrizations.")]:
        del state[key]
    state[f"{prefix}weight"] = linear.weight.detach()


def _no_factors(name: str, start: str) -> str:
    return say(
        "adapter.start={start}: {name} holds no matrix to factorise. Leave it out of "
        "adapter.target_modules, or use "
        "adapter.start=zero.",
        "adapter.start={start}：{name} 不是可分解的矩阵。请从 adapter.target_modules 中去掉，或用 "
        "adapter.start=zero。",
        start=start,
        name=name,
    )
