"""The sections of a report that judge: scores with their intervals, and answers before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ..recipe.messages import pick, say
from . import compare, figures
from .curves import interval_plot
from .metrics import exact_match
from .page import Cell, Markup, escape, fold, prose, section, table

_SHOWN_FIRST, _SHOWN_FOLDED = 10, 200

Entries = Mapping[str, Any]


def scores(evaluations: Sequence[Entries]) -> str:
    return section(say("Scores", "评分"), *(_evaluation(one) for one in evaluations))


def _evaluation(evaluation: Entries) -> str:
    models = evaluation["models"]
    headers = [say("metric", "指标"), *(str(model["name"]) for model in models)]
    if len(models) > 1:
        headers.append(say("difference", "差值"))
    headers.append("")
    names = (name for model in models for name in model["scores"])
    rows = [_score_row(metric, evaluation) for metric in compare.metrics_in(names)]
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
    pictures = figures.of(evaluation.get("figures") or {})
    return f"<h3>{escape(title)}</h3>{table(headers, rows, 'scores')}{remarks}{pictures}"


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


def compared(evaluations: Sequence[Entries]) -> list[dict[str, Any]]:
    """Before and after from the first evaluation against another model, else the answers alone."""
    ranked = sorted(evaluations, key=lambda one: -len(one["models"]))
    samples = []
    for row in ranked[0]["rows"] if ranked else []:
        answers = row.get("predictions") or []
        if answers:
            before = answers[1] if len(answers) > 1 else None
            samples.append({**row, "after": answers[0], "before": before})
    return samples


def answers(samples: Sequence[Entries]) -> str:
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


def sampled(samples: Sequence[Entries]) -> str:
    """Answers that the policy gave and learnt from: those of the last look, earlier ones folded."""
    latest = max((sample["step"] for sample in samples), default=0)
    shown = [_sampled_row(one) for one in samples if one["step"] == latest]
    before = [one for one in samples if one["step"] != latest]
    headers = [
        say("step", "步"),
        say("question", "问题"),
        say("sampled answer", "采样回答"),
        say("reward", "奖励"),
    ]
    left_out = len(before) - _SHOWN_FOLDED
    note = say("{n} further ones are in samples.jsonl.", "其余 {n} 条见 samples.jsonl。", n=left_out)
    return section(
        say("Answers that were learnt from", "学习所用的采样回答"),
        table(headers, shown, "answers sampled"),
        fold(
            say("At earlier steps", "更早的步"),
            table(headers, [_sampled_row(one) for one in before[:_SHOWN_FOLDED]], "answers sampled"),
        ),
        f'<p class="note">{escape(note)}</p>' if left_out > 0 else "",
    )


def _sampled_row(sample: Entries) -> list[Cell]:
    parts = sample.get("scores") or {}
    each = ", ".join(f"{name} {value:.3g}" for name, value in parts.items()) if len(parts) > 1 else ""
    cut = "" if sample.get("finished", True) else f' <span class="range">{say("cut off", "被截断")}</span>'
    earned = f'{sample["reward"]:.3g} <span class="range">{escape(each)}</span>{cut}'
    return [sample["step"], prose(str(sample["prompt"])), prose(str(sample["answer"])), Markup(earned)]


def _answer_row(sample: Entries, has_before: bool, has_reference: bool) -> list[Cell]:
    after, reference = str(sample.get("after") or ""), sample.get("reference")
    is_right = reference is not None and exact_match(after, [str(reference)]) == 1.0
    mark = f'<div class="mark">✓ {escape(say("exact", "完全一致"))}</div>' if is_right else ""
    row: list[Cell] = [prose(str(sample.get("prompt") or ""))]
    row += [prose(str(sample.get("before") or ""))] if has_before else []
    row += [Markup(prose(after).html + mark)]
    row += [prose(str(reference)) if reference is not None else None] if has_reference else []
    return row
