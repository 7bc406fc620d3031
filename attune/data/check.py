"""The check: every row is looked at, and what would make training wrong is told with rows and cure.

Rows stream: reader → example → (tokens) → detectors; none of them holds the data, so that a file of any size
is checked in bounded memory. The detectors are the files of ``findings/``.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..recipe import plugs
from ..recipe.errors import RecipeError
from ..recipe.messages import pick, say
from ..recipe.schema import Data
from . import parallel
from .encode import Encoded, Encoder
from .examples import Example, Origin, Rejected
from .findings._finding import Context, Detector, Fact, Finding, Level, Seen, Tally
from .parallel import CHUNK, PARALLEL_FROM
from .reasons import REASONS, cure_of, meaning_of
from .sources import FileReport, OnProgress, Stream, Taken
from .template import TemplateError

NAMES = {
    "unreadable_file": "A file cannot be read, or is in no known form. | 文件无法读取，或格式未知。",
    "changed_rows": "Rows are used, but not as they stand in the file. | 行经修改后使用，与文件中不同。",
}
"""The findings that come from no file of ``findings/``."""
SAMPLE = 20_000
"""Examples that costly detectors look at where a training run checks its data."""
LARGE_SAMPLE = 200_000
"""The same where nothing but the check is wanted: more would take memory with every row of a large file."""


@dataclass(frozen=True, slots=True)
class Report:
    """What the check found."""

    kind: str
    files: tuple[FileReport, ...]
    num_rows: int
    num_examples: int
    findings: tuple[Finding, ...]
    """The gravest first."""
    facts: tuple[Fact, ...]
    notes: tuple[str, ...]
    accepted: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 clean, 1 findings that stop training, 2 unusable."""
        levels = {finding.level for finding in self.findings}
        return 2 if "unusable" in levels else int(bool(self.stopping))

    @property
    def stopping(self) -> tuple[Finding, ...]:
        """What training must not begin with."""
        return tuple(
            finding
            for finding in self.findings
            if finding.level == "unusable" or (finding.level == "stop" and finding.name not in self.accepted)
        )

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``: every number of the report."""
        facts = [{"form": type(fact).__name__.lower(), **asdict(fact)} for fact in self.facts]
        shown = {**asdict(self), "facts": facts, "exit_code": self.exit_code}
        for finding, entry in zip(self.findings, shown["findings"], strict=True):
            entry["share"] = finding.share
        return shown


_ORDER = ("unusable", "stop", "warning", "info")


class Examination:
    """Takes examples and rejections one by one; ``report`` after the last.

    ``families``: the files of ``findings/`` that look, all by default. ``data`` says which rejected rows stop
    training, as they do in ``prepare``.
    """

    def __init__(self, context: Context, data: Data, families: Collection[str] | None = None) -> None:
        self.context = context
        self._data = data
        names = plugs.names("findings") if families is None else sorted(families)
        modules = [plugs.find("findings", name) for name in names]
        self._detectors: list[Detector] = [
            module.Detector(context) for module in modules if context.kind in module.KINDS
        ]
        self._rejected: dict[str, Tally] = {}
        self._changed = Tally()
        self.num_examples = 0
        self.num_rejected = 0

    def see(self, seen: Seen) -> None:
        encoded = seen.encoded
        if encoded is not None and encoded.rejected is not None:
            self.reject(Rejected(seen.origin, encoded.rejected, "", encoded.broken or "unusable_row"))
            return
        self.num_examples += 1
        for detector in self._detectors:
            detector.see(seen)

    def reject(self, rejected: Rejected) -> None:
        self._rejected.setdefault(rejected.name, Tally()).add(rejected.origin, rejected.reason)
        self.num_rejected += 1

    def change(self, origin: Origin, change: str) -> None:
        """A row that is used, but not as it stands in the file."""
        self._changed.add(origin, change)

    def report(self, files: Sequence[FileReport], notes: Sequence[str], extra: Sequence[Finding]) -> Report:
        """``extra``: findings that rest on no row, such as a file that cannot be read."""
        found = [*extra, *self._unusable_rows(), *(f for d in self._detectors for f in d.findings())]
        found += self._changed_rows()
        return Report(
            kind=self.context.kind,
            files=tuple(files),
            num_rows=self.num_examples + self.num_rejected,
            num_examples=self.num_examples,
            findings=tuple(sorted(found, key=lambda finding: _ORDER.index(finding.level))),
            facts=tuple(fact for detector in self._detectors for fact in detector.facts()),
            notes=tuple(notes),
            accepted=tuple(self._data.accept),
        )

    def _unusable_rows(self) -> Iterator[Finding]:
        """Rejected rows by the rule that they break."""
        total = self.num_examples + self.num_rejected
        overlong = self._data.overlong
        aside = {*self._data.accept, *(["too_long"] if overlong == "drop" else [])}
        num = sum(tally.num for name, tally in self._rejected.items() if name not in aside)
        too_many = num > self._data.max_rejected_share * total
        for name, tally in self._rejected.items():
            text = say(
                "{n:,} of {total:,} rows cannot be used: {reason}",
                "{total:,} 行中有 {n:,} 行无法使用：{reason}",
                n=tally.num,
                total=total,
                reason=meaning_of(name) or tally.rows[0].excerpt.rstrip(".。"),
            )
            stops = (too_many and name not in aside) or (name, overlong) == ("too_long", "stop")
            level: Level = "unusable" if not self.num_examples else "stop" if stops else "warning"
            yield tally.finding(name, level, text, cure_of(name), total)

    def _changed_rows(self) -> Iterator[Finding]:
        total = self.num_examples + self.num_rejected
        if self._changed.num:
            text = say(
                "{n:,} of {total:,} rows are used with a change",
                "{total:,} 行中有 {n:,} 行经修改后使用",
                n=self._changed.num,
                total=total,
            )
            yield self._changed.finding("changed_rows", "info", text, "", total)


def check(
    data: Data,
    kind: str | None,
    make_encoder: Callable[[str], Encoder] | None = None,
    *,
    seed: int = 0,
    families: Collection[str] | None = None,
    sample: int | None = LARGE_SAMPLE,
    on_progress: OnProgress | None = None,
) -> Report:
    """Checks the data of a recipe. ``kind`` None: whatever the first file holds; ``make_encoder`` takes the
    kind, None: without tokens; ``sample``: as ``Context.sample``. A file that cannot be read and a chat
    template that is not exact are findings, not errors.

    Raises RecipeError for a finding in ``data.accept`` that there is none of.
    """
    must_be_known(data.accept)
    stream = Stream(data.train, kind, on_progress=on_progress)
    rows = _ahead(stream)
    kind = stream.kind or "conversation"
    broken: list[Finding] = []
    encoder = None
    if make_encoder is not None:
        try:
            encoder = make_encoder(kind)
        except TemplateError as error:
            broken += [
                Finding(one.name, "unusable", one.text, cure_of(one.name), 0, 0) for one in error.found
            ]
    context = Context(
        kind=kind,
        template=encoder.template if encoder else None,
        tokenizer=encoder.tokenizer if encoder else None,
        policy=encoder.policy if encoder else None,
        seed=seed,
        sample=sample,
    )
    examination = Examination(context, data, families)
    streams = [stream]
    _look(examination, rows, encoder, data.workers, is_held_out=False)
    if isinstance(data.held_out, list) and data.held_out:
        streams.append(Stream(data.held_out, context.kind, on_progress=on_progress))
        _look(examination, _ahead(streams[1]), encoder, data.workers, is_held_out=True)
    broken += [_unreadable(problem) for stream in streams for problem in stream.problems]
    files = [file for stream in streams for file in stream.files]
    notes = [note for stream in streams for note in stream.notes]
    if not examination.num_examples + examination.num_rejected and not broken:
        broken += [_unreadable(say("the data holds no rows", "数据中没有行"))]
    return examination.report(files, notes, broken)


def examine(
    rows: Iterable[Seen], context: Context, data: Data, families: Collection[str] | None = None
) -> Report:
    """The check of data that is in memory; rejected rows are not in it."""
    examination = Examination(context, data, families)
    for seen in rows:
        examination.see(seen)
    return examination.report((), (), ())


def known_findings() -> dict[str, str]:
    """All findings by name, with what each means (in the person's language)."""
    families = [plugs.find("findings", name).NAMES for name in plugs.names("findings")]
    return {name: pick(text) for known in (NAMES, *families) for name, text in known.items()}


def must_be_known(accepted: Sequence[str]) -> None:
    """Raises RecipeError for a name in ``data.accept`` that is no finding."""
    known = sorted({*known_findings(), *REASONS})
    wrong = [plugs.unknown(f"data.accept={name}", name, known) for name in accepted if name not in known]
    if wrong:
        raise RecipeError(wrong)


def _ahead(stream: Stream) -> Iterator[Taken]:
    """The same rows, the first of them already read: the stream knows its kind."""
    rows = iter(stream)
    return itertools.chain(list(itertools.islice(rows, 1)), rows)


def _look(
    examination: Examination,
    rows: Iterator[Taken],
    encoder: Encoder | None,
    workers: int | None,
    *,
    is_held_out: bool,
) -> None:
    for taken, encoded in _encoded(rows, encoder, workers or os.cpu_count() or 1):
        if taken.rejected is not None:
            examination.reject(taken.rejected)
        if taken.change is not None:
            examination.change(taken.origin, taken.change)
        if taken.example is not None:
            examination.see(Seen(taken.example, taken.origin, encoded, is_held_out))


def _encoded(
    rows: Iterator[Taken], encoder: Encoder | None, workers: int
) -> Iterator[tuple[Taken, Encoded | None]]:
    """Each row with what encoding does to it; over several processes where there are rows enough."""
    if encoder is None:
        yield from ((taken, None) for taken in rows)
        return
    first = list(itertools.islice(rows, PARALLEL_FROM))
    waiting: deque[list[Taken]] = deque()

    def chunks() -> Iterator[list[Example]]:
        every = itertools.chain(first, rows)
        while chunk := list(itertools.islice(every, CHUNK)):
            waiting.append(chunk)
            yield [taken.example for taken in chunk if taken.example is not None]

    work = functools.partial(_measure, encoder)
    for done in parallel.run(work, chunks(), workers if len(first) == PARALLEL_FROM else 1):
        results = iter(done)
        for taken in waiting.popleft():
            yield taken, next(results) if taken.example is not None else None


def _measure(encoder: Encoder, examples: Sequence[Example]) -> list[Encoded]:
    """What encoding does to each, without the tokens."""
    return [replace(encoder.encode(example), segments=()) for example in examples]


def _unreadable(problem: str) -> Finding:
    """The problem says what to do about it."""
    return Finding("unreadable_file", "unusable", problem, "", 0, 0)
