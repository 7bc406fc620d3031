"""A check on the terminal: its findings with rows and cures, its numbers, and rows token by token."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..recipe.messages import join, say

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from ..data.check import Report
    from ..data.findings._finding import Fact, Finding
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


def show(report: Report, *, has_model: bool, quiet: bool = False) -> None:
    """The report; with ``quiet`` the findings above ``info`` and the verdict."""
    console = _console()
    if not quiet:
        for file in report.files:
            console.print(_file(report, file))
        for note in report.notes:
            console.print(f"  {note}", style="dim", markup=False)
    for finding in report.findings:
        if not quiet or finding.level != "info":
            _finding(console, finding, is_accepted=finding.name in report.accepted)
    if not quiet:
        for fact in report.facts:
            _fact(console, fact)
    console.print()
    console.print(_verdict(report), style=("green", "red", "bold red")[report.exit_code], markup=False)
    if not has_model and not quiet:
        console.print(
            say(
                "Lengths, the chat template and the stop token are checked with a model: --model M",
                "加上 --model M 还会检查长度、对话模板与停止符",
            ),
            style="dim",
            markup=False,
        )


def show_rows(rows: Sequence[Shown]) -> None:
    """Rows as the model will see them: learnt tokens are coloured (in a pipe between ⟦ and ⟧), the stop token
    is marked.
    """
    from rich.text import Text

    console = _console()
    for row in rows:
        console.print(f"{row.origin.path}:{row.origin.row}", style="bold", markup=False)
        if row.reason is not None:
            text = say("cannot be used: {reason}", "无法使用：{reason}", reason=row.reason)
            console.print(Text(text, style="red"))
        for part in row.parts:
            if part.title:
                console.print(Text(part.title, style="cyan"))
            console.print(_tokens(part, is_coloured=console.is_terminal))
        console.print()
    console.print(
        Text(
            say(
                "given │ ⟦learnt⟧ │ ⏹ the stop token, learnt",
                "给定 │ ⟦学习⟧ │ ⏹ 停止符（学习）",
            ),
            style="dim",
        )
    )


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)


def _file(report: Report, file: object) -> Text:
    from rich.text import Text

    path, kind = getattr(file, "path", ""), report.kind
    about = say(
        "  {rows:,} rows, kind {kind}, format {format} ({container}{encoding})",
        "  {rows:,} 行，类型 {kind}，格式 {format}（{container}{encoding}）",
        rows=getattr(file, "num_rows", 0),
        kind=kind,
        format=getattr(file, "format", ""),
        container=getattr(file, "container", ""),
        encoding=f", {file.encoding}" if getattr(file, "encoding", None) else "",  # type: ignore[attr-defined]
    )
    ignored = getattr(file, "ignored", ())
    if ignored:
        about += say("; columns not used: {names}", "；未使用的列：{names}", names=join(ignored))
    return Text.assemble((path, "bold"), about)


def _finding(console: Console, finding: Finding, *, is_accepted: bool) -> None:
    from rich.text import Text

    mark, style = _MARKS[finding.level]
    accepted = say("  (accepted)", "（已接受）") if is_accepted and finding.level == "stop" else ""
    console.print()
    console.print(Text.assemble((f"{mark} {finding.name}", style), accepted))
    console.print(Text(f"  {finding.text}"))
    for row in finding.rows:
        excerpt = f"  {row.excerpt}" if row.excerpt else ""
        console.print(Text(f"    {row.origin.path}:{row.origin.row}{excerpt}", style="dim"))
    if finding.cure:
        console.print(Text(f"  → {finding.cure}", style="cyan" if finding.level != "info" else "dim"))


def _fact(console: Console, fact: Fact) -> None:
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    from ..data.findings._finding import Histogram, Table

    console.print()
    console.print(Text(fact.title, style="bold"))
    if isinstance(fact, Histogram):
        most = max(fact.counts, default=0) or 1
        bins = list(zip(fact.edges, fact.edges[1:], fact.counts, strict=False))
        width = max(len(f"{low:,}–{high:,}") for low, high, _ in bins)
        for low, high, count in bins:
            bar = "█" * max(int(count > 0), round(_BAR * count / most))
            console.print(Text(f"  {f'{low:,}–{high:,}':>{width}}  {bar} {count:,}"))
    elif isinstance(fact, Table):
        grid = Grid(*fact.columns, box=box.SIMPLE if fact.columns else None, show_header=bool(fact.columns))
        for row in fact.rows:
            grid.add_row(*(Text(f"{cell:,}" if isinstance(cell, int) else str(cell)) for cell in row))
        console.print(grid)
    else:
        lines = fact.text.split("\n")
        for line in lines[:_LINES]:
            console.print(Text(f"  │ {line}", style="dim"))
        if len(lines) > _LINES:
            console.print(
                Text(say("  │ … {n} more lines", "  │ …另有 {n} 行", n=len(lines) - _LINES), style="dim")
            )


def _verdict(report: Report) -> str:
    if report.exit_code == 2:
        return say("Unusable: nothing can be trained on this as it stands.", "无法使用：目前不能用于训练。")
    if report.exit_code == 1:
        names = ",".join(finding.name for finding in report.stopping)
        return say(
            "{n} of {total} findings would make training wrong; it does not begin unless they are "
            "mended or accepted: "
            "data.accept=[{names}]",
            "{total} 项发现中有 {n} 项会让训练出错；修正或接受之前不会开始训练：data.accept=[{names}]",
            n=len(report.stopping),
            total=len(report.findings),
            names=names,
        )
    warnings = sum(finding.level in ("warning", "stop") for finding in report.findings)
    if warnings:
        return say(
            "{rows:,} examples can be trained on; {n} to look at.",
            "{rows:,} 个样例可以训练；有 {n} 项值得查看。",
            rows=report.num_examples,
            n=warnings,
        )
    return say(
        "Clean: {rows:,} examples can be trained on.",
        "没有问题：{rows:,} 个样例可以训练。",
        rows=report.num_examples,
    )


_STYLES = {"given": "dim", "learnt": "black on green", "stop": "bold white on red"}


def _tokens(part: Part, *, is_coloured: bool) -> Text:
    """Tokens with a thin line between them; a line break in one is shown as ⏎ and made."""
    from rich.text import Text

    text, before = Text(), "given"
    for piece, what in part.pieces:
        shown = ("⏹" if what == "stop" else "") + piece.replace("\n", "⏎\n")
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
