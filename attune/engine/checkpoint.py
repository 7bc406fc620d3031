"""Checkpoints that survive SIGKILL: complete or absent, checked by hash before they are trusted.

A checkpoint is a folder ``step-000123`` with the trained weights and the optimizer's moments as safetensors,
``state.json``, and last a ``manifest.json`` with the SHA-256 of each file. It is written beside its place,
flushed to the disk, and renamed. It needs no random states: each step draws from a stream of its own
(``step.seed``).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..models.images import statistics
from ..recipe.errors import RunError
from ..recipe.messages import join, say

_WRITING = ".writing-"
_COMPANION = "companion/"
"""What a method keeps stands beside the moments under this name."""
_FILES = frozenset({"weights.safetensors", "optimizer.safetensors", "state.json"})


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that was read and found intact. ``optimizer`` maps ``<parameter>/<moment>`` to tensors,
    and ``companion/…`` to what the method keeps.
    """

    path: Path
    state: dict[str, Any]
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]

    @property
    def step(self) -> int:
        return int(self.state["step"])

    @property
    def companion(self) -> dict[str, Tensor]:
        """What the method kept."""
        kept = {key: tensor for key, tensor in self.optimizer.items() if key.startswith(_COMPANION)}
        return {key.removeprefix(_COMPANION): tensor for key, tensor in kept.items()}


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that learn, by name; shared ones once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def changing(model: nn.Module) -> dict[str, Tensor]:
    """All that a step changes, by name: what learns, and the running means of norms over a batch."""
    return {**trained(model), **statistics(model)}


def write(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: Mapping[str, Any],
    companion: Mapping[str, Tensor] | None = None,
) -> Path:
    """Writes ``folder/step-<state.step>`` and returns it; what stood before stays untouched. ``companion``:
    what the method keeps besides weights and moments.

    Raises OSError or SafetensorError (a full disk, say).
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = place_of(folder, int(state["step"]))
    draft = folder / f"{_WRITING}{place.name}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        parameters = trained(model)
        weights = {name: tensor.detach().contiguous() for name, tensor in changing(model).items()}
        save_file(weights, draft / "weights.safetensors")
        kept = {f"{_COMPANION}{key}": tensor for key, tensor in (companion or {}).items()}
        save_file(_moments(parameters, optimizer) | kept, draft / "optimizer.safetensors")
        _write_json(draft / "state.json", dict(state))
        _write_json(draft / "manifest.json", {file.name: _sha256(file) for file in sorted(draft.iterdir())})
        _flush(draft)
        if place.exists():
            # The same step of an earlier, damaged attempt: it makes room only when its successor is complete.
            _remove(place)
        draft.rename(place)
        _flush_entry(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return place


def newest(folder: Path, *, with_best: bool = False) -> tuple[Checkpoint | None, list[str]]:
    """The newest intact checkpoint, and a sentence for each newer one that is damaged.

    ``with_best``: the checkpoint that its state names as the best so far must be intact too.
    """
    damaged: list[str] = []
    for place in reversed(_places(folder)):
        fault = _fault(place)
        if fault is None:
            found = read(place)
            fault = _fault_of_best(found) if with_best else None
            if fault is None:
                return found, damaged
        damaged.append(
            say(
                "The checkpoint {path} is damaged ({fault}); going back to what stands before it.",
                "检查点 {path} 已损坏（{fault}）；改用它之前的内容。",
                path=place,
                fault=fault,
            )
        )
    return None, damaged


def place_of(folder: Path, step: int) -> Path:
    """Where the checkpoint of ``step`` lies."""
    return folder / f"step-{step:06d}"


def read(place: Path) -> Checkpoint:
    """Reads a checkpoint that is known to be intact."""
    return Checkpoint(
        place,
        json.loads((place / "state.json").read_text(encoding="utf-8")),
        load_file(place / "weights.safetensors"),
        load_file(place / "optimizer.safetensors"),
    )


def restore(checkpoint: Checkpoint, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Puts weights and moments back; afterwards the run goes on as if it had never stopped.

    Raises RunError where the checkpoint was made with other parameters than the model's.
    """
    parameters, tensors = trained(model), changing(model)
    _check_fit(checkpoint, tensors)
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(checkpoint.weights[name])
    moments: dict[str, dict[str, Tensor]] = {}
    for key, tensor in checkpoint.optimizer.items():
        name, _, moment = key.rpartition("/")
        moments.setdefault(name, {})[moment] = tensor
    for name, parameter in parameters.items():
        optimizer.state[parameter] = {
            # torch keeps the step counter on the CPU unless the fused CUDA kernel needs it beside the weights
            moment: tensor.to(parameter.device if moment != "step" or parameter.is_cuda else "cpu")
            for moment, tensor in moments.get(name, {}).items()
        }


