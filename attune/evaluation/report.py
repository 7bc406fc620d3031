"""Writes ``report.html``: one file that shows what was trained, on what, how it went and how it answers."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..data.durable import write_text
from ..recipe.messages import language, pick, say
from . import compare, runs
from .curves import Series, interval_plot, line_chart, smoothed
from .metrics import exact_match
from .page import Cell, Markup, cards, code, escape, facts, fold, page, prose, section, table

_SHOWN_FIRST, _SHOWN_FOLDED = 10, 200

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
    name = str(record.get("name") or run.name)
    body = "".join(
        (
            _header(name, record),
            _figures(record, evaluations),
            _warnings(record.get("warnings") or []),
            _scores(evaluations),
            _answers(samples or _compared(evaluations)),
            _curves(events),
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
    objectives = {
        "sft": say("Supervised fine-tuning", "监督微调"),
        "pretrain": say("Pretraining", "预训练"),
    }
    objective = record.get("objective")
    kind = objectives.get(str(objective), str(objective or ""))
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


def _figures(record: Entries, evaluations: Sequence[Entries]) -> str:
    """The numbers that are read first."""
    entries: list[tuple[str, str, str]] = []
    held_out = record.get("held_out_loss")
    if isinstance(held_out, int | float):
        remark = say("perplexity {p:.3g}", "困惑度 {p:.3g}", p=math.exp(min(held_out, 700)))
        entries.append((say("held-out loss", "留出损失"), f"{held_out:.3f}", remark))
    if isinstance(record.get("final_loss"), int | float):
        remark = say("nats a token, at the end", "每 token，训练结束时")
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


def _scores(evaluations: Sequence[Entries]) -> str:
    return section(say("Scores", "评分"), *(_evaluation(one) for one in evaluations))


def _evaluation(evaluation: Entries) -> str:
    models = evaluation["models"]
    headers = [say("metric", "指标"), *(str(model["name"]) for model in models)]
    if len(models) > 1:
        headers.append(say("difference", "差值"))
    headers.append("")
    rows = [_score_row(metric, evaluation) for metric in compare.METRICS if _scored(metric, models)]
    title = say("{data}: {n} rows", "{data}：{n} 行", data=evaluation["data"], n=evaluation["num_rows"])
    notes = [
        say(
            "In brackets: 95% bootstrap intervals over rows. A coloured difference excludes zero: green is "
            "better, red is worse. Where all rows score the same the interval has no width; with {n} rows "
            "the true share may still lie up to {p:.0f} points away.",
            "方括号内为按行自助法得到的 95% 区间；着色的差值不含零（绿色为更好，红色为更差）。"
            "若各行得分全部相同，区间宽度为零；在 {n} 行的样本下，真实比例仍可能相差至多 {p:.0f} 个百分点。",
            n=evaluation["num_rows"],
            p=min(100.0, 300 / max(1, evaluation["num_rows"])),
        ),
        *evaluation.get("notes", []),
    ]
    remarks = "".join(f'<p class="note">{escape(note)}</p>' for note in notes)
    return f"<h3>{escape(title)}</h3>{table(headers, rows, 'scores')}{remarks}"


def _scored(metric: compare.Metric, models: Sequence[Entries]) -> bool:
    return any(metric.name in model["scores"] for model in models)


def _score_row(metric: compare.Metric, evaluation: Entries) -> list[Cell]:
    scores = [model["scores"].get(metric.name) for model in evaluation["models"]]
    row: list[Cell] = [pick(metric.label)]
    row += [_with_range(metric, score) if score else None for score in scores]
    if len(scores) > 1:
        gap = (evaluation["differences"] or {}).get(metric.name)
        row.append(_with_range(metric, gap, sign=True) if gap else None)
    styles = ("run", "base")
    known = [
        (style, s["mean"], s["low"], s["high"])
        for style, s in zip(styles, scores, strict=False)
        if s is not None
    ]
    low = 0.0 if metric.is_share else min(one[2] for one in known)
    high = 1.0 if metric.is_share else max(one[3] for one in known)
    row.append(Markup(interval_plot(known, low, high, partial(compare.number, metric))))
    return row


def _with_range(metric: compare.Metric, score: Mapping[str, float], *, sign: bool = False) -> Markup:
    verdict = compare.verdict(metric, score) if sign else None
    style = f' class="{verdict}"' if verdict else ""
    mean = escape(compare.number(metric, score["mean"], sign=sign))
    span = escape(compare.span(metric, score, sign=sign))
    return Markup(f'<span{style}>{mean}</span> <span class="range">{span}</span>')


def _compared(evaluations: Sequence[Entries]) -> list[dict[str, Any]]:
    """Before and after from the first evaluation against another model, else the answers alone."""
    ranked = sorted(evaluations, key=lambda one: -len(one["models"]))
    samples = []
    for row in ranked[0]["rows"] if ranked else []:
        answers = row.get("predictions") or []
        if answers:
            before = answers[1] if len(answers) > 1 else None
            samples.append({**row, "after": answers[0], "before": before})
    return samples


def _answers(samples: Sequence[Entries]) -> str:
    has_before = any(sample.get("before") is not None for sample in samples)
    has_reference = any(sample.get("reference") is not None for sample in samples)
    headers = [say("question", "问题")]
    headers += [say("before", "训练前")] if has_before else []
    headers += [say("after", "训练后") if has_before else say("answer", "回答")]
    headers += [say("reference", "参考答案")] if has_reference else []
    rows = [
        _answer_row(sample, has_before, has_reference) for sample in samples[: _SHOWN_FIRST + _SHOWN_FOLDED]
    ]
    shown, folded = rows[:_SHOWN_FIRST], rows[_SHOWN_FIRST:]
    more = say("{n} more", "另外 {n} 条", n=len(folded))
    left_out = len(samples) - len(rows)
    note = say("{n} further rows are in the evals folder.", "其余 {n} 条见 evals 文件夹。", n=left_out)
    return section(
        say("Answers before and after", "训练前后的回答") if has_before else say("Answers", "回答"),
        table(headers, shown, "answers"),
        fold(more, table(headers, folded, "answers")),
        f'<p class="note">{escape(note)}</p>' if left_out else "",
    )


def _answer_row(sample: Entries, has_before: bool, has_reference: bool) -> list[Cell]:
    after, reference = str(sample.get("after") or ""), sample.get("reference")
    is_right = reference is not None and exact_match(after, [str(reference)]) == 1.0
    mark = f'<div class="mark">✓ {escape(say("exact", "完全一致"))}</div>' if is_right else ""
    row: list[Cell] = [prose(str(sample.get("prompt") or ""))]
    row += [prose(str(sample.get("before") or ""))] if has_before else []
    row += [Markup(prose(after).html + mark)]
    row += [prose(str(reference)) if reference is not None else None] if has_reference else []
    return row


def _curves(events: list[dict[str, Any]]) -> str:
    steps, evals = runs.by_step(events, "step_end"), runs.by_step(events, "eval_end")
    step = say("step", "步")
    losses = _points(steps, "loss")
    loss = line_chart(
        [
            Series(say("each step", "每步"), losses, "faint"),
            Series(say("smoothed", "平滑"), smoothed(losses)),
            Series(say("held-out", "留出集"), _points(evals, "loss"), "base", dots=True),
        ],
        x_label=step,
        y_label=say("loss (nats a token)", "损失（每 token）"),
    )
    rate = line_chart(
        [Series("", _points(steps, "learning_rate"))],
        x_label=step,
        y_label=say("learning rate", "学习率"),
        from_zero=True,
        width=460,
    )
    speed = line_chart(
        [Series("", _points(steps, "tokens_per_second"))],
        x_label=step,
        y_label=say("tokens a second", "每秒 token"),
        from_zero=True,
        width=460,
    )
    return section(
        say("How it went", "训练过程"),
        loss,
        f'<div class="pair">{rate}{speed}</div>' if rate or speed else "",
    )


def _points(events: Sequence[Entries], key: str) -> list[tuple[float, float]]:
    return [
        (float(event["step"]), float(event[key]))
        for event in events
        if isinstance(event.get(key), int | float) and math.isfinite(event[key])
    ]


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
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    entries = [json.loads(line) for line in lines[:_SHOWN_FOLDED] if line.strip()]
    return [
        [entry.get("path"), entry.get("row"), entry.get("reason"), str(entry.get("value", ""))]
        for entry in entries
    ]


def _reproduce(run: Path, record: Entries, command: str | None) -> str:
    path = run / "recipe.yaml"
    recipe = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    again = command or (shlex.join(["attune", "train", str(path)]) if recipe else "")
    where: dict[str, Cell] = {
        say("platform", "平台"): record.get("platform"),
        say("seed", "随机种子"): str(record["seed"]) if "seed" in record else None,
        **{name: str(version) for name, version in (record.get("versions") or {}).items()},
    }
    return section(
        say("To reproduce", "复现方法"),
        code(again) if again else "",
        fold(say("Recipe in full", "完整配方"), code(recipe) if recipe else ""),
        f'<div class="after">{facts(where)}</div>',
    )
