"""Pictures of an evaluation by scores: which classes are taken for which, and whether sureness is earned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..recipe.messages import say
from .curves import Series, line_chart
from .page import escape, fold, table

_MOST_CLASSES = 24
"""A larger matrix is shown as a list of its largest confusions."""
_SHOWN = 30


def of(figures: Mapping[str, Any]) -> str:
    """HTML of what there is: a confusion matrix, a reliability diagram."""
    parts = []
    if "confusion" in figures:
        parts.append(confusion(figures["classes"], figures["confusion"]))
    if "reliability" in figures:
        parts.append(reliability(figures["reliability"]))
    return "".join(parts)


def confusion(names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """The matrix as a picture: a row a class, a column a prediction, darker where there are more."""
    mistakes = _mistakes(names, counts)
    if len(names) > _MOST_CLASSES:
        return mistakes
    cell, left, top = (44, 130, 26) if len(names) <= 12 else (30, 130, 26)
    width, height = left + cell * len(names) + 10, top + cell * len(names) + 74
    body = []
    for row, name in enumerate(names):
        y = top + cell * row
        total = sum(counts[row]) or 1
        body.append(_text(left - 8, y + cell / 2 + 4, name, "end"))
        for column in range(len(names)):
            x, num = left + cell * column, counts[row][column]
            share = num / total
            colour = "var(--run)" if row == column else "var(--base)"
            label = escape(f"{name} → {names[column]}: {num} ({share:.0%})")
            body.append(
                f'<g><title>{label}</title><rect x="{x}" y="{y}" width="{cell - 2}" '
                f'height="{cell - 2}" rx="3" fill="{colour}" fill-opacity="{0.06 + 0.74 * share:.3f}"/>'
                f"{_text(x + cell / 2 - 1, y + cell / 2 + 4, str(num), 'middle')}</g>"
            )
    foot = top + cell * len(names) + 12
    for column, name in enumerate(names):
        middle = left + cell * column + cell / 2
        body.append(
            f'<text class="tick" x="{middle}" y="{foot}" text-anchor="end" '
            f'transform="rotate(-40 {middle} {foot})">'
            f"{escape(_short(name))}</text>"
        )
    caption = escape(say("Label (rows) and prediction (columns)", "标签（行）与预测（列）"))
    svg = (
        f'<svg viewBox="0 0 {width} {height}" style="max-width:{width}px" role="img" aria-label="{caption}">'
        f"{''.join(body)}</svg>"
    )
    return f"<figure><figcaption><strong>{caption}</strong></figcaption>{svg}</figure>{mistakes}"


def _mistakes(names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """The confusions that happen most."""
    found = sorted(
        (
            (counts[row][column], names[row], names[column])
            for row in range(len(names))
            for column in range(len(names))
            if row != column and counts[row][column]
        ),
        reverse=True,
    )
    headers = [say("label", "标签"), say("predicted", "预测"), say("rows", "行数")]
    title = say("Most frequent confusions", "最常见的混淆")
    return fold(title, table(headers, [[label, taken, num] for num, label, taken in found[:_SHOWN]]))


def reliability(bins: Sequence[Sequence[float]]) -> str:
    """Share that is right against the mean of what the model was sure of; on the diagonal it is as right as
    it says.
    """
    points = [(float(sure), float(right)) for sure, right, _ in bins]
    low = min((sure for sure, _ in points), default=0.0)
    return line_chart(
        [
            Series(say("as right as it is sure", "完全校准"), [(low, low), (1.0, 1.0)], "faint"),
            Series(say("this model", "本模型"), points, dots=True),
        ],
        x_label=say("how sure the model is", "模型的把握"),
        y_label=say("share that is right", "正确的比例"),
        width=460,
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text class="tick" x="{x}" y="{y}" text-anchor="{anchor}">{escape(_short(text))}</text>'


def _short(text: str) -> str:
    return text if len(text) <= 18 else text[:17] + "…"
