"""Checkpoints that survive SIGKILL: complete or absent, checked by hash before they are trusted.

A checkpoint is a folder ``step-000123`` with the trained weights, the optimizer's moments and the random states
as safetensors, ``state.json``, and last a ``manifest.json`` with the SHA-256 of each file. It is written beside
its place, flushed to the disk, and renamed.
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

from ..recipe.messages import say

_WRITING = ".writing-"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that was read and found intact. ``optimizer`` maps ``<parameter>/<moment>`` to tensors."""

    path: Path
    state: dict[str, Any]
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    random: dict[str, Tensor]

    @property
    def step(self) -> int:
        return int(self.state["step"])


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that learn, by name; shared ones once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def write(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> Path:
    """Writes ``folder/step-<state.step>`` and returns it. Raises OSError (a full disk, say); what stood before
    stays untouched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f"step-{int(state['step']):06d}"
    draft = folder / f"{_WRITING}{place.name}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        parameters = trained(model)
        save_file({name: p.detach().contiguous() for name, p in parameters.items()}, draft / "weights.safetensors")
        save_file(_moments(parameters, optimizer), draft / "optimizer.safetensors")
        save_file(_random_states(), draft / "random.safetensors")
        (draft / "state.json").write_text(json.dumps(dict(state), ensure_ascii=False, indent=1), encoding="utf-8")
        manifest = {file.name: _sha256(file) for file in sorted(draft.iterdir())}
        (draft / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        _flush(draft)
        if place.exists():
            # The same step of an earlier, damaged attempt: it makes room only when its successor is complete.
            shutil.rmtree(place)
        draft.rename(place)
        _flush_entry(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return place


def newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest intact checkpoint, and a sentence for each newer one that is damaged."""
    damaged = []
    for place in sorted(folder.glob("step-*"), reverse=True):
        fault = _fault(place)
        if fault is None:
            return read(place), damaged
        damaged.append(
            say(
                "The checkpoint {path} is damaged ({fault}); going back to the one before it.",
                "检查点 {path} 已损坏（{fault}）；改用前一个。",
                path=place,
                fault=fault,
            )
        )
    return None, damaged


def read(place: Path) -> Checkpoint:
    """Reads a checkpoint that is known to be intact."""
    return Checkpoint(
        place,
        json.loads((place / "state.json").read_text(encoding="utf-8")),
        load_file(place / "weights.safetensors"),
        load_file(place / "optimizer.safetensors"),
        load_file(place / "random.safetensors"),
    )


def restore(checkpoint: Checkpoint, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Puts weights, moments and random states back; afterwards the run goes on as if it had never stopped."""
    parameters = trained(model)
    assert parameters.keys() == checkpoint.weights.keys(), "the checkpoint holds other parameters than the model"
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(checkpoint.weights[name])
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
    torch.set_rng_state(checkpoint.random["cpu"])
    if torch.cuda.is_available() and "cuda" in checkpoint.random:
        torch.cuda.set_rng_state(checkpoint.random["cuda"])


def prune(folder: Path, keep: int, best: int | None) -> None:
    """Removes all but the newest ``keep`` checkpoints and the best one, and drafts that a kill left behind."""
    places = sorted(folder.glob("step-*"))
    for place in places[:-keep]:
        if best is None or place.name != f"step-{best:06d}":
            shutil.rmtree(place)
    for draft in folder.glob(f"{_WRITING}*"):
        shutil.rmtree(draft)


def _moments(parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}/{moment}": tensor.detach().contiguous()
        for name, parameter in parameters.items()
        for moment, tensor in optimizer.state.get(parameter, {}).items()
    }


def _random_states() -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _fault(place: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        manifest = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return say("it has no manifest", "没有清单文件")
    except ValueError:
        return say("its manifest is cut off", "清单不完整")
    for name, digest in manifest.items():
        if not (place / name).is_file():
            return say("{name} is missing", "缺少 {name}", name=name)
        if _sha256(place / name) != digest:
            return say("{name} has changed", "{name} 内容已改变", name=name)
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _slow_sha256(path)


def _slow_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _flush(folder: Path) -> None:
    """Forces the files of a folder, and the folder's list of them, to the disk."""
    for file in folder.iterdir():
        with file.open("rb") as handle:
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
