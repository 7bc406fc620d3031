"""Files without the rows that repeat others: exact repeats first, then near ones.

A row goes because a row that stays is like it: of each group of equals the first stays; with ``near``, rows
are taken in the order of ``keep``, and one goes where an earlier one that stays is at least so similar. So nothing
goes by a chain of rows each a little unlike the next. Similarities are exact, not estimates. Rows with
different labels, verdicts or short answers are no near repeats, however alike their texts: which of them is
right is for the person to say (``contradictory_answers``).
"""

# ruff: noqa: E501 (a sentence holds both languages in one line)
from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..recipe.errors import DataError, RecipeError
from ..recipe.messages import say
from ..recipe.schema import Source
from . import durable
from .duplicates import (
    Places,
    answer_of,
    closed_number,
    column,
    fingerprint,
    question_of,
    repeats,
    whole_text,
)
from .examples import Rejected
from .near import Hashes, Match, Neighbours, Sample, jaccard, shingles
from .rewrite import RawRow, must_be_files, must_be_writable, raw_rows, row_file
from .sources import Stream, Taken, write_rejected

OnProgress = Callable[[str, int, int], None]
LEAST = 0.5
"""Texts less similar than that are no duplicates, and would be compared by the million."""
_CACHED = 4096


@dataclass(frozen=True, slots=True)
class Deduped:
    """What ``dedup`` did. ``num_rows`` is the sum of the other numbers."""

    num_rows: int
    num_kept: int
    num_exact: int
    num_near: int | None
    """None where near repeats were not looked for."""
    num_rejected: int
    output: str
    removed: str
    """The file that tells which rows went, and why."""
    rejected: str | None
    """The file of the rows that cannot be used, where there are any."""
    notes: tuple[str, ...]

    def lines(self) -> list[tuple[str, str]]:
        """Labels and values for people."""
        said = [
            (say("rows", "行数"), f"{self.num_rows:,}"),
            (say("kept", "保留"), f"{self.num_kept:,}  → {self.output}"),
            (say("repeats", "重复"), f"{self.num_exact:,}  → {self.removed}"),
        ]
        if self.num_near is not None:
            said.append((say("near repeats", "近似重复"), f"{self.num_near:,}  → {self.removed}"))
        if self.rejected is not None:
            said.append((say("unusable", "无法使用"), f"{self.num_rejected:,}  → {self.rejected}"))
        return said


def dedup(
    sources: Sequence[Source],
    output: Path,
    *,
    near: float | None = None,
    keep: str = "first",
    on_progress: OnProgress | None = None,
) -> Deduped:
    """Writes the rows of ``sources`` that stay to ``output``, each as it stands, in their order; beside it those
    that go (``.removed.jsonl``: the row, its place, that of the row it repeats, how similar they are) and
    those that cannot be used (``.rejected.jsonl``). Weights are not applied: a row is written once.
    With ``near`` all texts are held in memory, else 13 bytes a row.

    Raises RecipeError for a wrong ``near`` or ``keep``, DataError for files that cannot be read or written.
    """
    _must_be_right(near, keep)
    stream = Stream(sources, None, on_progress=on_progress)
    rows = _Rows(with_texts=near is not None)
    for taken in stream:
        rows.add(taken)
    if stream.problems:
        raise DataError(stream.problems)
    must_be_files(stream.files)
    removed, rejected = beside(output, "removed"), beside(output, "rejected")
    must_be_writable([output, removed, rejected], [file.path for file in stream.files])
    gone = rows.exact()
    num_exact = len(gone)
    if near is not None:
        rows.near(gone, near, keep)
    with ExitStack() as stack:
        write = stack.enter_context(row_file(output))
        told = stack.enter_context(durable.writing(removed, newline="\n", errors="backslashreplace"))
        for index, raw in enumerate(raw_rows(stream.files)):
            if on_progress and (index % 1000 == 0 or index + 1 == len(rows.places)):
                on_progress(say("writing rows", "写出各行"), index + 1, len(rows.places))
            if index in gone:
                told.write(_told(raw, gone[index], rows.places) + "\n")
            elif rows.is_used[index]:
                write(raw)
    return Deduped(
        num_rows=len(rows.places),
        num_kept=sum(rows.is_used) - len(gone),
        num_exact=num_exact,
        num_near=None if near is None else len(gone) - num_exact,
        num_rejected=len(rows.rejected),
        output=str(output),
        removed=str(removed),
        rejected=leave_rejected(rows.rejected, rejected),
        notes=tuple(stream.notes),
    )


