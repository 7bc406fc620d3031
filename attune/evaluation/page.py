"""The sheet a report is written on: escaping, tables, cards and the style. It loads nothing from anywhere."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Markup:
    """HTML that is already escaped; whatever is not of this type is escaped on its way into the page."""

    html: str


Cell = Markup | str | int | float | None


def escape(value: object) -> str:
    """Text that is safe in HTML content and in quoted attributes; control characters and lone surrogates,
    which no page may hold, become U+FFFD.
    """
    return html.escape(_UNPRINTABLE.sub("\ufffd", str(value)), quote=True)


def markup(value: Cell) -> str:
    """A cell as HTML: numbers with thousands separators, None as a dash."""
    if isinstance(value, Markup):
        return value.html
    if value is None:
        return "–"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
    return escape(value)


def prose(text: str) -> Markup:
    """A text of the data: line breaks kept, its own writing direction."""
    return Markup(f'<div class="prose" dir="auto">{escape(text)}</div>')


def section(title: str, *parts: str) -> str:
    """A titled part of the page; nothing where all parts are empty."""
    body = "".join(parts)
    return f"<section><h2>{escape(title)}</h2>{body}</section>" if body else ""


def table(headers: Sequence[str], rows: Sequence[Sequence[Cell]], style: str = "") -> str:
    """Rows under headers. On a phone every row becomes a card that names its cells. Nothing without rows."""
    if not rows:
        return ""
    head = "".join(f"<th>{escape(header)}</th>" for header in headers)
    body = []
    for row in rows:
        cells = [
            f'<td data-label="{escape(header)}"{_alignment(cell)}>{markup(cell)}</td>'
            for header, cell in zip(headers, row, strict=True)
        ]
        body.append(f"<tr>{''.join(cells)}</tr>")
    opening = f'<div class="wide"><table class="{style}">'
    return f"{opening}<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"


def _alignment(cell: Cell) -> str:
    return ' class="number"' if isinstance(cell, int | float) else ""


def facts(pairs: Mapping[str, Cell]) -> str:
    """Names and values under each other; those that are not known are left out."""
    known = [(name, value) for name, value in pairs.items() if value is not None and value != ""]
    rows = "".join(f"<div><dt>{escape(name)}</dt><dd>{markup(value)}</dd></div>" for name, value in known)
    return f"<dl>{rows}</dl>" if known else ""


def cards(entries: Sequence[tuple[str, str, str]]) -> str:
    """The figures that are read first: (what, number, remark)."""
    filled = (tuple(map(escape, entry)) for entry in entries)
    body = "".join(
        f'<div class="card"><span>{what}</span><b>{number}</b><small>{remark}</small></div>'
        for what, number, remark in filled
    )
    return f'<div class="cards">{body}</div>' if entries else ""


def fold(title: str, body: str) -> str:
    """A part that opens on a click; nothing where it would be empty."""
    return f"<details><summary>{escape(title)}</summary>{body}</details>" if body else ""


def code(text: str) -> str:
    """A command, a recipe: verbatim."""
    return f"<pre><code>{escape(text)}</code></pre>"


def page(title: str, language: str, body: str) -> str:
    """The whole file. The policy forbids the browser to load or run anything, whatever the data holds."""
    return (
        f'<!doctype html>\n<html lang="{language}"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><main>{body}</main></body></html>\n"
    )


_STYLE = """
:root { --ground: #fbfbfa; --sheet: #fff; --text: #1d2127; --soft: #626a75; --grid: #e6e8eb; --rule: #c6cbd2;
  --run: #0b6e8f; --base: #c2621b; --wash: #eef4f6; --good: #1d7a45; --bad: #b3261e;
  --warn: #fff5dd; --warn-edge: #d99a1c; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171a; --sheet: #1b1f24; --text: #e4e7eb;
  --soft: #98a2ae; --grid: #2b3138; --rule: #46505b; --run: #56b8d9; --base: #ef9a5a; --wash: #202a30;
  --good: #67c790; --bad: #ff8a80; --warn: #2e2716; --warn-edge: #c38f2b; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text); font: 15px/1.55 system-ui, -apple-system,
  "Segoe UI", Roboto, "Noto Sans", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif;
  -webkit-text-size-adjust: 100%; }
main { max-width: 1040px; margin: 0 auto; padding: 40px 24px 64px; }
header { margin-bottom: 24px; }
.eyebrow { margin: 0; color: var(--run); font-weight: 600; letter-spacing: .02em; }
h1 { margin: 2px 0 6px; font-size: 28px; line-height: 1.2; overflow-wrap: anywhere; }
h2 { margin: 0 0 14px; font-size: 18px; }
h3 { margin: 22px 0 8px; font-size: 15px; overflow-wrap: anywhere; }
h3:first-of-type { margin-top: 0; }
.lead, .note { margin: 0; color: var(--soft); overflow-wrap: anywhere; }
.note { margin-top: 10px; font-size: 13px; }
section { background: var(--sheet); border: 1px solid var(--grid); border-radius: 10px; padding: 22px 24px;
  margin-top: 18px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; }
.card { background: var(--sheet); border: 1px solid var(--grid); border-radius: 10px; padding: 14px 16px;
  display: flex; flex-direction: column; }
.card span, .card small { color: var(--soft); font-size: 13px; }
.card b { font-size: 24px; line-height: 1.3; font-weight: 650; font-variant-numeric: tabular-nums; }
.warnings { background: var(--warn); border: 1px solid var(--warn-edge); border-radius: 10px;
  margin-top: 18px; padding: 14px 20px; }
