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


def what_happened(done: Sequence[Encoded], origins: Sequence[Origin], *, drops: bool) -> Notices:
    """Counts of all that was done to examples. ``origins`` is parallel to ``done``; ``drops``: overlong ones
    are dropped, as was asked for.
    """
    cut = [encoded.prompt_cut for encoded in done if encoded.prompt_cut]
    answers = sum(encoded.answers_cut for encoded in done)
    dropped = sum(encoded.too_long for encoded in done) if drops else 0
    refused = [
        (origin.path, origin.row, encoded.rejected)
        for origin, encoded in zip(origins, done, strict=True)
        if encoded.rejected is not None and not (drops and encoded.too_long)
    ]
    by_turn = sum(encoded.by_turn for encoded in done)
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
    if cut:
        text = say(
            "{n} lost the beginning ({t:,} tokens in all) to fit data.max_length",
            "{n}为满足 data.max_length 被截去开头（共 {t:,} 个 token）",
            n=_counted(len(cut), say("prompt", "条提示"), say("prompts", "条提示")),
            t=sum(cut),
        )
        notices.append(("warning", text))
    if answers:
        text = say(
            "{n} cut at data.max_length: there the stop token is not learnt",
            "{n}在 data.max_length 处截断；不学习其停止符",
            n=_counted(answers, say("answer", "个回答"), say("answers", "个回答")),
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
    if by_turn:
        text = say(
            "{n} learnt one answer at a time, each an example: too long as a whole, or the chat template "
            "writes earlier turns in another way",
            "{n}按回答拆成多个样例：整体过长，或对话模板对历史的写法不同",
            n=_counted(by_turn, say("conversation", "段对话"), say("conversations", "段对话")),
        )
        notices.append(("info", text))
    return notices


def _counted(count: int, one: str, many: str) -> str:
    """``1 prompt``, ``1,200 prompts``."""
    return f"{count:,} {one if count == 1 else many}"


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
