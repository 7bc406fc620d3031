"""Pictures of the studies for the documentation: SVG for light and dark pages, without a library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from attune.evaluation.curves import short, ticks
from attune.evaluation.metrics import Interval
from attune.evaluation.page import escape

_STYLE = """<style>
text { font: 12px system-ui, sans-serif; fill: #57606a; }
.name { font-weight: 600; fill: #24292f; }
.grid { stroke: #d0d7de; }
.one { stroke: #0b6e8f; opacity: .35; } .mean { stroke: #0b6e8f; stroke-width: 2.5; }
.one, .mean { fill: none; stroke-linejoin: round; } .range { stroke: #0b6e8f; stroke-width: 2; }
circle { fill: #0b6e8f; }
@media (prefers-color-scheme: dark) {
  text { fill: #9da7b3; } .name { fill: #e6edf3; } .grid { stroke: #30363d; }
  .one, .mean, .range { stroke: #56b8d9; } circle { fill: #56b8d9; }
}
</style>"""
_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM, _GAP = 940, 240, 46, 44, 36, 14


def courses(path: Path, label: str, panels: Mapping[str, Sequence[Sequence[float]]]) -> None:
    """A panel a method, over one scale: a number for each step, a thin line a seed, a thick one the mean."""
    values = [value for runs in panels.values() for run in runs for value in run]
    scale = ticks(min(values), max(values), 5)
    low, high = scale[0], scale[-1]
    width = (_WIDTH - _LEFT) / len(panels) - _GAP

    def y(value: float) -> float:
        return round(_HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM), 1)

    body = [_text(0, 12, label, "")]
    body += [_text(_LEFT - 8, y(tick) + 4, short(tick), "", "end") for tick in scale]
    for place, (name, runs) in enumerate(panels.items()):
        left = _LEFT + place * (width + _GAP)
        num = min(map(len, runs))
        xs = [round(left + step / max(1, num - 1) * width, 1) for step in range(num)]
        body += [
            f'<line class="grid" x1="{left:.1f}" x2="{left + width:.1f}" y1="{y(tick)}" y2="{y(tick)}"/>'
            for tick in scale
        ]
        body.append(_text(left + width / 2, 34, name, "name", "middle"))
        body.append(_text(left, _HEIGHT - 14, "1", ""))
        body.append(_text(left + width, _HEIGHT - 14, f"{num} steps", "", "end"))
        mean = np.mean([list(run)[:num] for run in runs], axis=0)
        for kind, line in [*(("one", run) for run in runs), ("mean", mean)]:
            points = " ".join(f"{x},{y(float(value))}" for x, value in zip(xs, line, strict=False))
            body.append(f'<polyline class="{kind}" points="{points}"/>')
    _write(path, _WIDTH, _HEIGHT, body)


def intervals(path: Path, label: str, rows: Mapping[str, Interval]) -> None:
    """A line a method: the mean, and its 95% interval."""
    scale = ticks(min(one.low for one in rows.values()), max(one.high for one in rows.values()), 6)
    low, high, left, row = scale[0], scale[-1], 80, 24
    bottom = 24 + row * len(rows)

    def x(value: float) -> float:
        return round(left + (value - low) / (high - low) * (_WIDTH / 2 - left - 30), 1)

    body = [_text(0, 12, label, "")]
    for tick in scale:
        body.append(f'<line class="grid" x1="{x(tick)}" x2="{x(tick)}" y1="20" y2="{bottom}"/>')
        body.append(_text(x(tick), bottom + 16, f"{100 * tick:g}%", "", "middle"))
    for place, (name, one) in enumerate(rows.items()):
        y = 24 + row * place + row / 2
        body.append(_text(left - 12, y + 4, name, "name", "end"))
        body.append(f'<line class="range" x1="{x(one.low)}" x2="{x(one.high)}" y1="{y}" y2="{y}"/>')
        body.append(f'<circle cx="{x(one.mean)}" cy="{y}" r="4.5"/>')
    _write(path, _WIDTH // 2, bottom + 24, body)


def _text(x: float, y: float, words: str, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _write(path: Path, width: int, height: int, body: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">'
    path.write_text("\n".join([head, _STYLE, *body, "</svg>\n"]), encoding="utf-8")
