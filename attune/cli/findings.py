"""A check on the terminal: its findings with rows and cures, its numbers, and rows token by token."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..recipe.messages import join, say

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from ..data.check import Report
    from ..data.findings._finding import Fact, Finding, Histogram, Table
    from ..data.sources import FileReport
    from ..engine.inspect import Part, Shown

_MARKS = {
    "unusable": ("✗", "bold red"),
    "stop": ("✗", "red"),
    "warning": ("!", "yellow"),
    "info": ("·", "dim"),
}
_BAR = 32
_LINES = 12
"""Lines of a quoted row; the page holds all of them."""
_PICTURES = {code: 0x2400 + code for code in range(32) if code not in (9, 10)} | {127: 0x2421}
_PICTURES |= dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
"""Control characters of the data are shown, never obeyed: an escape sequence could colour, hide or rename."""


def show(report: Report, *, has_model: bool, quiet: bool = False) -> None:
    """The report; with ``quiet`` the findings above ``info`` and the verdict."""
    console = _console()
    if not quiet:
        for file in report.files:
            console.print(_text(file.path, "bold").append_text(_text(_about(report, file))))
        for note in report.notes:
            console.print(_text(f"  {note}", "dim"))
    for finding in report.findings:
        if not quiet or finding.level != "info":
            _finding(console, finding, is_accepted=finding.name in report.accepted)
    if not quiet:
        for fact in report.facts:
            _fact(console, fact)
    console.print()
    console.print(_text(_verdict(report), ("green", "red", "bold red")[report.exit_code]))
    if not has_model and not quiet:
        about_model = say(
            "Lengths, the chat template and the stop token are checked with a model: --model M",
            "加上 --model M 还会检查长度、对话模板与停止符",
        )
        console.print(_text(about_model, "dim"))


def show_rows(rows: Sequence[Shown]) -> None:
    """Rows as the model will see them: learnt tokens are coloured (in a pipe between ⟦ and ⟧), the stop token
    is marked.
    """
    console = _console()
    for row in rows:
        console.print(_text(f"{row.origin.path}:{row.origin.row}", "bold"))
        if row.reason is not None:
            reason = say("cannot be used: {reason}", "无法使用：{reason}", reason=row.reason)
            console.print(_text(reason, "red"))
        for part in row.parts:
            if part.title:
                console.print(_text(part.title, "cyan"))
            console.print(_tokens(part, is_coloured=console.is_terminal))
        console.print()
    legend = say("given │ ⟦learnt⟧ │ ⏹ the stop token, learnt", "给定 │ ⟦学习⟧ │ ⏹ 停止符（学习）")
    console.print(_text(legend, "dim"))


def rows_as_dicts(rows: Sequence[Shown]) -> list[dict[str, Any]]:
    """The same rows for ``--json``."""
    return [asdict(row) for row in rows]


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)


def _text(text: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(text.translate(_PICTURES), style)


def _about(report: Report, file: FileReport) -> str:
    about = say(
        "  {rows}, kind {kind}, format {format} ({container}{encoding})",
        "  {rows}，类型 {kind}，格式 {format}（{container}{encoding}）",
        rows=_counted(file.num_rows, say("row", "行"), say("rows", "行")),
        kind=report.kind,
        format=file.format,
        container=file.container,
        encoding=f", {file.encoding}" if file.encoding else "",
    )
    if file.ignored:
        about += say("; columns not used: {names}", "；未使用的列：{names}", names=join(file.ignored))
    if file.change:
        about += say("; {change}", "；{change}", change=file.change)
    return about


def _counted(count: int, one: str, many: str) -> str:
    """``1 row``, ``1,200 rows``."""
    return f"{count:,} {one if count == 1 else many}"


def _finding(console: Console, finding: Finding, *, is_accepted: bool) -> None:
    mark, style = _MARKS[finding.level]
    accepted = say("  (accepted)", "（已接受）") if is_accepted and finding.level == "stop" else ""
    console.print()
    console.print(_text(f"{mark} {finding.name}", style).append(accepted))
    console.print(_text(f"  {finding.text}"))
    for row in finding.rows:
        excerpt = f"  {row.excerpt}" if row.excerpt else ""
        console.print(_text(f"    {row.origin.path}:{row.origin.row}{excerpt}", "dim"))
    if finding.cure:
        console.print(_text(f"  → {finding.cure}", "cyan" if finding.level != "info" else "dim"))


def _fact(console: Console, fact: Fact) -> None:
    from ..data.findings._finding import Histogram, Table

    console.print()
    console.print(_text(fact.title, "bold"))
    if isinstance(fact, Histogram):
        _histogram(console, fact)
    elif isinstance(fact, Table):
        _table(console, fact)
    else:
        lines = fact.text.split("\n")
        for line in lines[:_LINES]:
            console.print(_text(f"  │ {line}", "dim"))
        if len(lines) > _LINES:
            more = say("  │ … {n} more lines", "  │ …另有 {n} 行", n=len(lines) - _LINES)
            console.print(_text(more, "dim"))


def _histogram(console: Console, fact: Histogram) -> None:
    most = max(fact.counts, default=0) or 1
    bins = list(zip(fact.edges, fact.edges[1:], fact.counts, strict=False))
    width = max(len(f"{low:,}–{high:,}") for low, high, _ in bins)
    for low, high, count in bins:
        bar = "█" * max(int(count > 0), round(_BAR * count / most))
        console.print(_text(f"  {f'{low:,}–{high:,}':>{width}}  {bar} {count:,}"))


def _table(console: Console, fact: Table) -> None:
    """Columns of numbers and shares stand to the right."""
    from rich.table import Table as Grid

    grid = Grid.grid(padding=(0, 3, 0, 0))
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in fact.rows]
    for column in zip(*cells, strict=True):
        is_number = all(cell[:1].isdigit() for cell in column)
        grid.add_column(justify="right" if is_number else "left", no_wrap=True)
    if fact.columns:
        grid.add_row(*(_text(name, "dim") for name in fact.columns))
    for row in cells:
        grid.add_row(*map(_text, row))
    with console.capture() as captured:
        console.print(grid)
    for line in captured.get().splitlines():
        console.print(f"  {line}".rstrip(), markup=False)


def _verdict(report: Report) -> str:
    if report.exit_code == 2:
        return say("Unusable: nothing can be trained on this as it stands.", "无法使用：目前不能用于训练。")
    if report.exit_code == 1:
        stopping = report.stopping
        return say(
            "{n} would make training wrong: it does not begin until that is mended, or accepted with "
            "data.accept=[{names}]",
            "{n}会让训练出错：修正之前不会开始训练，除非接受：data.accept=[{names}]",
            n=_counted(len(stopping), say("finding", "项发现"), say("findings", "项发现")),
            names=",".join(finding.name for finding in stopping),
        )
    examples = _counted(report.num_examples, say("example", "个样例"), say("examples", "个样例"))
    warnings = sum(finding.level in ("warning", "stop") for finding in report.findings)
    if warnings:
        return say(
            "{examples} can be trained on; {n} to look at.",
            "{examples}可以训练；有 {n} 项值得查看。",
            examples=examples,
            n=warnings,
        )
    return say("Clean: {examples} can be trained on.", "没有问题：{examples}可以训练。", examples=examples)


_STYLES = {"given": "dim", "learnt": "black on green", "stop": "bold white on red"}


def _tokens(part: Part, *, is_coloured: bool) -> Text:
    """Tokens with a thin line between them; a line break in one is shown as ⏎ and made."""
    from rich.text import Text

    text, before = Text(), "given"
    for piece, what in part.pieces:
        shown = ("⏹" if what == "stop" else "") + piece.translate(_PICTURES).replace("\n", "⏎\n")
        if is_coloured:
            text.append(shown, style=_STYLES[what])
            text.append("│", style="dim")
            continue
        opens, closes = before == "given" != what, before != "given" == what
        text.append(("⟧" if closes else "") + ("⟦" if opens else "│" if text.plain else "") + shown)
        before = what
    if before != "given" and not is_coloured:
        text.append("⟧")
    return text
