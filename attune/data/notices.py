"""What a person must know about the prepared data: sentences with a level (``info``, ``warning``)."""

from __future__ import annotations

from collections.abc import Sequence

from ..recipe.messages import join, say
from . import split
from .encode import Encoded
from .examples import Example, Origin
from .sources import Loaded

Notices = list[tuple[str, str]]


def about_files(loaded: Loaded) -> Notices:
    """What was read, as which format, and what was left out."""
    notices = []
    for report in loaded.files:
        text = say(
            "{path}: {rows:,} rows, format {format} ({container}{encoding})",
            "{path}：{rows:,} 行，格式 {format}（{container}{encoding}）",
            path=report.path,
            rows=report.num_rows,
            format=report.format,
            container=report.container,
            encoding=f", {report.encoding}" if report.encoding else "",
        )
        if report.ignored:
            text += say("; columns not used: {names}", "；未使用的列：{names}", names=join(report.ignored))
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


def what_happened(done: Sequence[Encoded], *, drops: bool) -> Notices:
    """Counts of all that was done to examples. ``drops``: overlong ones are dropped, as was asked for."""
    cut = [encoded.prompt_cut for encoded in done if encoded.prompt_cut]
    answers = sum(encoded.answers_cut for encoded in done)
    dropped = sum(encoded.too_long for encoded in done) if drops else 0
    refused = sum(encoded.rejected is not None for encoded in done) - dropped
    by_turn = sum(encoded.by_turn for encoded in done)
    notices = []
    if refused:
        text = say(
            "{n} examples could not be encoded: see rejected.jsonl",
            "{n} 个样例无法编码：见 rejected.jsonl",
            n=refused,
        )
        notices.append(("warning", text))
    if cut:
        text = say(
            "{n} prompts lost their beginning ({t} tokens in all) to fit data.max_length",
            "{n} 条提示为满足 data.max_length 被截去开头（共 {t} 个 token）",
            n=len(cut),
            t=sum(cut),
        )
        notices.append(("warning", text))
    if answers:
        text = say(
            "{n} answers were cut at data.max_length; their stop token is not learnt",
            "{n} 个回答在 data.max_length 处截断；不学习其停止符",
            n=answers,
        )
        notices.append(("warning", text))
    if dropped:
        text = say(
            "{n} overlong examples were dropped, as data.overlong=drop asks",
            "按 data.overlong=drop 丢弃了 {n} 个超长样例",
            n=dropped,
        )
        notices.append(("warning", text))
    if by_turn:
        text = say(
            "{n} conversations are laid one answer at a time: too long as a whole, or rendered otherwise as "
            "history",
            "{n} 段对话按回答逐条编排：整体过长，或模板对历史的渲染不同",
            n=by_turn,
        )
        notices.append(("info", text))
    return notices


def leaks(train: Sequence[Example], held: Sequence[Example], origins: Sequence[Origin]) -> Notices:
    """A warning where held-out prompts are in the training data too. ``origins`` are those of ``held``."""
    found = split.leaks(train, held)
    if not found:
        return []
    text = say(
        "{n} held-out prompts are also in training ({rows}{more}): their scores say nothing about new "
        "questions",
        "{n} 条留出提示也在训练集中（{rows}{more}）：其得分不能说明新问题上的表现",
        n=len(found),
        rows=join(f"{origins[i].path}:{origins[i].row}" for i in found[:5]),
        more=" …" if len(found) > 5 else "",
    )
    return [("warning", text)]
