"""Writes ``report.html``: one file that shows what was trained, on what, how it went and how it answers."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data.durable import write_text
from ..recipe import plugs
from ..recipe.messages import language, pick, say
from . import compare, course, results, runs
from .page import Cell, cards, code, escape, facts, fold, page, section, table

_SHOWN_REJECTED = 200

Entries = Mapping[str, Any]


def write(
    run: Path,
    evaluations: Sequence[Entries] = (),
    samples: Sequence[Entries] = (),
    extra: Mapping[str, str] | None = None,
    *,
    command: str | None = None,
) -> Path:
    """Writes ``run/report.html`` atomically and gives its path. Raises RunError where run.json is unreadable.

    ``evaluations``: as ``Evaluation.as_dict`` gives them. ``samples``: ``{"prompt", "before", "after",
    "reference"}`` (the last one optional); without any, the rows of the first evaluation that compares two
    models. ``extra``: further facts, name to value. ``command``: what reproduces the run.
    """
    record, events = runs.read_record(run), runs.read_events(run)
    steps, evals = runs.by_step(events, "step_end"), runs.by_step(events, "eval_end")
    name = str(record.get("name") or run.name)
    body = "".join(
        (
            _header(name, record),
            _figures(record, evaluations, steps, evals),
            _warnings(record.get("warnings") or []),
            results.scores(evaluations),
            results.answers(samples or results.compared(evaluations)),
            results.sampled(runs.read_lines(run / "samples.jsonl")),
            course.course(steps, evals),
            _trained(record, extra or {}),
            _data(run, record),
            _reproduce(run, record, command),
        )
    )
    made = say("Written by attune {version}.", "由 attune {version} 生成。", version=_version(record))
    html = page(
        f"{name} – attune", "zh" if language() == "zh" else "en", f"{body}<footer>{escape(made)}</footer>"
    )
    path = run / "report.html"
    write_text(path, html)
    return path


def _version(record: Entries) -> str:
    return str((record.get("versions") or {}).get("attune", ""))


def _header(name: str, record: Entries) -> str:
    kind = _objective(str(record.get("objective") or ""))
    state = say("finished", "已完成") if record.get("state") == "finished" else say("not finished", "未完成")
    adapter = record.get("adapter")
    parts = [
        record.get("model"),
        say("all weights", "全部权重") if adapter == "full" else adapter,
        _counted(record.get("num_examples"), say("examples", "个样例")),
        _counted(record.get("num_steps"), say("steps", "步")),
        f"{state} {_moment(record.get('finished') or record.get('started'))}".strip(),
    ]
    lead = " · ".join(str(part) for part in parts if part)
    return (
        f'<header><p class="eyebrow">attune · {escape(kind)}</p><h1>{escape(name)}</h1>'
        f'<p class="lead">{escape(lead)}</p></header>'
    )


def _objective(name: str) -> str:
    """As the objective's own options call it."""
    if name not in plugs.names("objectives"):
        return name
    return pick(plugs.find("objectives", name).Config.__doc__ or name).rstrip(".。")


def _counted(count: object, noun: str) -> str | None:
    return f"{count:,} {noun}" if isinstance(count, int) else None


def _moment(value: object) -> str:
    """``2026-11-21T14:03:22.123+00:00`` as ``2026-11-21 14:03``."""
    return str(value)[:16].replace("T", " ") if value else ""


def _duration(seconds: object) -> str | None:
    if not isinstance(seconds, int | float):
        return None
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return say("{h} h {m} min", "{h} 小时 {m} 分", h=hours, m=minutes)
    return (
        say("{m} min {s} s", "{m} 分 {s} 秒", m=minutes, s=rest)
        if minutes
        else say("{s} s", "{s} 秒", s=rest)
    )


def _figures(
    record: Entries, evaluations: Sequence[Entries], steps: Sequence[Entries], evals: Sequence[Entries]
) -> str:
    """The numbers that are read first: what the objective measures, then its loss."""
    held_out = record.get("held_out_loss")
    entries = course.leading(evals, held_out)
    if isinstance(held_out, int | float) and not course.is_rewarded(evals):
        likely = course.is_likelihood(steps, evals)
        remark = say("perplexity {p:.3g}", "困惑度 {p:.3g}", p=math.exp(min(held_out, 700)))
        entries.append((say("held-out loss", "留出损失"), f"{held_out:.3f}", remark if likely else ""))
    if isinstance(record.get("final_loss"), int | float):
        remark = say("at the end", "训练结束时")
        entries.append((say("training loss", "训练损失"), f"{record['final_loss']:.3f}", remark))
    for metric in compare.METRICS:
        if metric.name in ("exact_match", "rouge_l"):
            entries += _scored_figure(metric, evaluations)
    speed, memory = record.get("tokens_per_second"), record.get("peak_memory_gib")
    if isinstance(speed, int | float):
        remark = _duration(record.get("seconds")) or ""
        entries.append((say("tokens a second", "每秒 token"), f"{speed:,.0f}", remark))
    if isinstance(memory, int | float):
        entries.append(
            (say("peak memory", "峰值内存"), f"{memory:.2f} GiB", str(record.get("precision") or ""))
        )
    return cards(entries)


