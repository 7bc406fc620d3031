"""Verdicts (KTO): how many good answers there are for a bad one."""

# ruff: noqa: E501 (a sentence holds both languages in one line)
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ...recipe.messages import say
from ..examples import Verdict, outputs_of
from ._finding import Context, Fact, Finding, Seen, Table, Tally, excerpt
from ._symptom import Symptom, Symptoms, meanings

KINDS = ("verdict",)
_SYMPTOMS = {
    "one_sided_verdicts": Symptom(
        "the verdict is the same for all of them: there is nothing to compare. | 判断全部相同：没有可比较的。",
        "Add answers of the other kind; for good answers alone use attune sft. | 请加入另一类回答；若只有好的回答，请用 attune sft。",
        stop_from=0,
    ),
    "unbalanced_verdicts": Symptom(
        "one verdict outweighs the other by more than ten to one. | 两类判断之比超过十比一。",
        "",
        warning_from=0,
    ),
}
NAMES = meanings(_SYMPTOMS)
_FEWEST = 2
_RATIO = 10


class Detector:
    def __init__(self, context: Context) -> None:
        self._of = {True: Tally(), False: Tally()}

    def see(self, seen: Seen) -> None:
        assert isinstance(seen.example, Verdict)
        answer = outputs_of(seen.example)[-1:]
        self._of[seen.example.is_good].add(seen.origin, excerpt(answer[0], 0, 40) if answer else "")

    def findings(self) -> Iterable[Finding]:
        good, bad = self._of[True].num, self._of[False].num
        few, many = sorted(self._of.values(), key=lambda tally: tally.num)
        symptoms = Symptoms(_SYMPTOMS)
        if not few.num and many.num < _FEWEST:
            return
        if not few.num:
            yield symptoms.finding("one_sided_verdicts", many, many.num)
        elif many.num > _RATIO * few.num:
            finding = symptoms.finding(
                "unbalanced_verdicts",
                many,
                good + bad,
                say(" Good {good:,}, bad {bad:,}.", "好 {good:,}，坏 {bad:,}。", good=good, bad=bad),
            )
            yield replace(finding, cure=_weights(good, bad))

    def facts(self) -> Iterable[Fact]:
        good, bad = self._of[True].num, self._of[False].num
        if good + bad:
            rows = (
                (say("good", "好"), good, f"{good / (good + bad):.1%}"),
                (say("bad", "坏"), bad, f"{bad / (good + bad):.1%}"),
            )
            yield Table(say("Verdicts", "判断"), ("", say("rows", "行数"), say("share", "比例")), rows)


def _weights(good: int, bad: int) -> str:
    """What KTO does by itself, that both sides come to the same sum (Ethayarajh et al., 2024, section 4.2)."""
    name, ratio = ("bad_weight", good / bad) if good > bad else ("good_weight", bad / good)
    return say(
        "attune kto weighs the rarer side {ratio:.1f} times; objective.{name} says otherwise",
        "attune kto 会将较少的一方加权 {ratio:.1f} 倍；可用 objective.{name} 另行指定",
        name=name,
        ratio=ratio,
    )
