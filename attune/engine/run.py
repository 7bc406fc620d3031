"""A run's folder: who may write to it, whether it can go on, and what it says about itself.

recipe.yaml     the recipe in full           metrics.jsonl   one event a line
run.json        state and summary            rejected.jsonl  rows that could not be used
held_out.jsonl  what it is evaluated on      checkpoints/    to go on from
samples.jsonl   answers that were sampled
final/          the result                   report.html     the picture of it all
merged/         the result as a whole model, where another run began with it
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

from ..data import durable
from ..recipe import load as recipes
from ..recipe.errors import RunError
from ..recipe.messages import join, say
from ..recipe.schema import Recipe

PACKAGES = ("attune", "torch", "transformers", "peft", "accelerate", "safetensors", "tokenizers", "numpy")
"""Libraries whose version can change what a run computes."""

_FILES = (
    "run.json",
    "recipe.yaml",
    "metrics.jsonl",
    "rejected.jsonl",
    "held_out.jsonl",
    "samples.jsonl",
    "report.html",
    "scores.json",
)
_FOLDERS = ("checkpoints", "final", "merged", "evals", "tensorboard")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of one run."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def final(self) -> Path:
        return self.path / "final"

    @property
    def samples(self) -> Path:
        return self.path / "samples.jsonl"

    def state(self) -> dict[str, Any] | None:
        """What run.json says, or None where there is no run (or run.json is unreadable)."""
        try:
            value = json.loads((self.path / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return value if isinstance(value, dict) else None

    def write_state(self, state: dict[str, Any]) -> None:
        durable.write_json(self.path / "run.json", state)

    def clear(self) -> None:
        """Forgets an earlier run, and only what a run writes."""
        for name in _FOLDERS:
            shutil.rmtree(self.path / name, ignore_errors=True)
        for name in _FILES:
            (self.path / name).unlink(missing_ok=True)

    def truncate_metrics(self, step: int) -> None:
        """Forgets what was logged after ``step``: those steps will be done again."""
        for path in (self.path / "metrics.jsonl", self.samples):
            if path.is_file():
                self._truncate(path, step)

    def _truncate(self, path: Path, step: int) -> None:
        kept = []
        for line in path.read_text(encoding="utf-8").split("\n"):
            try:
                event = json.loads(line)
            except ValueError:
                continue  # the last line of a killed process may be cut
            if event.get("step", 0) <= step and event.get("event") != "run_ended":
                kept.append(line)
        durable.write_text(path, "".join(line + "\n" for line in kept))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Only one process may train in a folder. The lock dies with its process."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("w") as handle:
            if not _try_lock(handle, patience_seconds=1.0):
                raise RunError(
                    say(
                        "Another process is training in {path}. Wait for it, or choose another --output.",
                        "另一个进程正在 {path} 中训练。请等待，或换一个 --output。",
                        path=self.path,
                    )
                )
            try:
                yield
            finally:
                self._remove_if_empty()

    def _remove_if_empty(self) -> None:
        """A run that failed before it began leaves nothing behind."""
        if [child.name for child in self.path.iterdir()] == [".lock"]:
            (self.path / ".lock").unlink()
            self.path.rmdir()


def check_same(
    folder: RunFolder,
    recipe: Recipe,
    digests: Mapping[str, str | None],
    now_machine: dict[str, Any],
    accept: bool,
) -> list[str]:
    """Refuses to go on with an unfinished run under another recipe, other data, another base model, other
    libraries, or arithmetic that sums in another order.

    Returns the differences that were accepted, as sentences. Raises RunError with all of them otherwise.
    """
    state = folder.state() or {}
    found = differences(recipes.load(folder.path / "recipe.yaml"), recipe)
    sentences = {
        "data_digest": say("the training data has changed", "训练数据已改变"),
        "model_digest": say("the base model has changed", "基座模型已改变"),
        "reward_digest": say("a file of the rewards has changed", "奖励的文件已改变"),
    }
    found += [sentences[name] for name, now in digests.items() if state.get(name) not in (None, now)]
    old_versions, new_versions = state.get("versions", {}), versions()
    found += [
        f"{name}: {old_versions[name]} → {new_versions.get(name)}"
        for name in PACKAGES
        if name in old_versions and old_versions[name] != new_versions.get(name)
    ]
    words = {
        "threads": say("CPU threads", "CPU 线程数"),
        "processes": say("processes", "进程数"),
        "device": say("device", "设备"),
    }
    then = state.get("machine", {})
    found += [
        f"{words[name]}: {then[name]} → {now}"
        for name, now in now_machine.items()
        if name in then and then[name] != now
    ]
    if found and not accept:
        raise RunError(
            say(
                "{path} holds an unfinished run that differs from what is asked now:\n  {found}\nUse another "
                "--output, start over with --fresh, or go on all the same with --accept-changes.",
                "{path} 中有一个未完成的训练，与当前要求不同：\n  {found}\n请换一个 --output，"
                "或用 --fresh 重新开始，或用 --accept-changes 照旧继续。",
                path=folder.path,
                found="\n  ".join(found),
            )
        )
    return found


def differences(old: Recipe, new: Recipe) -> list[str]:
    """The fields in which two recipes would compute different weights, as ``train.seed: 42 → 7``."""
    lines = recipes.difference(old, new)
    return [line for line in lines if recipes.touches_weights(line.split(":")[0])]


def changed_files(state: dict[str, Any]) -> list[str]:
    """The files that a run was trained on and that hold something else now, as sentences. What is gone, or
    came from a hub, is not looked at.
    """
    changed = []
    for file in state.get("data", []):
        path = Path(file["path"])
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() != file["sha256"]:
            changed.append(say("{path} has changed", "{path} 已改变", path=path))
    return changed


def versions() -> dict[str, str]:
    """Installed versions of the libraries that a run depends on."""
    found = {name: _version(name) for name in PACKAGES}
    present = {name: number for name, number in found.items() if number is not None}
    return {**present, "python": platform.python_version()}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def machine(num_processes: int, device: Any) -> dict[str, Any]:
    """What decides the order of sums, and with it their last bits."""
    import torch

    return {"threads": torch.get_num_threads(), "processes": num_processes, "device": device.type}


def describe_platform() -> str:
    """The machine in a line."""
    return join((platform.system(), platform.machine(), f"{os.cpu_count()} cores"))


def _try_lock(handle: IO[str], patience_seconds: float) -> bool:
    """Somebody who only looks holds the lock for an instant: hence the patience."""
    if os.name != "posix":
        return True
    end = time.monotonic() + patience_seconds
    while not _is_locked(handle):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def _is_locked(handle: IO[str]) -> bool:
    """Takes the lock, or tells that somebody has it."""
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