def _scored_figure(metric: compare.Metric, evaluations: Sequence[Entries]) -> list[tuple[str, str, str]]:
    for evaluation in evaluations:
        scores = [model["scores"].get(metric.name) for model in evaluation["models"]]
        if scores and scores[0]:
            remark = compare.span(metric, scores[0])
            if len(scores) > 1 and scores[1]:
                before = compare.number(metric, scores[1]["mean"])
                remark = f"{evaluation['models'][1]['name']}: {before}"
            return [(pick(metric.label), compare.number(metric, scores[0]["mean"]), remark)]
    return []


def _warnings(warnings: Sequence[str]) -> str:
    if not warnings:
        return ""
    items = "".join(f"<li>{escape(warning)}</li>" for warning in warnings)
    return f'<div class="warnings"><strong>{say("Warnings", "警告")}</strong><ul>{items}</ul></div>'


def _trained(record: Entries, extra: Mapping[str, str]) -> str:
    trained, total = record.get("num_trained_parameters"), record.get("num_parameters")
    share = None
    if isinstance(trained, int) and isinstance(total, int) and total:
        share = f"{trained:,} / {total:,} ({100 * trained / total:.3g}%)"
    memory = record.get("peak_memory_gib")
    known: dict[str, Cell] = {
        say("base model", "基座模型"): record.get("model"),
        say("adapter", "训练方式"): record.get("adapter"),
        say("trained parameters", "训练的参数"): share,
        say("examples learnt from", "训练样例"): record.get("num_examples"),
        say("examples held out", "留出样例"): record.get("num_held_out"),
        say("optimizer steps", "优化步数"): record.get("num_steps"),
        say("precision", "精度"): record.get("precision"),
        say("layout", "排布"): record.get("layout"),
        say("peak memory", "峰值内存"): f"{memory:.2f} GiB" if isinstance(memory, int | float) else None,
        say("time", "用时"): _duration(record.get("seconds")),
    }
    return section(say("What was trained", "训练内容"), facts({**known, **extra}))


def _data(run: Path, record: Entries) -> str:
    headers = [
        say("file", "文件"),
        say("format", "格式"),
        say("rows", "行数"),
        say("used", "使用"),
        say("rejected", "无法使用"),
        "SHA-256",
    ]
    keys = ("path", "format", "num_rows", "num_used", "num_rejected")
    rows: list[list[Cell]] = [
        [*(source.get(key) for key in keys), str(source.get("sha256") or "")[:12]]
        for source in record.get("data") or []
    ]
    rejected = _rejected(run / "rejected.jsonl")
    titles = [say("file", "文件"), say("row", "行"), say("reason", "原因"), say("value", "内容")]
    why = say("Why rows could not be used", "无法使用的原因")
    return section(say("Data", "数据"), table(headers, rows), fold(why, table(titles, rejected)))


def _rejected(path: Path) -> list[list[Cell]]:
    """The first rejected rows: file, row, reason, value."""
    entries = runs.read_lines(path)[:_SHOWN_REJECTED]
    return [[entry.get(key) for key in ("path", "row", "reason", "value")] for entry in entries]


def _again(run: Path, recipe: Path) -> str:
    """The command that does the same once more, beside the run and not over it."""
    return shlex.join(["attune", "train", str(recipe), f"output={run.with_name(run.name + '-again')}"])


def _reproduce(run: Path, record: Entries, command: str | None) -> str:
    path = run / "recipe.yaml"
    recipe = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    again = command or (_again(run, path) if recipe else "")
    where: dict[str, Cell] = {
        say("platform", "平台"): record.get("platform"),
        say("seed", "随机种子"): str(record["seed"]) if "seed" in record else None,
        **{name: str(version) for name, version in (record.get("versions") or {}).items()},
    }
    known = facts(where)
    return section(
        say("To reproduce", "复现方法"),
        code(again) if again else "",
        fold(say("Recipe in full", "完整配方"), code(recipe) if recipe else ""),
        f'<div class="after">{known}</div>' if known else "",
    )
