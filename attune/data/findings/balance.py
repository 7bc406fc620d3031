"""Classes: how many rows each has, and labels that are one class written in two ways."""

# ruff: noqa: E501 (a sentence holds both languages in one line)
from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from ...recipe.messages import join, say
from ..examples import Labelled, Origin, inputs_of
from ._finding import SHOWN_ROWS, Context, Fact, Finding, Row, Seen, Table, Tally, excerpt
from ._symptom import Symptom, Symptoms, meanings

KINDS = ("labelled",)
_SYMPTOMS = {
    "single_class": Symptom(
        "the label is the same for all of them: there is nothing to tell apart. | 标签全部相同：没有可区分的。",
        "Look whether the right column was read: --columns text=…,label=… | 请检查读取的列是否正确：--columns text=…,label=…",
        stop_from=0,
    ),
    "class_with_one_row": Symptom(
        "the only row of its class: it is learnt or measured, never both. | 是所属类别的唯一一行：只能用于学习或评估之一。",
        "Add rows of these classes, or merge them into another. | 请为这些类别补充数据，或并入其他类别。",
        warning_from=0,
    ),
    "class_imbalance": Symptom(
        "of the most frequent class, more than twenty times the rarest. | 属于最多的类别，是最少类别的二十倍以上。",
        "Read the score of each class and macro-F1, not accuracy; more rows of the rare classes help most. | "
        "请看各类别得分与 macro-F1 而非准确率；补充稀有类别的数据最有效。",
        warning_from=0,
    ),
    "labels_differ_in_case": Symptom(
        "the label differs from another one in case or spaces only. | 标签与另一个标签仅大小写或空格不同。",
        "Write them alike in the file. | 请在文件中统一写法。",
        warning_from=0,
    ),
    "many_numbers_as_classes": Symptom(
        "the label is a number, and there are more than fifty different ones: is it a quantity rather than a class? | "
        "标签是数字，且有五十种以上：它是数量而非类别？",
        "For a quantity give the numbers as numbers (no quotation marks in JSON) and choose regression. | "
        "若是数量，请以数值形式给出（JSON 中不加引号）并选择回归。",
        warning_from=inf,
    ),
    "labels_like_texts": Symptom(
        "nearly every row has a class of its own: was the wrong column read as the label? | "
        "几乎每行一个类别：是否把错误的列读作了标签？",
        "Name the columns: --columns text=…,label=… | 请指明列：--columns text=…,label=…",
        warning_from=0,
        stop_from=0.5,
    ),
    "class_only_held_out": Symptom(
        "held out, and of a class that has no row in training. | 属于评估数据，而其类别在训练数据中没有。",
        "Add rows of these classes to the training data. | 请在训练数据中补充这些类别。",
        warning_from=0,
    ),
}
NAMES = meanings(_SYMPTOMS)

_IMBALANCE = 20
_FEWEST = 20
_MOST_CLASSES = 10_000
"""Classes that are counted; a label column with more is no label column."""
_SHOWN_CLASSES = 30


@dataclass(slots=True)
class _Class:
    num: int = 0
    num_held_out: int = 0
    first: Row | None = None


