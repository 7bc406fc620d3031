"""What a model is asked and what it should say: the rows of an evaluation, read and made ready."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ..data.examples import Conversation, Example, Message, Origin, Rejected
from ..data.sources import load
from ..recipe.errors import DataError
from ..recipe.messages import join, say
from ..recipe.schema import Source

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
    sources: str | Sequence[str] | None,
    run: Path | None,
    kind: Literal["text", "conversation"],
    system: str | None = None,
    limit: int | None = None,
) -> Questions:
    """Reads ``sources``, or the rows that ``run`` held out. ``system`` is given to conversations that have
    none. ``limit`` takes a seeded sample of so many rows, in their order. Raises DataError without any row.
    """
    paths = [sources] if isinstance(sources, str) else list(sources or [_held_out(run)])
    loaded = load([Source(path=path) for path in paths], kind)
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
        "{num} rows cannot be used and are not scored; the first: {path}, row {row}: {reason}",
        "有 {num} 行无法使用、未参与评分；第一处：{path} 第 {row} 行：{reason}",
        num=len(rejected),
        path=first.origin.path,
        row=first.origin.row,
        reason=first.reason,
    )


def _held_out(run: Path | None) -> str:
    """The rows that a run kept for evaluation."""
    if run is None:
        raise DataError(
            say(
                "Nothing to evaluate on: only a run folder holds its own rows. Give a file: --data FILE.",
                "没有评测数据：只有运行目录带有留出的数据。请指定文件：--data 文件。",
            )
        )
    path = run / HELD_OUT
    if not path.is_file() or not path.stat().st_size:
        raise DataError(
            say(
                "{run} held out no rows (data.held_out=0). Give a file: --data FILE.",
                "{run} 没有留出数据（data.held_out=0）。请指定文件：--data 文件。",
                run=run,
            )
        )
    return str(path)


def _name(paths: Sequence[str]) -> str:
    """``test`` for ``data/test.json``; ``test+2`` where two more files were read."""
    first = Path(paths[0].rstrip("/")).name.split(".")[0] or "data"
    safe = "".join(char if char.isalnum() or char in "-_" else "-" for char in first)
    return safe if len(paths) == 1 else f"{safe}+{len(paths) - 1}"


def _question(example: Example, origin: Origin, system: str | None) -> Question:
    if not isinstance(example, Conversation):
        return Question(origin, example)
    messages = example.messages
    if system is not None and all(message.role != "system" for message in messages):
        messages = (Message("system", system), *messages)
        example = replace(example, messages=messages)
    answers = [place for place, message in enumerate(messages) if message.role == "assistant"]
    if not answers or answers[-1] == 0:
        return Question(origin, example)
    return Question(origin, example, messages[: answers[-1]], messages[answers[-1]].content)
