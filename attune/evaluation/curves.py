"""Pictures of a run as inline SVG, without any library: lines over steps, and intervals beside each other.

Colours are the page's (classes ``run``, ``base``, ``faint``), so that light and dark mode and print need no
second picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .page import escape

Point = tuple[float, float]

HEIGHT = 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 12, 40
_MOST_POINTS = 600
"""More would not be seen at this width, and a run of 100,000 steps must not make a report of 20 MB."""


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a chart. ``style``: ``faint``, ``run``, ``base``; ``dots`` shows every point's value."""

    name: str
    points: Sequence[Point]
    style: str = "run"
    dots: bool = False


def smoothed(points: Sequence[Point]) -> list[Point]:
    """A running mean over about a twentieth of the points on both sides: no lag, no shift."""
    reach = max(1, len(points) // 40)
    values = [y for _, y in points]
    means = []
    for i, (x, _) in enumerate(points):
        around = min(reach, i, len(points) - 1 - i)
        window = values[i - around : i + around + 1]
        means.append((x, sum(window) / len(window)))
    return means


def line_chart(
    series: Sequence[Series], *, x_label: str, y_label: str, from_zero: bool = False, width: int = 940
) -> str:
    """A figure of the series over a common scale, ``width`` pixels wide where the page has room; an empty
    string where no series has two finite points.
    """
    shown = [_finite(one) for one in series]
    shown = [one for one in shown if one.points]
    if not any(len(one.points) > 1 for one in shown):
        return ""
    xs = [x for one in shown for x, _ in one.points]
    ys = [y for one in shown for _, y in one.points] + [0.0] * from_zero
    x_ticks = [tick for tick in ticks(min(xs), max(xs), width // 90) if min(xs) <= tick <= max(xs)]
    y_ticks = ticks(min(ys), max(ys), 5)
    frame = _Frame(min(xs), max(xs), y_ticks[0], y_ticks[-1], width)
    body = _axes(frame, x_ticks, y_ticks, x_label)
    for one in shown:
        body += _line(frame, one)
    names = escape(", ".join(one.name for one in shown))
    svg = f'<svg viewBox="0 0 {width} {HEIGHT}" role="img" aria-label="{escape(y_label)}: {names}">'
    return f"<figure><figcaption>{_legend(y_label, shown)}</figcaption>{svg}{''.join(body)}</svg></figure>"


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) that enclose ``low`` and ``high``."""
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # one value, but for rounding
        margin = abs(low) * 0.1 or 1.0
        low, high = low - margin, high + margin
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def short(value: float) -> str:
    """A number for an axis: ``12k``, ``0.05``, ``2e-05``."""
    if value == 0:
        return "0"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 10 * size or (abs(value) >= size and value % (size / 10) == 0):
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"


def interval_plot(
    intervals: Sequence[tuple[str, float, float, float]],
    low: float,
    high: float,
    ends: Callable[[float], str],
) -> str:
    """Dots with whiskers under each other, on the scale ``low`` to ``high``, which ``ends`` writes.

    ``intervals``: (style, mean, low, high) each.
    """
    width, row, pad = 180.0, 15.0, 8.0
    rule = row * len(intervals) + 3
    height = rule + 13
    span = (high - low) or 1.0

    def at(value: float) -> float:
        return round(pad + (value - low) / span * (width - 2 * pad), 1)

    body = [f'<line class="rule" x1="{pad}" x2="{width - pad}" y1="{rule}" y2="{rule}"/>']
    for value, anchor, x in ((low, "start", pad), (high, "end", width - pad)):
        place = f'x="{x}" y="{height - 1}" text-anchor="{anchor}"'
        body.append(f'<text class="tick" {place}>{escape(ends(value))}</text>')
    for i, (style, mean, lower, upper) in enumerate(intervals):
        y = row * i + row / 2
        label = escape(f"{mean:.4g} [{lower:.4g}, {upper:.4g}]")
        body.append(
            f'<g class="{style}"><title>{label}</title>'
            f'<line class="whisker" x1="{at(lower)}" x2="{at(upper)}" y1="{y}" y2="{y}"/>'
            f'<line class="cap" x1="{at(lower)}" x2="{at(lower)}" y1="{y - 4}" y2="{y + 4}"/>'
            f'<line class="cap" x1="{at(upper)}" x2="{at(upper)}" y1="{y - 4}" y2="{y + 4}"/>'
            f'<circle cx="{at(mean)}" cy="{y}" r="4"/></g>'
        )
    return f'<svg class="intervals" viewBox="0 0 {width:g} {height:g}" role="img">{"".join(body)}</svg>'


@dataclass(frozen=True, slots=True)
class _Frame:
    """Maps numbers to places in the picture."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float
    width: int

    def x(self, value: float) -> float:
        share = (value - self.x_low) / ((self.x_high - self.x_low) or 1.0)
        return round(_LEFT + share * (self.width - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        share = (value - self.y_low) / (self.y_high - self.y_low)
        return round(HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM), 1)


def _finite(series: Series) -> Series:
    points = [(x, y) for x, y in series.points if math.isfinite(x) and math.isfinite(y)]
    return Series(series.name, _thinned(points), series.style, series.dots)


def _thinned(points: list[Point]) -> list[Point]:
    """At most ``_MOST_POINTS``: the lowest and the highest of each stretch, so that no spike is lost."""
    if len(points) <= _MOST_POINTS:
        return points
    stretch = math.ceil(2 * len(points) / _MOST_POINTS)
    kept = []
    for start in range(0, len(points), stretch):
        part = points[start : start + stretch]
        kept += sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])})
    return kept


def _axes(frame: _Frame, x_ticks: list[float], y_ticks: list[float], x_label: str) -> list[str]:
    left, right, bottom = _LEFT, frame.width - _RIGHT, HEIGHT - _BOTTOM
    body = []
    for tick in y_ticks:
        y = frame.y(tick)
        body.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y}" y2="{y}"/>')
        body.append(f'<text class="tick" x="{left - 8}" y="{y + 4}" text-anchor="end">{short(tick)}</text>')
    for tick in x_ticks:
        x = frame.x(tick)
        body.append(f'<line class="rule" x1="{x}" x2="{x}" y1="{bottom}" y2="{bottom + 4}"/>')
        body.append(f'<text class="tick" x="{x}" y="{bottom + 17}" text-anchor="middle">{short(tick)}</text>')
    body.append(f'<line class="rule" x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    place = f'x="{(left + right) / 2}" y="{HEIGHT - 6}" text-anchor="middle"'
    body.append(f'<text class="tick" {place}>{escape(x_label)}</text>')
    return body


def _line(frame: _Frame, series: Series) -> list[str]:
    places = " ".join(f"{frame.x(x)},{frame.y(y)}" for x, y in series.points)
    body = [f'<polyline class="line {series.style}" points="{places}"/>'] if len(series.points) > 1 else []
    if series.dots:
        for x, y in series.points:
            label = escape(f"{series.name}: {short(x)} → {y:.4g}")
            circle = f'<circle class="dot {series.style}" cx="{frame.x(x)}" cy="{frame.y(y)}" r="4">'
            body.append(f"{circle}<title>{label}</title></circle>")
    return body


def _legend(y_label: str, series: Sequence[Series]) -> str:
    entries = [f"<strong>{escape(y_label)}</strong>"]
    if len(series) > 1:
        entries += [f'<span class="key {one.style}">{escape(one.name)}</span>' for one in series]
    return " ".join(entries)
