"""Reads run folders: what was run, how far it came, and how it scored. Damage is described, never fatal."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..recipe.errors import RunError
from ..recipe.messages import say

_MARKS = ("run.json", "recipe.yaml", "metrics.jsonl", "checkpoints")
"""A folder that holds one of these is meant as a run."""


def list_runs(folder: str | Path = "runs") -> list[dict[str, Any]]:
    """The runs under ``folder`` (two levels deep), the newest first; an absent folder has none.

    Keys: ``name``, ``path``, ``state`` (``finished``, ``running``, ``interrupted`` or ``broken``),
    ``problem`` (a sentence, for broken ones), ``objective``, ``model``, ``adapter``, ``step``,
    ``num_steps``, ``loss`` and ``held_out_loss`` (nats a token), ``scores`` (as in scores.json), ``date``
    (ISO 8601). What is not known is None.
    """
    root = Path(folder)
    found = [_summary(run, str(run.relative_to(root))) for run in _folders(root)]
    return sorted(found, key=lambda run: run["date"] or "", reverse=True)


def is_run(folder: Path) -> bool:
    """Whether the folder holds, or was meant to hold, a run."""
    return any((folder / mark).exists() for mark in _MARKS)


def read_record(run: Path) -> dict[str, Any]:
    """``run.json``. Raises RunError where it is absent or not what the engine writes."""
    cure = say(
        "Run the command of this run again with --fresh, or remove the folder.",
        "请加 --fresh 重新执行该训练命令，或删除该文件夹。",
    )
    return _read_object(run / "run.json", cure)


def read_scores(run: Path) -> dict[str, Any]:
    """``scores.json``: a short entry an evaluation, the oldest first; empty where nothing was evaluated."""
    path = run / "scores.json"
    cure = say("Remove it, and evaluate again.", "请删除它，然后重新评测。")
    return _read_object(path, cure) if path.exists() else {}


def read_events(run: Path) -> list[dict[str, Any]]:
    """The events of ``metrics.jsonl``, in order."""
    return [line for line in read_lines(run / "metrics.jsonl") if "event" in line]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file that a run wrote; none where there is no file. A line that a crash cut
    short is passed over.
    """
    if not path.exists():
        return []
    lines = map(_parsed, path.read_text(encoding="utf-8", errors="replace").split("\n"))
    return [line for line in lines if isinstance(line, dict)]


def by_step(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The events of one kind by step; where a resumed run repeated a step, the later one counts."""
    latest = {event["step"]: event for event in events if event["event"] == kind and "step" in event}
    return [latest[step] for step in sorted(latest)]


def _folders(root: Path, depth: int = 2) -> Iterator[Path]:
    if not root.is_dir():
        return
    for folder in sorted(root.iterdir()):
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        if is_run(folder):
            yield folder
        elif depth > 1:
            yield from _folders(folder, depth - 1)


def _summary(run: Path, name: str) -> dict[str, Any]:
    """One entry of ``list_runs``."""
    entry: dict[str, Any] = dict.fromkeys(
        ["problem", "objective", "model", "adapter", "step", "num_steps", "loss", "held_out_loss", "date"]
    )
    entry.update(name=name, path=str(run), state="broken", scores={})
    try:
        record = read_record(run)
        entry["scores"] = read_scores(run)
    except RunError as error:
        modified = time.gmtime(run.stat().st_mtime)
        return {**entry, "problem": str(error), "date": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", modified)}
    entry.update(
        {key: record.get(key) for key in ("objective", "model", "adapter", "num_steps", "held_out_loss")}
    )
    entry["date"] = record.get("finished") or record.get("started")
    if record.get("state") == "finished":
        return {
            **entry,
            "state": "finished",
            "step": record.get("step", record.get("num_steps")),
            "loss": record.get("final_loss"),
        }
    entry["state"] = "running" if _is_running(run) else "interrupted"
    return {**entry, **_progress(run)}


def _progress(run: Path) -> dict[str, Any]:
    """How far an unfinished run has come."""
    events = read_events(run)
    steps, evals = by_step(events, "step_end"), by_step(events, "eval_end")
    reached: dict[str, Any] = {"step": 0}
    if steps:
        reached.update({key: steps[-1].get(key) for key in ("step", "num_steps", "loss")})
    if evals:
        reached["held_out_loss"] = evals[-1].get("loss")
    return reached


def _is_running(run: Path) -> bool:
    """Whether a process trains in the folder: it holds the lock for as long as it lives."""
    try:
        handle = (run / ".lock").open()
    except FileNotFoundError:
        return False
    with handle:
        if os.name != "posix":
            return False
        import fcntl

        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _read_object(path: Path, cure: str) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RunError(_not_there(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(_unreadable(path, str(error), cure)) from None
    value = _parsed(text)
    if not isinstance(value, dict):
        raise RunError(_unreadable(path, say("it is no JSON object", "不是 JSON 对象"), cure))
    return value


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None


def _not_there(path: Path) -> str:
    return say(
        "{folder} has no {name}: the run never began, or this is no run folder. Run its command again, or "
        "remove the folder.",
        "{folder} 中没有 {name}：训练从未开始，或者这不是运行目录。请重新执行训练命令，或删除该文件夹。",
        folder=path.parent,
        name=path.name,
    )


def _unreadable(path: Path, why: str, cure: str) -> str:
    return say(
        "{path} cannot be read: {why}. {cure}",
        "无法读取 {path}：{why}。{cure}",
        path=path,
        why=why,
        cure=cure,
    )
