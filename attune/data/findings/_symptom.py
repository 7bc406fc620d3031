"""Findings that single rows show: one sentence and one cure each, counted by rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import ClassVar

from ...recipe.messages import pick, say
from ..examples import Example, Origin
from ._finding import Context, Fact, Finding, Level, Seen, Tally

Hit = tuple[str, str]
"""The name of a symptom, and the piece of the row that shows it."""


@dataclass(frozen=True, slots=True)
class Symptom:
    """``meaning`` and ``cure`` are ``English | 中文``. Below a share of ``warning_from`` of the rows it is
    only good to know; from ``stop_from`` on training would go wrong.
    """

    meaning: str
    cure: str
    warning_from: float = 0.005
    stop_from: float = inf

    def level(self, share: float) -> Level:
        if share >= self.stop_from:
            return "stop"
        return "warning" if share >= self.warning_from else "info"


def meanings(symptoms: Mapping[str, Symptom]) -> dict[str, str]:
    """``NAMES`` of a family."""
    return {name: symptom.meaning for name, symptom in symptoms.items()}


class Symptoms:
    """Counts the rows that show each of the known symptoms."""

    def __init__(self, known: Mapping[str, Symptom]) -> None:
        self.known = known
        self.tallies = {name: Tally() for name in known}
        self.total = 0

    def row(self, origin: Origin, hits: Iterable[Hit]) -> None:
        """Takes note of a row; a symptom that it shows several times counts once."""
        self.total += 1
        names = set()
        for name, piece in hits:
            if name not in names:
                names.add(name)
                self.tallies[name].add(origin, piece)

    def findings(self) -> Iterator[Finding]:
        for name, tally in self.tallies.items():
            if tally.num:
                yield self.finding(name, tally, self.total)

    def finding(self, name: str, tally: Tally, total: int, detail: str = "") -> Finding:
        """What a tally says about ``total`` rows; ``detail`` is a further sentence."""
        symptom, share = self.known[name], tally.num / max(1, total)
        text = say(
            "{n:,} of {total:,} rows ({share:.2%}): {meaning}",
            "{total:,} 行中有 {n:,} 行（{share:.2%}）：{meaning}",
            n=tally.num,
            total=total,
            share=share,
            meaning=pick(symptom.meaning),
        )
        return tally.finding(name, symptom.level(share), text + detail, pick(symptom.cure), total)


class RowDetector:
    """A detector whose findings follow from each row by itself; ``hits`` says what a row shows."""

    SYMPTOMS: ClassVar[Mapping[str, Symptom]]

    def __init__(self, context: Context) -> None:
        self.context = context
        self.symptoms = Symptoms(self.SYMPTOMS)

    def hits(self, example: Example) -> Iterable[Hit]:
        raise NotImplementedError

    def see(self, seen: Seen) -> None:
        self.symptoms.row(seen.origin, self.hits(seen.example))

    def findings(self) -> Iterable[Finding]:
        return self.symptoms.findings()

    def facts(self) -> Iterable[Fact]:
        return ()