def prune(folder: Path, keep: int, step: int, best: int | None) -> None:
    """Keeps the newest ``keep`` checkpoints up to ``step`` and the best one.

    A later one was found damaged when the run went on, and goes too, as do drafts that a kill left behind.
    """
    places = _places(folder)
    kept = [place for place in places if _step_of(place) <= step][-keep:]
    for place in places:
        if place not in kept and _step_of(place) != best:
            _remove(place)
    for draft in folder.glob(f"{_WRITING}*"):
        shutil.rmtree(draft)


def _places(folder: Path) -> list[Path]:
    """The checkpoints of a folder, damaged or not, by step."""
    return sorted((place for place in folder.glob("step-*") if place.name[5:].isdecimal()), key=_step_of)


def _step_of(place: Path) -> int:
    return int(place.name[5:])


def _remove(place: Path) -> None:
    """Renames before it deletes: a kill in between leaves a scrap, never half a checkpoint."""
    scrap = place.with_name(f"{_WRITING}old-{place.name}")
    shutil.rmtree(scrap, ignore_errors=True)
    place.rename(scrap)
    shutil.rmtree(scrap)


def _moments(parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}/{moment}": tensor.detach().contiguous()
        for name, parameter in parameters.items()
        for moment, tensor in optimizer.state.get(parameter, {}).items()
    }


def _check_fit(checkpoint: Checkpoint, parameters: Mapping[str, Tensor]) -> None:
    names = parameters.keys() | checkpoint.weights.keys()
    unlike = sorted(
        name
        for name in names
        if name not in parameters
        or name not in checkpoint.weights
        or parameters[name].shape != checkpoint.weights[name].shape
    )
    if unlike:
        raise RunError(
            say(
                "The checkpoint {path} does not fit the model: {n} parameters differ ({names}). "
                "Start over with --fresh, or use another --output.",
                "检查点 {path} 与模型不符：有 {n} 个参数不同（{names}）。"
                "请用 --fresh 重新开始，或换一个 --output。",
                path=checkpoint.path,
                n=len(unlike),
                names=join([*unlike[:3], *(["…"] if unlike[3:] else [])]),
            )
        )


def _fault(place: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        manifest = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
    except OSError:
        return say("it has no manifest", "没有清单文件")
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict) or not manifest.keys() >= _FILES:
        return say("its manifest is cut off", "清单不完整")
    for name, digest in manifest.items():
        if not (place / name).is_file():
            return say("{name} is missing", "缺少 {name}", name=name)
        if _sha256(place / name) != digest:
            return say("{name} has changed", "{name} 内容已改变", name=name)
    return None


def _fault_of_best(checkpoint: Checkpoint) -> str | None:
    best = checkpoint.state.get("best_step")
    if best in (None, checkpoint.step):
        return None
    place = place_of(checkpoint.path.parent, int(best))
    fault = _fault(place)
    return None if fault is None else f"{place.name}: {fault}"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")


def _flush(folder: Path) -> None:
    """Forces the files of a folder, and the folder's list of them, to the disk."""
    for file in folder.iterdir():
        with file.open("r+b") as handle:  # Windows flushes only what is open for writing
            os.fsync(handle.fileno())
    _flush_entry(folder)


def _flush_entry(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
