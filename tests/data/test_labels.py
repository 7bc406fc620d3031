"""The table of labels: what it makes of classes, several classes and numbers, and what it refuses."""

from __future__ import annotations

import pytest

from attune.data.examples import Labelled, Origin
from attune.data.labels import Label, Labels, Task
from attune.recipe.errors import DataError


def table(*labels: Label, task: Task | None = None) -> Labels:
    examples = [Labelled(label, "a text") for label in labels]
    origins = [Origin("my.csv", row) for row in range(1, len(labels) + 1)]
    return Labels.of(examples, origins, task or "auto")


def test_classes_are_sorted_and_counted() -> None:
    found = table("good", "bad", "good", "10", "9")
    assert found == Labels("classes", ("9", "10", "bad", "good"), (1, 1, 1, 2))
    assert found.values("good") == (3.0,)
    assert Labels.from_dict(found.as_dict()) == found


def test_several_classes_are_marks() -> None:
    found = table(("price", "place"), (), ("place",))
    assert found == Labels("several", ("place", "price"), (2, 1))
    assert [found.values(label) for label in (("price",), (), ("place", "price"))] == [
        (0.0, 1.0), (0.0, 0.0), (1.0, 1.0),
    ]  # fmt: skip


def test_numbers_where_one_is_decimal() -> None:
    found = table(3.5, "4", 1.0)
    assert found == Labels("number", ("value",))
    assert found.values("4") == (4.0,)


def test_a_task_can_be_asked_for() -> None:
    assert table("1", "5", "3", task="number").task == "number"
    assert table(1.0, 2.0, 2.5, task="classes").names == ("1", "2", "2.5")


@pytest.mark.parametrize(
    ("labels", "task", "message"),
    [
        (("a", "a"), None, "All 2 rows have the label 'a'"),
        (
            (1.5, "much"),
            None,
            r"do not fit the training data's: 1\n  my.csv:2: the label 'much' is no number",
        ),
        ((("a",), "b"), None, r"my.csv:2: the label 'b' is no list"),
    ],
)
def test_labels_of_different_kinds_are_an_error(
    labels: tuple[Label, ...], task: Task | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        table(*labels, task=task)


def test_a_list_where_one_class_is_asked_for() -> None:
    with pytest.raises(DataError, match=r"a list \(a, b\), and one class is wanted: objective.task=several"):
        table(("a", "b"), task="classes")


def test_labels_that_training_lacks_are_named_with_their_rows() -> None:
    held = [Labelled(label, "a text") for label in ("good", "so so", *["odd"] * 6)]
    origins = [Origin("held.csv", row) for row in range(1, 9)]
    with pytest.raises(DataError) as caught:
        table("good", "bad").must_know(held, origins)
    text = str(caught.value)
    assert "do not fit the training data's: 7" in text
    assert "held.csv:2: the label 'so so' is not among the 2 of the training data: bad, good." in text
    assert "  and 2 more" in text
    assert "add rows of these classes" in text


def test_counts_follow_the_rows_that_are_learnt() -> None:
    found = table("good", "bad", "good")
    assert found.counted([(1.0,), (1.0,), (1.0,)]).counts == (0, 3)
    several = table(("a",), ("b",))
    assert several.counted([(1.0, 1.0), (0.0, 1.0)]).counts == (1, 2)
    assert table(1.5, 2.5).counted([(1.5,)]).counts == ()
