"""What a model is asked and what it should say: the rows of an evaluation, read and made ready."""

from __future__ import annotations

import difflib
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..data.examples import (
    Example,
    Labelled,
    Message,
    Origin,
    Preference,
    Prompt,
    Rejected,
    Text,
    Verdict,
    answers_of,
    prompt_of,
)
from ..data.sources import Stream, load
from ..recipe.errors import DataError
from ..recipe.messages import join, say
from ..recipe.schema import Source
from .runs import is_run

HELD_OUT = "held_out.jsonl"


@dataclass(frozen=True, slots=True)
class Question:
    """One row. ``prompt`` is what precedes the last answer, ``reference`` that answer; both are empty for a
    text (pretraining), which has a likelihood only.
    """

    origin: Origin
    example: Example
    prompt: tuple[Message, ...] = ()
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Questions:
    """The rows of an evaluation. ``name`` stands in file names; ``rejected``: what is unusable, and why."""

    name: str
    paths: list[str]
    rows: list[Question]
    rejected: list[dict[str, Any]]
    notes: list[str]


def read(
    sources: str | Sequence[str],
    kind: str,
    system: str | None = None,
    limit: int | None = None,
    *,
    is_rewarded: bool = False,
) -> Questions:
    """Reads ``sources`` as rows of ``kind``; preferences, verdicts and prompts are taken where a model that
    answers is asked. ``is_rewarded``: conversations are read as prompts, with the other columns that a reward
    may look at. ``system`` is given to conversations that have none. ``limit`` takes a seeded sample of
    so many rows, in their order. Raises DataError where no row is left.
    """
    if limit is not None and limit < 1:
        raise DataError(
            say(
                "limit={limit}: no row would be left. Give 1 or more, or leave it out for all rows.",
                "limit={limit}：将没有任何行。请给出不小于 1 的数，或省略以使用全部行。",
                limit=limit,
            )
        )
    paths = [sources] if isinstance(sources, str) else list(sources)
    files = [Source(path=path) for path in paths]
    found = _kind_here(files, kind)
    loaded = load(files, "prompt" if is_rewarded and found == "conversation" else found)
    rejected = [
        {"path": one.origin.path, "row": one.origin.row, "reason": one.reason, "value": one.value}
        for one in loaded.rejected
    ]
    rows = [
        _question(example, origin, system)
        for example, origin in zip(loaded.examples, loaded.origins, strict=True)
    ]
    if limit is not None and limit < len(rows):
        kept = sorted(random.Random(0).sample(range(len(rows)), limit))
        rows = [rows[place] for place in kept]
    if not rows:
        raise DataError(_nothing(paths, loaded.rejected))
    notes = [*loaded.notes, *([_unusable(loaded.rejected)] if loaded.rejected else [])]
    return Questions(_name(paths), paths, rows, rejected, notes)


_ASKED = ("preference", "verdict", "prompt")
"""Kinds that a model is asked about besides conversations."""


def _kind_here(files: list[Source], kind: str) -> str:
    """The kind as which ``files`` are read: what they hold, where a model that answers can be asked about it.
    A conversation that could be a prompt or a verdict as well stays one.
    """
    if kind not in (*_ASKED, "conversation"):
        return kind
    stream = Stream(files, None)
    next(iter(stream), None)
    if kind != "conversation":
        return stream.kind if stream.kind in (*_ASKED, "conversation") else kind
    if stream.kind in ("verdict", "prompt"):
        as_asked = Stream(files, kind)
        return kind if next(iter(as_asked), None) is not None else stream.kind
    return "preference" if stream.kind == "preference" else kind


def _nothing(paths: Sequence[str], rejected: Sequence[Rejected]) -> str:
    return say(
        "{paths}: no row can be evaluated. {why} Give a file with questions and answers: --data FILE.",
        "{paths}：没有可用于评测的行。{why}请用 --data 文件 指定含问题与答案的数据。",
        paths=join(paths),
        why=_unusable(rejected) if rejected else "",
    )


def _unusable(rejected: Sequence[Rejected]) -> str:
    first = rejected[0]
    return say(
        "Rows that cannot be used and are not scored: {num}. The first: {path}, row {row}: {reason}",
        "无法使用、未参与评分的行：{num}。第一处：{path} 第 {row} 行：{reason}",
        num=len(rejected),
        path=first.origin.path,
        row=first.origin.row,
        reason=first.reason,
    )


def held_out(run: str) -> str:
    """The file of the rows that ``run`` kept for evaluation. Raises DataError where there is none."""
    path = Path(run) / HELD_OUT
    if path.is_file() and path.stat().st_size:
        return str(path)
    if is_run(Path(run)):
        raise DataError(
            say(
                "{run} held out no rows (data.held_out=0, or too few prompts). Give a file: --data FILE.",
                "{run} 没有留出数据（data.held_out=0，或提示太少）。请指定文件：--data 文件。",
                run=run,
            )
        )
    siblings = [str(child) for child in Path(run).parent.iterdir()] if Path(run).parent.is_dir() else []
    near = difflib.get_close_matches(run, siblings, n=1)
    if not Path(run).exists():
        raise DataError(
            say(
                "{run}: no such run folder.{hint} attune runs lists what there is.",
                "{run}：没有这个运行目录。{hint}attune runs 可列出已有的运行。",
                run=run,
                hint=say(" Did you mean {near}?", "您是否想写 {near}？", near=near[0]) if near else "",
            )
        )
    raise DataError(
        say(
            "{run} is no run folder, and only a run holds rows of its own. Give a file: --data FILE.",
            "{run} 不是运行目录，而只有运行目录带有留出的数据。请指定文件：--data 文件。",
            run=run,
        )
    )


def _name(paths: Sequence[str]) -> str:
    """``test`` for ``data/test.json``; ``test+2`` where two more files were read."""
    first = Path(paths[0].rstrip("/")).name.split(".")[0] or "data"
    safe = "".join(char if char.isalnum() or char in "-_" else "-" for char in first)
    return safe if len(paths) == 1 else f"{safe}+{len(paths) - 1}"


def _question(example: Example, origin: Origin, system: str | None) -> Question:
    if isinstance(example, Labelled):
        label = example.label
        return Question(origin, example, reference=join(label) if isinstance(label, tuple) else str(label))
    if isinstance(example, Text):
        return Question(origin, example)
    if system is not None and all(message.role != "system" for message in prompt_of(example)):
        given = Message("system", system)
        if isinstance(example, Preference | Verdict):
            example = replace(example, prompt=(given, *example.prompt))
        else:
            example = replace(example, messages=(given, *example.messages))
    if isinstance(example, Prompt):
        return Question(origin, example, example.messages, example.reference)
    if isinstance(example, Verdict) and not example.is_good:
        return Question(origin, example, (*example.prompt, *example.answer[:-1]))
    messages = (*prompt_of(example), *answers_of(example)[0])
    answers = [place for place, message in enumerate(messages) if message.role == "assistant"]
    if not answers or answers[-1] == 0:
        return Question(origin, example)
    return Question(origin, example, messages[: answers[-1]], messages[answers[-1]].content)
