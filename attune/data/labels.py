"""What the numbers of labelled examples mean: classes, several classes at once, or a quantity.

The table is made from the training rows: the names of the classes, sorted (numbers by their size), and how
many rows each has. With it a label becomes numbers: ``(class,)``, a mark a class, or ``(quantity,)``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..recipe.errors import DataError
from ..recipe.messages import join, say
from .examples import Example, Labelled, Origin, RowError

Task = Literal["classes", "several", "number"]
Label = str | float | tuple[str, ...]

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Labels:
    """``names`` of the classes in the order of their ids (for a number the name of the quantity); ``counts``:
    training rows of each class.
    """

    task: Task
    names: tuple[str, ...]
    counts: tuple[int, ...] = ()

    def values(self, label: Label) -> tuple[float, ...]:
        """The numbers of a label. Raises RowError for one that the table does not have."""
        if self.task == "number":
            return (_number(label),)
        if self.task == "classes":
            return (float(self._place(_class(label))),)
        if not isinstance(label, tuple):
            raise RowError(
                say(
                    "the label {label!r} is no list, and the others are: write a list of classes, maybe "
                    "empty.",
                    "标签 {label!r} 不是列表，而其他行是：请写成类别的列表（可为空）。",
                    label=label,
                ),
                "label_of_another_kind",
            )
        places = {self._place(name) for name in label}
        return tuple(float(place in places) for place in range(len(self.names)))

    def _place(self, name: str) -> int:
        if name not in self.names:
            raise RowError(
                say(
                    "the label {name!r} is not among the {n} of the training data: {names}.",
                    "标签 {name!r} 不在训练数据的 {n} 个标签中：{names}。",
                    name=name,
                    n=len(self.names),
                    names=join([*self.names[:10], *(["…"] if self.names[10:] else [])]),
                ),
                "unknown_label",
            )
        return self.names.index(name)

    @classmethod
    def of(
        cls, examples: Sequence[Example], origins: Sequence[Origin], task: Task | Literal["auto"] = "auto"
    ) -> Labels:
        """The table of these rows. ``auto``: lists make several classes, decimal numbers a quantity.

        Raises DataError, with rows, for labels of different kinds and for a single class.
        """
        labels = [example.label for example in examples if isinstance(example, Labelled)]
        if task == "auto":
            task = _kind(labels)
        if task == "number":
            table = cls("number", ("value",))
        else:
            found: Counter[str] = Counter()
            for label in labels:
                found.update(set(label) if isinstance(label, tuple) else (_class(label),))
            names = sorted(found, key=_by_size)
            table = cls(task, tuple(names), tuple(found[name] for name in names))
        table.must_know(examples, origins)
        if task == "classes" and len(table.names) < 2:
            raise DataError(
                say(
                    "All {n} rows have the label {name!r}: there is nothing to tell apart. Look whether the "
                    "right column was read (data.train: [{{path: …, columns: {{label: <column>}}}}]).",
                    "全部 {n} 行的标签都是 {name!r}：没有可区分的。请检查读取的列是否正确"
                    "（data.train: [{{path: …, columns: {{label: <列名>}}}}]）。",
                    n=len(labels),
                    name=table.names[0] if table.names else "",
                )
            )
        return table

    def counted(self, values: Sequence[Sequence[float]]) -> Labels:
        """The same table with the rows of each class in ``values``."""
        if self.task == "number":
            return self
        if self.task == "classes":
            found = Counter(int(row[0]) for row in values)
            counts = [found[place] for place in range(len(self.names))]
        else:
            counts = [int(sum(column)) for column in zip(*values, strict=True)]
        return Labels(self.task, self.names, tuple(counts))

    def _fault(self, label: Label) -> str | None:
        try:
            self.values(label)
        except RowError as error:
            return str(error)
        return None

    def must_know(self, examples: Sequence[Example], origins: Sequence[Origin]) -> None:
        """Raises DataError where a row has a label that the table cannot take, with the first such rows."""
        reasons = (self._fault(example.label) for example in examples if isinstance(example, Labelled))
        wrong = [
            f"{origin.path}:{origin.row}: {reason}"
            for origin, reason in zip(origins, reasons, strict=True)
            if reason is not None
        ]
        if wrong:
            head = say(
                "Rows with labels that do not fit the training data's: {n}",
                "标签与训练数据的标签不符的行：{n}",
                n=len(wrong),
            )
            more = [say("  and {n} more", "  另有 {n} 行", n=len(wrong) - _SHOWN)] if wrong[_SHOWN:] else []
            cure = say(
                "Correct them, or add rows of these classes to the training data. objective.task says what "
                "labels are (classes, several, number).",
                "请修正，或在训练数据中补充这些类别。"
                "objective.task 可指明标签的含义（classes、several、number）。",
            )
            raise DataError("\n".join([head, *(f"  {line}" for line in wrong[:_SHOWN]), *more, cure]))

    def as_dict(self) -> dict[str, Any]:
        return {"task": self.task, "names": list(self.names), "counts": list(self.counts)}

    @classmethod
    def from_dict(cls, known: dict[str, Any]) -> Labels:
        return cls(known["task"], tuple(known["names"]), tuple(known["counts"]))


def _kind(labels: Sequence[Label]) -> Task:
    if any(isinstance(label, tuple) for label in labels):
        return "several"
    return "number" if any(isinstance(label, float) for label in labels) else "classes"


def _class(label: Label) -> str:
    if isinstance(label, tuple):
        raise RowError(
            say(
                "the label is a list ({label}), and one class is wanted: objective.task=several takes lists.",
                "标签是列表（{label}），而这里需要单个类别：objective.task=several 可用列表。",
                label=join(label),
            ),
            "label_of_another_kind",
        )
    return f"{label:g}" if isinstance(label, float) else label


def _number(label: Label) -> float:
    try:
        return float(label)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise RowError(
            say(
                "the label {label!r} is no number, and the others are.",
                "标签 {label!r} 不是数，而其他行是。",
                label=label,
            ),
            "label_of_another_kind",
        ) from None


def _by_size(name: str) -> tuple[bool, float, str]:
    """Numbers by their size, before words by their letters."""
    try:
        return False, float(name), name
    except ValueError:
        return True, 0.0, name
