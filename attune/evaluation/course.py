"""How a run went, as pictures: the loss, and what its objective measures besides.

An objective names its metrics, and the engine adds those of a rollout; a metric that no chart here knows is
drawn under its own name, so that a new objective needs no edit of this file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..recipe.messages import pick, say
from .curves import Point, Series, line_chart, smoothed
from .page import fold, section

Entries = Mapping[str, Any]

_SMALL = 460


@dataclass(frozen=True, slots=True)
class Chart:
    """Metrics that are drawn together, each with its name in the legend; ``leads``: its first metric, as it
    was on the held-out rows, stands at the head of the report.
    """

    label: str
    """``English | 中文``."""
    lines: tuple[tuple[str, str], ...]
    """(metric, name); a single one needs no name."""
    leads: bool = False


def _one(label: str, metric: str, *, leads: bool = False) -> Chart:
    return Chart(label, ((metric, ""),), leads)


CHARTS = (
    _one("reward | 奖励", "reward", leads=True),
    _one("accuracy | 准确率", "accuracy", leads=True),
    _one("margin | 奖励差", "margin", leads=True),
    Chart(
        "rewards of the answers | 回答的奖励",
        (("chosen_reward", "better | 较优"), ("rejected_reward", "worse | 较差")),
    ),
    Chart(
        "log-probability (nats an answer) | 对数概率（每个回答）",
        (("chosen_logps", "better | 较优"), ("rejected_logps", "worse | 较差")),
    ),
    _one("KL from the reference (nats) | 与参考模型的 KL（nat）", "kl"),
    _one("entropy (nats a token) | 熵（每 token）", "entropy"),
    _one("answer length (tokens) | 回答长度（token）", "answer_length", leads=True),
    _one("share of answers cut off | 被截断的回答占比", "truncated_share", leads=True),
    _one("share of tokens held by the clip | 被裁剪的 token 占比", "clip_share"),
    _one("share of prompts without a signal | 无信号的提示占比", "no_signal_share"),
    _one("KL of a step's updates (nats a token) | 每步更新的 KL（每 token）", "step_kl"),
    _one("share of the variance that the values explain | 价值解释的方差占比", "value_explained"),
    _one("value loss | 价值损失", "value_loss"),
    _one("strength of the leash (beta) | KL 约束强度（beta）", "beta"),
    _one("spread of the rewards | 奖励的标准差", "reward_std"),
)
_SHOWN = 8
"""Charts that are open; the rest is folded."""


def course(steps: Sequence[Entries], evals: Sequence[Entries]) -> str:
    """The section, of ``step_end`` and ``eval_end`` events; empty where there are none."""
    charts = [_metric(chart, steps, evals) for chart in _charts([*steps, *evals])]
    charts += [
        _line(say("learning rate", "学习率"), points(steps, "learning_rate")),
        _line(say("tokens a second", "每秒 token"), points(steps, "tokens_per_second")),
    ]
    charts = [chart for chart in charts if chart]
    more = say("{n} more pictures", "另外 {n} 幅图", n=len(charts[_SHOWN:]))
    return section(
        say("How it went", "训练过程"),
        _loss(steps, evals),
        _pairs(charts[:_SHOWN]),
        fold(more, _pairs(charts[_SHOWN:])),
    )


def leading(evals: Sequence[Entries], held_out_loss: object) -> list[tuple[str, str, str]]:
    """What stands at the head of the report, of the evaluation with that loss (else the last): what, number,
    remark.
    """
    if not evals:
        return []
    chosen = next((one for one in evals if one.get("loss") == held_out_loss), evals[-1])
    first, found = evals[0].get("metrics") or {}, chosen.get("metrics") or {}
    entries = []
    for chart in CHARTS:
        name = chart.lines[0][0]
        if chart.leads and name in found:
            remark = say("held-out; {x:.3g} at first", "留出集；最初 {x:.3g}", x=first.get(name, found[name]))
            entries.append((pick(chart.label), f"{found[name]:.3g}", remark))
    return entries


def points(events: Sequence[Entries], key: str) -> list[Point]:
    """(step, value) of a field of events, where it is a finite number."""
    return [
        (float(event["step"]), float(event[key]))
        for event in events
        if isinstance(event.get(key), int | float) and math.isfinite(event[key])
    ]


def is_likelihood(steps: Sequence[Entries], evals: Sequence[Entries]) -> bool:
    """Whether the loss is a mean of -log p over tokens, so that its exponential has a meaning."""
    if evals:
        return evals[-1].get("perplexity") is not None
    return not any(event.get("metrics") for event in steps)


def is_rewarded(evals: Sequence[Entries]) -> bool:
    """Whether the held-out loss is minus a reward, which is what people read."""
    return any("reward" in (event.get("metrics") or {}) for event in evals)


def _charts(events: Sequence[Entries]) -> list[Chart]:
    """Those of which there are numbers, and one for each metric that no chart knows, as they appear."""
    names = dict.fromkeys(name for event in events for name in event.get("metrics") or {})
    known = {name for chart in CHARTS for name, _ in chart.lines}
    found = [chart for chart in CHARTS if any(name in names for name, _ in chart.lines)]
    own = [_one(name.replace(" | ", "|"), name) for name in names if name not in known]
    return [*found, *own]


def _metric(chart: Chart, steps: Sequence[Entries], evals: Sequence[Entries]) -> str:
    trained = [(name, line, _measured(steps, line)) for line, name in chart.lines]
    if len(trained) > 1:
        series = [
            Series(pick(name), smoothed(found), style)
            for (name, _, found), style in zip(trained, ("run", "base"), strict=True)
        ]
    else:
        ((_, line, found),) = trained
        series = [
            Series(say("each step", "每步"), found, "faint"),
            Series(say("smoothed", "平滑"), smoothed(found)),
            Series(say("held-out", "留出集"), _measured(evals, line), "base", dots=True),
        ]
    return line_chart(series, x_label=say("step", "步"), y_label=pick(chart.label), width=_SMALL)


def _measured(events: Sequence[Entries], name: str) -> list[Point]:
    rows = [{"step": event["step"], **(event.get("metrics") or {})} for event in events]
    return points(rows, name)


def _loss(steps: Sequence[Entries], evals: Sequence[Entries]) -> str:
    losses, likely = points(steps, "loss"), is_likelihood(steps, evals)
    held_out = [] if is_rewarded(evals) else points(evals, "loss")
    return line_chart(
        [
            Series(say("each step", "每步"), losses, "faint"),
            Series(say("smoothed", "平滑"), smoothed(losses)),
            Series(say("held-out", "留出集"), held_out, "base", dots=True),
        ],
        x_label=say("step", "步"),
        y_label=say("loss (nats a token)", "损失（每 token）") if likely else say("loss", "损失"),
    )


def _line(label: str, found: Sequence[Point]) -> str:
    return line_chart(
        [Series("", found)], x_label=say("step", "步"), y_label=label, from_zero=True, width=_SMALL
    )


def _pairs(charts: Sequence[str]) -> str:
    """Two beside each other."""
    rows = (charts[start : start + 2] for start in range(0, len(charts), 2))
    return "".join(f'<div class="pair">{"".join(row)}</div>' for row in rows)
