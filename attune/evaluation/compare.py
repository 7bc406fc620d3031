"""From the scores of rows to means with intervals, and to the difference of two models on the same rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..recipe.messages import pick, say
from .metrics import Interval, bootstrap, paired_bootstrap

RowScores = Mapping[str, float | None]
"""One model on one row: ``nll`` (nats, summed over the answer), ``num_tokens`` (learnt ones),
``exact_match``, ``rouge_l``, ``length`` (generated tokens), ``cut`` (1.0 if max_new_tokens ended it),
``reward`` and ``reward/<part>``. None: not scored.
"""


@dataclass(frozen=True, slots=True)
class Metric:
    """How a score is named and read."""

    name: str
    label: str
    """``English | 中文``."""
    better: Literal["lower", "higher", "neither"]
    digits: int
    is_share: bool = False


METRICS = (
    Metric("loss", "loss (nats a token) | 损失（每 token）", "lower", 3),
    Metric("perplexity", "perplexity | 困惑度", "lower", 2),
    Metric("exact_match", "exact match | 完全匹配", "higher", 1, is_share=True),
    Metric("rouge_l", "ROUGE-L | ROUGE-L", "higher", 1, is_share=True),
    Metric("length", "answer length (tokens) | 回答长度（token）", "neither", 1),
    Metric("cut", "cut by max_new_tokens | 因长度上限截断", "lower", 1, is_share=True),
    Metric("accuracy", "accuracy | 准确率", "higher", 1, is_share=True),
    Metric("macro_f1", "macro F1 | 宏平均 F1", "higher", 3),
    Metric("micro_f1", "micro F1 | 微平均 F1", "higher", 3),
    Metric("auc", "AUC | AUC", "higher", 3),
    Metric("log_loss", "log loss (nats a row) | 对数损失（每行）", "lower", 3),
    Metric("calibration_error", "calibration error | 校准误差", "lower", 3),
    Metric("mse", "mean squared error | 均方误差", "lower", 4),
    Metric("r2", "R² | R²", "higher", 3),
    Metric("pearson", "Pearson correlation | Pearson 相关", "higher", 3),
    Metric("spearman", "Spearman correlation | Spearman 相关", "higher", 3),
    Metric("win", "wins by the judge | 裁判判胜", "higher", 1, is_share=True),
    Metric("reward", "reward | 奖励", "higher", 3),
    Metric("kl", "KL from the other (nats an answer) | 与对方的 KL（每个回答）", "neither", 2),
    Metric("likelier", "better answer likelier a token | 好回答概率更高", "higher", 1, is_share=True),
    Metric("pair_accuracy", "pairs in the right order | 排序正确的比例", "higher", 1, is_share=True),
    Metric("reward_margin", "reward margin | 奖励差", "neither", 3),
    Metric("followed", "verdicts followed | 与好坏评判一致的比例", "higher", 1, is_share=True),
    Metric("pair_calibration", "calibration error of pairs | 配对校准误差", "lower", 3),
    Metric("longer_chosen", "longer answer is better | 较长回答更优的比例", "neither", 1, is_share=True),
    Metric(
        "longer_preferred", "longer answer is preferred | 偏好较长回答的比例", "neither", 1, is_share=True
    ),
)
_OF_TOKENS = ("loss", "perplexity")
PART = "reward/"
"""Before the name of a part of the reward, in the names of scores."""


def metrics_in(names: Iterable[str]) -> list[Metric]:
    """The metrics of these names, in the order of ``METRICS``; the parts of a reward follow their sum."""
    given = dict.fromkeys(names)
    found = [metric for metric in METRICS if metric.name in given]
    place = next((at for at, metric in enumerate(found, 1) if metric.name == "reward"), len(found))
    found[place:place] = [
        Metric(name, name.removeprefix(PART).replace(" | ", "|"), "higher", 3)
        for name in given
        if name.startswith(PART)
    ]
    return found


def intervals(rows: Sequence[RowScores]) -> dict[str, Interval]:
    """Each metric's mean and 95% interval. A metric that no row has is left out."""
    found = {}
    for metric in _metrics(rows):
        scored = [row for row in rows if _value(metric, row) is not None]
        if scored:
            values = [_value(metric, row) for row in scored]
            found[metric.name] = bootstrap(values, **_options(metric, scored))  # type: ignore[arg-type]
    return found


