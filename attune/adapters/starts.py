"""Where LoRA's A and B begin, other than with B at zero and A at random: PiSSA, OLoRA and EVA, over an
untouched base.

PiSSA and OLoRA split the matrix, W = R + s B0 A0, and learn A and B from A0 and B0 over the frozen rest R.
Here W stays whole and the start is subtracted: W' = W + s (B A - B0 A0), which is a LoRA of twice the rank
whose second half is frozen. So the base stays the base (disabled, it is found again), and what is saved is a
plain LoRA of rank 2r that PEFT and vLLM load without computing a singular value.

EVA begins with B at zero and with A as the principal components of what each layer gets on training data: the
directions in which its inputs differ most. As in PEFT they are those of the centred inputs; we differ in that
every layer keeps its rank, where the paper may move ranks to layers whose inputs are wider spread.

PiSSA: Meng et al., arXiv 2404.02948, equations 2 to 4. OLoRA: Büyükakyüz, arXiv 2406.01775, algorithm 1. EVA:
Paischer et al., arXiv 2410.07170, section 3. The factors are those of PEFT.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ..recipe.errors import RecipeError
from ..recipe.messages import say

if TYPE_CHECKING:
    from torch import Tensor


def begin(model: Any, start: str) -> None:
    """Gives every LoRA layer of ``model`` the factors of its matrix as start (``pissa`` or ``olora``).

    Raises RecipeError for a layer whose matrix has no such factors (an embedding, a quantised one).
    """
    settings = model.peft_config["default"]
    for name, layer in _layers(model, start):
        _factorise(name, layer, start)
        _freeze_start(layer.lora_A["default"], 0, 1.0)
        _freeze_start(layer.lora_B["default"], 1, -1.0)
    # Twice the rank and twice alpha are the same scaling; with rsLoRA it grows with the root only.
    settings.lora_alpha *= 2**0.5 if settings.use_rslora else 2
    settings.r *= 2


def check_inputs(model: Any) -> None:
    """Raises RecipeError for a layer whose inputs have no components (an embedding's), or fewer than the
    rank.
    """
    for name, layer in _layers(model, "eva"):
        a = layer.lora_A["default"].weight
        if len(a) > a.shape[1]:
            raise RecipeError(_too_many(len(a), a.shape[1], name))


def learn_inputs(model: Any, passes: Iterable[Callable[[], object]]) -> None:
    """Gives A of every LoRA layer of ``model`` the principal components of the layer's inputs. ``passes`` run
    the model over some of the training data, one after another. A layer that none of them reaches (an expert)
    keeps its random A.

    Raises RecipeError where no pass has as many tokens as the rank.
    """
    import torch
    from peft.utils.incremental_pca import IncrementalPCA

    rank = model.peft_config["default"].r
    # Layers that get the same tensor (queries, keys, values) share their components.
    known: dict[Any, Any] = {}
    last: tuple[Any, Any] = (None, None)

    def look(layer: Any, inputs: tuple[Any, ...]) -> None:
        nonlocal last
        if inputs[0] is not last[0]:
            seen = inputs[0].flatten(0, -2).float()
            is_narrow = 2 * rank > min(seen.shape)
            components = known.get(layer, IncrementalPCA(rank, lowrank=not is_narrow, lowrank_seed=0))
            if len(seen) >= rank:
                components.partial_fit(seen)
            last = inputs[0], components
        known[layer] = last[1]

    hooks = [layer.register_forward_pre_hook(look) for _, layer in _layers(model, "eva")]
    with torch.no_grad():
        for one in passes:
            one()
    for hook in hooks:
        hook.remove()
    if not any(hasattr(components, "components_") for components in known.values()):
        raise RecipeError(
            say(
                "adapter.start=eva: no part of the training data has {rank} tokens, as many as adapter.rank. "
                "Give more data or a smaller rank, or use adapter.start=zero.",
                "adapter.start=eva：训练数据中没有哪一批达到 {rank} 个 token（即 adapter.rank）。"
                "请增加数据或减小秩，或用 adapter.start=zero。",
                rank=rank,
            )
        )
    with torch.no_grad():
        for layer, components in known.items():
            layer.lora_A["default"].weight.copy_(components.components_)


def _layers(model: Any, start: str) -> Iterable[tuple[str, Any]]:
    """Raises RecipeError for a LoRA layer that is none over a matrix."""
    from peft.tuners.lora import LoraLayer

    for name, layer in model.named_modules():
        if isinstance(layer, LoraLayer):
            if "default" not in layer.lora_A or layer.lora_A["default"].weight.ndim != 2:
                raise RecipeError(_no_factors(name, start))
            yield name, layer


def _factorise(name: str, layer: Any, start: str) -> None:
    import torch

    weight = layer.get_base_layer().weight
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    rank = len(a)
    if rank > min(weight.shape):
        raise RecipeError(_too_many(rank, min(weight.shape), name))
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


def _too_many(rank: int, most: int, name: str) -> str:
    return say(
        "adapter.rank={rank} is more than the {n} singular vectors of {name}. Give at most {n}, or use "
        "adapter.start=zero.",
        "adapter.rank={rank} 超过 {name} 的 {n} 个奇异向量。请给出不超过 {n} 的值，或用 adapter.start=zero。",
        rank=rank,
        name=name,
        n=most,
    )
