"""What a person must know about the prepared data: sentences with a level (``info``, ``warning``)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

from ..recipe.messages import join, say
from .encode import Encoded
from .examples import Origin
from .findings import lengths
from .findings._finding import Finding
from .sources import Loaded

Notices = list[tuple[str, str]]
_SHOWN = 3
"""Rows of a finding that a run names; the check shows more."""


def about_files(loaded: Loaded) -> Notices:
    """What was read, as which format, and what was left out."""
    notices = []
    for report in loaded.files:
        text = say(
            "{path}: {rows}, format {format} ({container}{encoding})",
            "{path}：{rows}，格式 {format}（{container}{encoding}）",
            path=report.path,
            rows=_counted(report.num_rows, say("row", "行"), say("rows", "行")),
            format=report.format,
            container=report.container,
            encoding=f", {report.encoding}" if report.encoding else "",
        )
        if report.ignored:
            text += say("; columns not used: {names}", "；未使用的列：{names}", names=join(report.ignored))
        if report.change:
            text += say("; {change}", "；{change}", change=report.change)
        notices.append(("info", text))
    notices += [("info", note) for note in loaded.notes]
    if loaded.changed:
        first = loaded.changed[0]
        text = say(
            "{n} rows are used with a change, first {path}:{row}: {change}",
            "{n} 行经修改后使用，首个是 {path}:{row}：{change}",
            n=len(loaded.changed),
            path=first.origin.path,
            row=first.origin.row,
            change=first.change,
        )
        notices.append(("warning", text))
    if loaded.rejected:
        row = loaded.rejected[0]
        text = say(
            "{n} of {total:,} rows cannot be used (see rejected.jsonl), first {path}:{row}: {reason}",
            "{total:,} 行中有 {n} 行无法使用（见 rejected.jsonl），首个是 {path}:{row}：{reason}",
            n=len(loaded.rejected),
            total=loaded.num_rows,
            path=row.origin.path,
            row=row.origin.row,
            reason=row.reason,
        )
        notices.append(("warning", text))
    return notices


def nothing_held_out(share: float, num_held: int, num_rows: int) -> Notices:
    """Where a share was to be held out and none is: there are too few prompts (or texts) to spare one."""
    if num_held or not share:
        return []
    text = say(
        "Too few to hold any out (rows: {n}): there will be no held-out loss. --held-out FILE gives rows",
        "数据太少（{n} 行），没有留出任何行：不会有留出损失。可用 --held-out 文件 指定",
        n=num_rows,
    )
    return [("info", text)]


def about_verdicts(values: Sequence[float]) -> Notices:
    """How many answers were called good (1) and bad (0)."""
    good, num = sum(value > 0.5 for value in values), len(values)
    if not num:
        return []
    text = say(
        "{good:,} answers are called good and {bad:,} bad ({share:.1%} good)",
        "{good:,} 个回答评为好，{bad:,} 个评为差（好的占 {share:.1%}）",
        good=good,
        bad=num - good,
        share=good / num,
    )
    return [("info", text)]


def what_happened(done: Sequence[Encoded], origins: Sequence[Origin], *, drops: bool) -> Notices:
    """What could not be encoded, or was dropped. ``origins`` is parallel to ``done``; ``drops``: overlong
    ones are dropped, as was asked for.
    """
    dropped = sum(encoded.too_long for encoded in done) if drops else 0
    refused = [
        (origin.path, origin.row, encoded.rejected)
        for origin, encoded in zip(origins, done, strict=True)
        if encoded.rejected is not None and not (drops and encoded.too_long)
    ]
    notices = []
    if refused:
        path, row, reason = min(refused)
        text = say(
            "{n} could not be encoded (see rejected.jsonl), first {path}:{row}: {reason}",
            "{n}无法编码（见 rejected.jsonl），首个是 {path}:{row}：{reason}",
            n=_counted(len(refused), say("example", "个样例"), say("examples", "个样例")),
            path=path,
            row=row,
            reason=reason,
        )
        notices.append(("warning", text))
    if dropped:
        text = say(
            "{n} dropped, as data.overlong=drop asks",
            "按 data.overlong=drop 丢弃了 {n}",
            n=_counted(
                dropped, say("overlong example", "个超长样例"), say("overlong examples", "个超长样例")
            ),
        )
        notices.append(("warning", text))
    return notices


def _counted(count: int, one: str, many: str) -> str:
    """``1 prompt``, ``1,200 prompts``."""
    return f"{count:,} {one if count == 1 else many}"


def about_findings(findings: Sequence[Finding]) -> Notices:
    """What the check found, as a run tells it: what is merely good to know is left to ``attune check``, but
    for what was done to rows.
    """
    told = [finding for finding in findings if finding.level != "info" or finding.name in lengths.NAMES]
    return [
        ("info" if finding.level == "info" else "warning", f"{finding.name}: {_with_rows(finding)}")
        for finding in told
    ]


def stopped(findings: Sequence[Finding]) -> str:
    """Why training does not begin, a line a finding, and how to begin all the same."""
    head = say("Training would go wrong, so it does not begin:", "训练会出错，因此没有开始：")
    lines = (
        say(
            "  {name}: {text}. {cure}",
            "  {name}：{text}。{cure}",
            name=one.name,
            text=_with_rows(one),
            cure=one.cure,
        )
        for one in findings
    )
    accept = say(
        "See the rows: attune check DATA --model M. To train all the same: data.accept=[{names}]",
        "查看这些行：attune check 数据 --model M。仍要训练：data.accept=[{names}]",
        names=",".join(one.name for one in findings),
    )
    return "\n".join([head, *lines, accept])


def _with_rows(finding: Finding) -> str:
    text = finding.text.rstrip(".。")
    rows = sorted((row.origin.path, row.origin.row) for row in finding.rows)[:_SHOWN]
    if not rows:
        return text
    by_file = ((path, [row for _, row in group]) for path, group in groupby(rows, key=itemgetter(0)))
    shown = join(f"{path}:{', '.join(map(str, numbers))}" for path, numbers in by_file)
    more = ", …" if finding.num > len(rows) else ""
    return say("{text} ({rows}{more})", "{text}（{rows}{more}）", text=text, rows=shown, more=more)