def differences(a: Sequence[RowScores], b: Sequence[RowScores]) -> dict[str, Interval]:
    """``a - b`` of each metric over the rows that both have.

    Loss and perplexity are left out where the two count different tokens (other tokenizers, other templates):
    nats a token are then nats of different things.
    """
    found = {}
    for metric in _metrics([*a, *b]):
        pairs = [
            (x, y)
            for x, y in zip(a, b, strict=True)
            if _value(metric, x) is not None and _value(metric, y) is not None
        ]
        if not pairs or (metric.name in _OF_TOKENS and not same_tokens(a, b)):
            continue
        left, right = [x for x, _ in pairs], [y for _, y in pairs]
        values = [_value(metric, row) for row in left], [_value(metric, row) for row in right]
        found[metric.name] = paired_bootstrap(*values, **_options(metric, left))  # type: ignore[arg-type]
    return found


def same_tokens(a: Sequence[RowScores], b: Sequence[RowScores]) -> bool:
    """Whether both models were scored on as many tokens in every row."""
    return all(x["num_tokens"] == y["num_tokens"] for x, y in zip(a, b, strict=True))


def _metrics(rows: Sequence[RowScores]) -> list[Metric]:
    """All that rows may have: a loss is made of two of their numbers."""
    return metrics_in([*_OF_TOKENS, *dict.fromkeys(name for row in rows for name in row)])


def _value(metric: Metric, row: RowScores) -> float | None:
    """What is averaged; for loss and perplexity the row's mean, weighted by its tokens."""
    if metric.name not in _OF_TOKENS:
        return row.get(metric.name)
    nll, num_tokens = row.get("nll"), row.get("num_tokens")
    return nll / num_tokens if nll is not None and num_tokens else None


def _options(metric: Metric, rows: Sequence[RowScores]) -> dict[str, Any]:
    if metric.name not in _OF_TOKENS:
        return {}
    options: dict[str, Any] = {"weights": [row["num_tokens"] for row in rows]}
    if metric.name == "perplexity":
        options["transform"] = np.exp
    return options


def number(metric: Metric, value: float, *, sign: bool = False) -> str:
    """A score for people: shares in percent."""
    plus = "+" if sign else ""
    if metric.is_share:
        return f"{100 * value:{plus}.{metric.digits}f}%"
    return f"{value:{plus},.{metric.digits}f}" if abs(value) < 1e7 else f"{value:{plus}.3g}"


def span(metric: Metric, interval: Mapping[str, float], *, sign: bool = False) -> str:
    """``[low, high]``."""
    return f"[{number(metric, interval['low'], sign=sign)}, {number(metric, interval['high'], sign=sign)}]"


def is_sure(interval: Mapping[str, float]) -> bool:
    """Whether the interval of a difference excludes zero."""
    return interval["low"] > 0 or interval["high"] < 0


def verdict(metric: Metric, gap: Mapping[str, float]) -> Literal["better", "worse"] | None:
    """What a difference says of the first model; None where it may be zero or neither way is better."""
    if metric.better == "neither" or not is_sure(gap):
        return None
    return "better" if (gap["mean"] > 0) == (metric.better == "higher") else "worse"


def table(
    evaluation: Mapping[str, Any], names: Collection[str] | None = None
) -> tuple[list[str], list[list[str]]]:
    """Headers and rows for the console, of an evaluation as ``Evaluation.as_dict`` gives it (``names``: of
    these scores only). A difference whose interval excludes zero ends in ``*``.
    """
    models, gaps = evaluation["models"], evaluation["differences"]
    headers = [say("metric", "指标"), *(str(model["name"]) for model in models)]
    if gaps is not None:
        headers.append(say("difference", "差值"))
    rows = []
    for metric in metrics_in(name for model in models for name in model["scores"]):
        if names is not None and metric.name not in names:
            continue
        scores = [model["scores"].get(metric.name) for model in models]
        row = [pick(metric.label)]
        row += [f"{number(metric, s['mean'])} {span(metric, s)}" if s else "–" for s in scores]
        if gaps is not None:
            gap = gaps.get(metric.name)
            row.append(_gap(metric, gap) if gap else "–")
        rows.append(row)
    return headers, rows


def _gap(metric: Metric, gap: Mapping[str, float]) -> str:
    star = " *" if is_sure(gap) else ""
    return f"{number(metric, gap['mean'], sign=True)} {span(metric, gap, sign=True)}{star}"