class Detector:
    """Numbers (regression) and sets of classes (multi-label) are counted too; a set counts for each of its own."""

    def __init__(self, context: Context) -> None:
        self._classes: dict[str, _Class] = {}
        self._total = self._num_uncounted = self._num_empty = 0
        self._is_multi = False
        self._numbers = _Numbers()

    def see(self, seen: Seen) -> None:
        example = seen.example
        assert isinstance(example, Labelled)
        self._total += 1
        if isinstance(example.label, float):
            self._numbers.see(example.label)
            return
        several = isinstance(example.label, tuple)
        self._is_multi |= several
        labels = example.label if isinstance(example.label, tuple) else (example.label,)
        self._num_empty += not labels
        for label in labels:
            self._count(label, seen.origin, example, seen.is_held_out)

    def _count(self, label: str, origin: Origin, example: Labelled, is_held_out: bool) -> None:
        known = self._classes.get(label)
        if known is None:
            if len(self._classes) >= _MOST_CLASSES:
                self._num_uncounted += 1
                return
            text = (inputs_of(example) or [example.image or ""])[0]
            known = self._classes[label] = _Class(first=Row(origin, f"{label}: {excerpt(text, 0, 40)}"))
        known.num += 1
        known.num_held_out += is_held_out

    def findings(self) -> Iterable[Finding]:
        if not self._classes:
            return
        if (len(self._classes) + self._num_uncounted) * 2 > self._total >= _FEWEST and not self._is_multi:
            tally = self._of(list(self._classes))
            yield self._finding("labels_like_texts", Tally(self._total, tally.rows))
            return
        if len(self._classes) == 1 and self._total > 1 and not self._num_empty:
            yield self._finding(
                "single_class", self._of(list(self._classes)), self._named(list(self._classes))
            )
        single = [name for name, one in self._classes.items() if one.num == 1]
        if single and len(self._classes) > 1:
            yield self._finding("class_with_one_row", self._of(single), self._named(single))
        yield from self._imbalance()
        yield from self._spellings()
        yield from self._quantity()
        unseen = [name for name, one in self._classes.items() if one.num == one.num_held_out]
        if unseen and len(unseen) < len(self._classes):
            yield self._finding("class_only_held_out", self._of(unseen), self._named(unseen))

    def facts(self) -> Iterable[Fact]:
        yield from self._numbers.facts()
        if not self._classes:
            return
        columns = say("class", "类别"), say("rows", "行数"), say("share", "比例")
        ordered = self._ordered()
        rows = [(name, one.num, f"{one.num / self._total:.1%}") for name, one in ordered[:_SHOWN_CLASSES]]
        if rest := ordered[_SHOWN_CLASSES:]:
            num = sum(one.num for _, one in rest) + self._num_uncounted
            rows.append((say("{n:,} more", "其余 {n:,} 类", n=len(rest)), num, f"{num / self._total:.1%}"))
        yield Table(say("Classes: {n:,}", "类别：{n:,}", n=len(self._classes)), columns, tuple(rows))

    def _imbalance(self) -> Iterable[Finding]:
        ordered = [(name, one) for name, one in self._ordered() if one.num > 1]
        if len(ordered) > 1 and ordered[0][1].num > _IMBALANCE * ordered[-1][1].num:
            (most, many), (least, few) = ordered[0], ordered[-1]
            detail = f" {most}: {many.num:,} / {least}: {few.num:,}."
            yield self._finding("class_imbalance", self._of([most]), detail)

    def _spellings(self) -> Iterable[Finding]:
        alike: dict[str, list[str]] = {}
        for name, _ in self._ordered():
            alike.setdefault("".join(name.split()).casefold(), []).append(name)
        pairs = [names for names in alike.values() if len(names) > 1]
        if pairs:
            which = join(" = ".join(f"“{name}”" for name in names) for names in pairs[:5])
            rarer = [name for names in pairs for name in names[1:]]
            yield self._finding("labels_differ_in_case", self._of(rarer), f" {which}")

    def _quantity(self) -> Iterable[Finding]:
        names = list(self._classes)
        if len(names) > 50 and all(map(_is_number, names)):
            yield self._finding("many_numbers_as_classes", self._of(names))

    def _ordered(self) -> list[tuple[str, _Class]]:
        return sorted(self._classes.items(), key=lambda entry: -entry[1].num)

    def _of(self, names: list[str]) -> Tally:
        """The rows of these classes; the first of each is shown, in the order of the files."""
        wanted = set(names)
        rows = [one.first for name, one in self._classes.items() if name in wanted and one.first][:SHOWN_ROWS]
        return Tally(sum(self._classes[name].num for name in names), rows)

    def _named(self, names: list[str]) -> str:
        return " " + join(f"“{name}”" for name in names[:8]) + ("…" if len(names) > 8 else "")

    def _finding(self, name: str, tally: Tally, detail: str = "") -> Finding:
        return Symptoms(_SYMPTOMS).finding(name, tally, self._total, detail)


class _Numbers:
    """What a regression learns: extent, mean and spread, in constant memory."""

    def __init__(self) -> None:
        self._num, self._mean, self._squares = 0, 0.0, 0.0
        self._least, self._most = inf, -inf

    def see(self, value: float) -> None:
        """Welford (1962)."""
        self._num += 1
        step = value - self._mean
        self._mean += step / self._num
        self._squares += step * (value - self._mean)
        self._least, self._most = min(self._least, value), max(self._most, value)

    def facts(self) -> Iterable[Fact]:
        if self._num:
            columns = (
                say("rows", "行数"),
                say("mean", "均值"),
                say("spread", "标准差"),
                say("least", "最小"),
                say("most", "最大"),
            )
            spread = math.sqrt(self._squares / self._num)
            cells = (self._num, *(f"{value:.4g}" for value in (self._mean, spread, self._least, self._most)))
            yield Table(say("Labels are numbers", "标签为数值"), columns, (cells,))


def _is_number(label: str) -> bool:
    try:
        float(label)
    except ValueError:
        return False
    return True
