"""A check as one page: findings with their rows and cures, then the numbers. It loads nothing from afar."""

from __future__ import annotations

from pathlib import Path

from ..data.check import Report
from ..data.durable import write_text
from ..data.findings._finding import Fact, Finding, Histogram, Quote
from ..recipe.messages import language, say
from .page import Cell, Markup, cards, code, escape, page, section, table

_BAR = 16
"""Of the longest bar, in rem: a share of its cell would be nothing, as the cell is as wide as its bar."""


def write(report: Report, path: Path) -> None:
    """Writes the page; the file appears whole or not at all."""
    parts = [
        _header(report),
        _cards(report),
        *(
            section(
                title, *(_finding(one, report.accepted) for one in report.findings if one.level in levels)
            )
            for title, levels in (
                (say("Training would go wrong", "会让训练出错"), ("unusable", "stop")),
                (say("Worth a look", "值得查看"), ("warning",)),
                (say("Good to know", "供参考"), ("info",)),
            )
        ),
        section(say("Numbers", "数据概况"), *(_fact(fact) for fact in report.facts)),
        section(
            say("Files", "文件"),
            _files(report),
            *(f'<p class="note">{escape(note)}</p>' for note in report.notes),
        ),
    ]
    write_text(path, page(say("Data check", "数据检查"), language(), "".join(parts)))


def _header(report: Report) -> str:
    names = ", ".join(file.path for file in report.files)
    return (
        f'<header><p class="eyebrow">attune check</p><h1>{escape(names or report.kind)}</h1>'
        f'<p class="lead">{escape(_verdict(report))}</p></header>'
    )


def _verdict(report: Report) -> str:
    return (
        say("Clean: nothing here would make training wrong.", "没有会让训练出错的问题。"),
        say("Training would go wrong; see below.", "训练会出错，详见下文。"),
        say("Unusable as it stands.", "目前无法使用。"),
    )[report.exit_code]


def _cards(report: Report) -> str:
    count = {
        level: sum(one.level == level for one in report.findings) for level in ("unusable", "stop", "warning")
    }
    return cards(
        [
            (say("Rows", "行"), f"{report.num_rows:,}", report.kind),
            (say("Can be used", "可用"), f"{report.num_examples:,}", ""),
            (say("Stop training", "须处理"), str(count["unusable"] + count["stop"]), ""),
            (say("To look at", "值得查看"), str(count["warning"]), ""),
        ]
    )


def _finding(finding: Finding, accepted: tuple[str, ...]) -> str:
    title = finding.name + (say(" (accepted)", "（已接受）") if finding.name in accepted else "")
    rows: list[list[Cell]] = [[f"{row.origin.path}:{row.origin.row}", row.excerpt] for row in finding.rows]
    where = table([say("row", "行"), say("what stands there", "内容")], rows) if rows else ""
    cure = f'<p class="note">→ {escape(finding.cure)}</p>' if finding.cure else ""
    return f"<h3>{escape(title)}</h3><p>{escape(finding.text)}</p>{where}{cure}"


def _fact(fact: Fact) -> str:
    title = f"<h3>{escape(fact.title)}</h3>"
    if isinstance(fact, Quote):
        return title + code(fact.text)
    if isinstance(fact, Histogram):
        most = max(fact.counts, default=0) or 1
        bins = zip(fact.edges, fact.edges[1:], fact.counts, strict=False)
        rows: list[list[Cell]] = [
            [f"{low:,}–{high:,} {fact.unit}", count, _bar(count / most)] for low, high, count in bins
        ]
        return title + table([say("length", "长度"), say("rows", "行数"), ""], rows)
    headers = fact.columns or ("",) * max((len(row) for row in fact.rows), default=0)
    return title + table(headers, [list(row) for row in fact.rows])


def _bar(share: float) -> Markup:
    width = round(_BAR * share, 2)
    return Markup(f'<div style="background:var(--run);height:10px;border-radius:3px;width:{width}rem"></div>')


def _files(report: Report) -> str:
    headers = [
        say("file", "文件"),
        say("format", "格式"),
        say("rows", "行"),
        say("used", "可用"),
        say("encoding", "编码"),
    ]
    rows: list[list[Cell]] = [
        [file.path, f"{file.format} ({file.container})", file.num_rows, file.num_used, file.encoding]
        for file in report.files
    ]
    return table(headers, rows)
