"""One question, two answers of which one must be wrong: other labels, verdicts, orders, short answers."""

# ruff: noqa: E501 (a sentence holds both languages in one line)
from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator

from ...recipe.messages import say
from ..duplicates import Places, closed_answer_of, column, disagreements, fingerprint, named, question_of
from ._finding import SHOWN_ROWS, Context, Fact, Finding, Row, Seen, Tally
from ._symptom import Symptom, Symptoms, meanings

KINDS = ("conversation", "preference", "verdict", "prompt", "labelled")
_SYMPTOMS = {
    "contradictory_answers": Symptom(
        "the same question has another short answer (label, verdict, order) elsewhere: one of them is wrong. | "
        "同一问题在别处有不同的简短回答（标签、判断、排序）：其中必有一错。",
        "Keep the right one of each. Where both are right (“name a colour”), it is harmless. | "
        "请只保留正确的一个。若都对（如“说一种颜色”），则无妨。",
    ),
}
NAMES = meanings(_SYMPTOMS)


class Detector:
    """Holds 20 bytes for each row with a closed answer (``duplicates.closed_answer_of``)."""

    def __init__(self, context: Context) -> None:
        self._symptoms = Symptoms(_SYMPTOMS)
        self._total = 0
        self._places = Places()
        self._questions = array("Q")
        self._answers = array("Q")

    def see(self, seen: Seen) -> None:
        self._total += 1
        answer = closed_answer_of(seen.example)
        if answer is None:
            return
        self._places.add(seen.origin)
        self._questions.append(fingerprint(*question_of(seen.example)))
        self._answers.append(fingerprint(answer))

    def findings(self) -> Iterator[Finding]:
        rows, others, num_questions = disagreements(column(self._questions), column(self._answers))
        if not num_questions:
            return
        shown = [self._row(int(row), int(other)) for row, other in zip(rows, others, strict=True)][
            :SHOWN_ROWS
        ]
        detail = say(" Such questions: {num:,}.", "这样的问题有 {num:,} 个。", num=num_questions)
        tally = Tally(len(rows), shown)
        yield self._symptoms.finding("contradictory_answers", tally, self._total, detail)

    def facts(self) -> Iterable[Fact]:
        return ()

    def _row(self, row: int, other: int) -> Row:
        origin = self._places[row]
        place = named(self._places[other], origin)
        return Row(origin, say("another answer: {place}", "另一回答：{place}", place=place))
