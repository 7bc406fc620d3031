"""``attune runs``: what was run, with scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..recipe.errors import RunError
from ..recipe.messages import join, pick, say
from .plan import AsJson

DEFAULT = "runs"
Folder = Annotated[str, typer.Argument(metavar="DIR", show_default=False)]


def runs(folder: Folder = DEFAULT, as_json: AsJson = False) -> None:
    """What was run, with scores. | 列出运行过的训练及其得分。"""
    from ..evaluation.runs import list_runs
    from .show import json_text, table

    if folder != DEFAULT and not Path(folder).is_dir():
        raise RunError(
            say(
                "{folder}: no such folder. Type attune runs for those in {default}, or name another folder.",
                "{folder}：没有这个文件夹。attune runs 列出 {default} 中的运行，也可指定其他文件夹。",
                folder=folder,
                default=DEFAULT,
            )
        )
    found = list_runs(folder)
    if as_json:
        print(json_text(found))
    elif not found:
        print(say("No runs in {folder}.", "{folder} 中没有运行。", folder=folder))
    else:
        headers = [
            say("run", "运行"),
            say("state", "状态"),
            say("step", "步"),
            say("loss", "损失"),
            say("held out", "留出"),
            say("scores", "得分"),
            say("date", "日期"),
        ]
        table(headers, [_row(run) for run in found])


def _row(run: dict[str, Any]) -> list[str]:
    return [
        run["name"],
        _state(run["state"]),
        _of(run["step"], run["num_steps"]),
        _figure(run["loss"]),
        _held_out(run),
        run["problem"] or _scores(run["scores"]),
        (run["date"] or "")[:16].replace("T", " "),
    ]


_TOLD = ("win", "reward", "accuracy", "pair_accuracy", "followed", "exact_match", "rouge_l")
"""Scores of which two stand in the line."""


def _held_out(run: dict[str, Any]) -> str:
    """The loss; of a run by rewards, whose loss is minus the reward, that."""
    from ..recipe import plugs

    name, value = run.get("objective"), run["held_out_loss"]
    if value is None or name not in plugs.names("objectives"):
        return _figure(value)
    is_reward = plugs.find("objectives", name).EXAMPLES == "prompt"
    return say("reward {x:.4g}", "奖励 {x:.4g}", x=0.0 - value) if is_reward else _figure(value)


def _state(state: str) -> str:
    known = {
        "finished": say("finished", "已完成"),
        "running": say("running", "进行中"),
        "interrupted": say("interrupted", "已中断"),
        "broken": say("broken", "已损坏"),
    }
    return known[state]


def _scores(scores: dict[str, Any]) -> str:
    """The newest evaluation in a line: ``test: exact match 81.3%, ROUGE-L 90.2%``."""
    if not scores:
        return ""
    newest = max(scores.values(), key=lambda entry: str(entry["date"]))
    from ..evaluation.compare import METRICS, number

    found = [
        f"{pick(metric.label)} {number(metric, newest['scores'][metric.name]['mean'])}"
        for metric in METRICS
        if metric.name in _TOLD and metric.name in newest["scores"]
    ][:2]
    return f"{newest['data']}: {join(found)}" if found else str(newest["data"])


def _of(step: int | None, num_steps: int | None) -> str:
    return "" if step is None else f"{step}/{num_steps}" if num_steps else str(step)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