.warnings ul { margin: 6px 0 0; padding-left: 20px; } .warnings li { overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--soft); font-weight: 500; font-size: 13px; white-space: nowrap;
  border-bottom: 1px solid var(--rule); padding: 4px 14px 6px 0; }
td { vertical-align: top; border-bottom: 1px solid var(--grid); padding: 8px 14px 8px 0;
  overflow-wrap: anywhere; }
td:last-child, th:last-child { padding-right: 0; }
tr:last-child td { border-bottom: 0; }
td.number { white-space: nowrap; }
.answers { table-layout: fixed; } .answers th:first-child { width: 21%; }
.sampled th:first-child { width: 56px; } .sampled th:last-child { width: 150px; }
.scores td { vertical-align: middle; } .scores td:last-child { width: 190px; }
.prose { white-space: pre-wrap; overflow-wrap: anywhere; max-height: 22em; overflow-y: auto; }
.range { color: var(--soft); font-size: 13px; display: block; white-space: nowrap; }
 .better { color: var(--good); font-weight: 600; }
.worse { color: var(--bad); font-weight: 600; }
.mark { color: var(--good); font-weight: 600; font-size: 13px; }
dl { margin: 0; display: grid; grid-template-columns: repeat(auto-fit, minmax(380px, 1fr)); gap: 2px 40px; }
dl > div { display: flex; gap: 12px; justify-content: space-between; border-bottom: 1px solid var(--grid);
  padding: 6px 0; }
dt { color: var(--soft); } dd { margin: 0; text-align: right; overflow-wrap: anywhere; }
pre { margin: 8px 0 0; padding: 14px 16px; background: var(--wash); border-radius: 8px; overflow-x: auto;
  font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "Noto Sans Mono CJK SC", monospace; }
details { margin-top: 14px; } summary { cursor: pointer; color: var(--run); font-weight: 500; }
details > .wide, details > dl { margin-top: 10px; }
figure { margin: 0 0 22px; } figure:last-child { margin-bottom: 0; }
figcaption { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: 13px; margin-bottom: 6px; }
figcaption strong { font-size: 14px; font-weight: 600; }
.key { color: var(--soft); } .key::before { content: ""; display: inline-block; width: 16px; height: 3px;
  border-radius: 2px; margin-right: 6px; vertical-align: middle; background: var(--run); }
.key.base::before { background: var(--base); } .key.faint::before { opacity: .35; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 24px; margin-top: 22px; }
.pair figure { margin: 0; }
svg { display: block; width: 100%; height: auto; } svg.intervals { width: 180px; margin-left: auto; }
.tick { fill: var(--soft); font-size: 12px; } .intervals .tick { font-size: 10px; }
.grid { stroke: var(--grid); } .rule { stroke: var(--rule); }
.line { fill: none; stroke: var(--run); stroke-width: 2; stroke-linejoin: round;
  vector-effect: non-scaling-stroke; }
.line.faint { stroke-width: 1; opacity: .35; } .line.base { stroke: var(--base); }
.dot { fill: var(--run); } .dot.base { fill: var(--base); }
.whisker, .cap { stroke: currentColor; stroke-width: 2; } g.run { color: var(--run); }
g.base { color: var(--base); }
g circle { fill: currentColor; }
.after { margin-top: 14px; }
footer { margin-top: 24px; color: var(--soft); font-size: 13px; }
@media (max-width: 680px) {
  main { padding: 22px 12px 40px; } section { padding: 16px 14px; } h1 { font-size: 23px; }
  .cards { grid-template-columns: 1fr 1fr; gap: 8px; } .card { padding: 10px 12px; }
  .card b { font-size: 20px; }
  .pair { grid-template-columns: 1fr; } figure .tick { font-size: 24px; } .pair .tick { font-size: 16px; }
  dl { grid-template-columns: 1fr; }
  thead { display: none; } table, tbody { display: block; }
  tr { display: block; border: 1px solid var(--grid); border-radius: 8px; padding: 4px 12px;
    margin-bottom: 10px; }
  td, .scores td, .scores td:last-child { display: block; width: 100%; padding: 6px 0; }
  td::before { content: attr(data-label); display: block; color: var(--soft); font-size: 12px; }
  td[data-label=""]::before { display: none; }
  .scores tr { display: grid; grid-template-columns: repeat(auto-fit, minmax(86px, 1fr)); gap: 0 10px; }
  .scores td { border-bottom: 0; } .scores td:first-child { font-weight: 600; }
  .scores td:first-child, .scores td:last-child { grid-column: 1 / -1; }
  .scores td:first-child::before { display: none; } .scores .range { font-size: 12px; white-space: normal; }
  tr td:last-child { border-bottom: 0; } svg.intervals { margin: 0; }
}
@media print {
  :root { --ground: #fff; --sheet: #fff; --text: #000; --soft: #444; --grid: #ddd; --rule: #999;
    --run: #0b6e8f; --base: #c2621b; --wash: #f4f4f4; --good: #1d7a45; --bad: #b3261e; --warn: #fff; }
  body { font-size: 11px; } main { max-width: none; padding: 0; } .prose { max-height: none; }
  section { border: 0; padding: 0; margin-top: 20px; } .card { padding: 8px; } .card b { font-size: 18px; }
  dl { grid-template-columns: 1fr 1fr; }
  tr, figure, .card { break-inside: avoid; } h2, h3 { break-after: avoid; } pre { white-space: pre-wrap; }
  details::details-content { content-visibility: visible; block-size: auto; }
}
"""