def beside(output: Path, what: str) -> Path:
    """``clean.removed.jsonl`` for ``clean.csv``."""
    return output.with_name(f"{output.stem}.{what}.jsonl")


def leave_rejected(rejected: Sequence[Rejected], path: Path) -> str | None:
    """Writes the rows that cannot be used, with their reasons; the file of an earlier time does not stay."""
    if rejected:
        write_rejected(rejected, path)
        return str(path)
    path.unlink(missing_ok=True)
    return None


@dataclass(slots=True)
class _Rows:
    """What is held of each row, used or not, by its number in all files."""

    with_texts: bool
    places: Places = field(default_factory=Places)
    is_used: bytearray = field(default_factory=bytearray)
    prints: array[int] = field(default_factory=lambda: array("Q"))
    texts: list[str] = field(default_factory=list)
    answers: array[int] = field(default_factory=lambda: array("Q"))
    rejected: list[Rejected] = field(default_factory=list)

    def add(self, taken: Taken) -> None:
        example = taken.example
        self.places.add(taken.origin)
        self.is_used.append(example is not None)
        if example is None:  # it repeats no other: its number is its own
            self.prints.append(fingerprint("unusable", str(len(self.prints))))
        else:
            self.prints.append(fingerprint(*question_of(example), "", *answer_of(example)))
        if self.with_texts:
            self.texts.append(whole_text(example) if example else "")
            self.answers.append(closed_number(example) if example else 0)
        if taken.rejected is not None:
            self.rejected.append(taken.rejected)

    def exact(self) -> dict[int, Match]:
        """Each row that repeats an earlier one, with that."""
        again, first = repeats(column(self.prints))
        return {row: Match(row, like, 1.0) for row, like in zip(again.tolist(), first.tolist(), strict=True)}

    def near(self, gone: dict[int, Match], threshold: float, keep: str) -> None:
        """Adds the near repeats to ``gone``; what repeats one of them now repeats the row that stays."""
        sample = Sample()
        for number, text in enumerate(self.texts):
            sample.add(0, number, "" if number in gone else text)
        _, signatures = sample.taken()
        order = np.arange(len(self.texts))
        if keep == "longest":
            order = np.argsort([-len(text) for text in self.texts], kind="stable")

        @lru_cache(_CACHED)
        def pieces(row: int) -> Hashes:
            return shingles([self.texts[row]])[0]

        alike = Neighbours(
            signatures,
            threshold,
            exactly=lambda row, other: jaccard(pieces(row), pieces(other)),
            answers=column(self.answers),
        )
        near = {match.row: match for match in alike.leaders(order.tolist())}
        for row, match in gone.items():
            if match.like in near:
                like = near[match.like]
                gone[row] = Match(row, like.like, like.similarity)
        gone.update(near)


def _told(raw: RawRow, match: Match, places: Places) -> str:
    like = places[match.like]
    entry: dict[str, Any] = {
        "path": raw.origin.path,
        "row": raw.origin.row,
        "like_path": like.path,
        "like_row": like.row,
        "similarity": round(match.similarity, 4),
    }
    return f'{json.dumps(entry, ensure_ascii=False)[:-1]}, "value": {raw.as_json()}}}'


def _must_be_right(near: float | None, keep: str) -> None:
    problems = []
    if near is not None and not LEAST <= near <= 1:
        problems.append(
            say(
                "--near {near}: a similarity from {least} to 1. Write for example --near 0.8.",
                "--near {near}：应为 {least} 到 1 之间的相似度。例如 --near 0.8。",
                near=near,
                least=LEAST,
            )
        )
    if keep == "longest" and near is None:
        problems.append(
            say(
                "--keep longest: rows that are equal are of one length; it is for near repeats. Add --near 0.8.",
                "--keep longest：完全相同的行长度也相同；它只用于近似重复。请加上 --near 0.8。",
            )
        )
    if keep not in ("first", "longest"):
        problems.append(
            say(
                "--keep {keep}: first or longest. Write for example --keep longest.",
                "--keep {keep}：应为 first 或 longest。例如 --keep longest。",
                keep=keep,
            )
        )
    if problems:
        raise RecipeError(problems)
