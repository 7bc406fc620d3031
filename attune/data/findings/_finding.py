"""What a look at data gives: findings (something to know, with rows and a cure) and facts (numbers)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from ..encode import Encoded
from ..encode import Policy as EncodePolicy
from ..examples import Example, Origin
from ..template import ChatTemplate

Level = Literal["unusable", "stop", "warning", "info"]
"""``unusable``: nothing can be trained on it; ``stop``: training would go wrong, and does not begin unless
the person accepts the finding by its name; ``warning``: likely wrong, told and repeated; ``info``: good to
know.
"""

SHOWN_ROWS = 5


@dataclass(frozen=True, slots=True)
class Row:
    """A row that a finding is about, and the piece of it that shows why."""

    origin: Origin
    excerpt: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know. ``text`` says what was found (with counts), ``cure`` what to do about it."""

    name: str
    level: Level
    text: str
    cure: str
    num: int
    """Rows concerned."""
    total: int
    """Rows looked at."""
    rows: tuple[Row, ...] = ()
    """The first of them."""

    @property
    def share(self) -> float:
        return self.num / max(1, self.total)


@dataclass(frozen=True, slots=True)
class Histogram:
    """``counts[i]`` of the values in [``edges[i]``, ``edges[i + 1]``)."""

    title: str
    edges: tuple[int, ...]
    counts: tuple[int, ...]
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells; numbers are aligned by whoever shows them."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True, slots=True)
class Quote:
    """A text as it stands, such as a rendered row."""

    title: str
    text: str


Fact = Histogram | Table | Quote


@dataclass(frozen=True, slots=True)
class Seen:
    """One example as a detector gets it."""

    example: Example
    origin: Origin
    encoded: Encoded | None = None
    """Its lengths and what encoding did to it, without segments; None where no model was named."""
    is_held_out: bool = False


@dataclass(frozen=True, slots=True)
class Context:
    """What detectors may know of the run that the data is for."""

    kind: str
    template: ChatTemplate | None = None
    tokenizer: Any = None
    policy: EncodePolicy | None = None
    seed: int = 0
    sample: int | None = None
    """Detectors whose cost grows faster than reading look at so many examples at most; None: at all."""


class Detector(Protocol):
    """Sees every example once, in the order of the files, and holds no more of them than it must: a few bytes
    a row, whatever the size of the file.
    """

    def __init__(self, context: Context) -> None: ...

    def see(self, seen: Seen) -> None:
        """Takes note of one example."""

    def findings(self) -> Iterable[Finding]:
        """After the last example."""

    def facts(self) -> Iterable[Fact]:
        """Numbers for the report; may be none."""


@dataclass(slots=True)
class Tally:
    """Counts rows and keeps the first of them."""

    num: int = 0
    rows: list[Row] = field(default_factory=list)

    def add(self, origin: Origin, excerpt: str = "") -> None:
        self.num += 1
        if len(self.rows) < SHOWN_ROWS:
            self.rows.append(Row(origin, excerpt))

    def finding(self, name: str, level: Level, text: str, cure: str, total: int) -> Finding:
        return Finding(name, level, text, cure, self.num, total, tuple(self.rows))


def excerpt(text: str, start: int, end: int | None = None, around: int = 20) -> str:
    """The piece ``text[start:end]`` with a little of what stands around it, on one line."""
    end = start + 1 if end is None else end
    before, after = max(0, start - around), min(len(text), end + around)
    piece = " ".join(text[before:after].split())
    return f"{'…' if before else ''}{piece}{'…' if after < len(text) else ''}"
