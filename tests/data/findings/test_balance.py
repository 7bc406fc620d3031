"""Classes and their rows."""

from __future__ import annotations

import pytest

from attune.data.examples import Labelled, Origin
from attune.data.findings import balance
from attune.data.findings._finding import Context, Seen
from attune.data.findings.contract import DetectorContract

from .rows import detector, findings, numbers, seen


def labelled(*counts: tuple[str, int]) -> list[Labelled]:
    return [Labelled(label, f"{label} text {number}") for label, num in counts for number in range(num)]


class TestContract(DetectorContract):
    @pytest.fixture
    def detector_module(self):
        return balance

    @pytest.fixture
    def seen(self):
        return seen(labelled(("good", 60), ("bad", 2), ("Bad", 1)))


def of(*counts: tuple[str, int]) -> dict:
    return findings(balance, labelled(*counts), "labelled")


def test_balanced_classes() -> None:
    assert of(("good", 10), ("bad", 10)) == {}


def test_a_single_class_stops() -> None:
    finding = of(("good", 10))["single_class"]
    assert (finding.level, finding.num, numbers(finding)) == ("stop", 10, [1])
    assert "“good”" in finding.text
    assert "--columns" in finding.cure


def test_a_class_with_one_row_is_named() -> None:
    finding = of(("good", 10), ("odd", 1), ("bad", 10), ("rare", 1))["class_with_one_row"]
    assert (finding.level, finding.num, numbers(finding)) == ("warning", 2, [11, 22])
    assert "“odd”, “rare”" in finding.text
    assert finding.rows[0].excerpt == "odd: odd text 0"


@pytest.mark.parametrize(("num", "is_found"), [(40, False), (41, True)])
def test_imbalance(num: int, is_found: bool) -> None:
    found = of(("good", num), ("bad", 2))
    assert set(found) == ({"class_imbalance"} if is_found else set())
    if is_found:
        assert "good: 41 / bad: 2." in found["class_imbalance"].text


def test_labels_that_differ_in_case() -> None:
    finding = of(("pos", 10), ("neg", 10), ("Pos", 3), ("neg ", 2))["labels_differ_in_case"]
    assert (finding.level, finding.num, numbers(finding)) == ("warning", 5, [21, 24])
    assert "“pos” = “Pos”" in finding.text
    assert "“neg” = “neg ”" in finding.text


def test_numbers_as_classes() -> None:
    many = of(*((str(number / 2), 3) for number in range(51)))
    assert {name: one.level for name, one in many.items()} == {"many_numbers_as_classes": "info"}
    assert of(*((str(number), 3) for number in range(50))) == {}
    assert of(*((f"c{number}", 3) for number in range(51))) == {}


def test_texts_as_labels_stop() -> None:
    found = of(*((f"A sentence of its own, number {number}", 1) for number in range(30)))
    assert {name: one.level for name, one in found.items()} == {"labels_like_texts": "stop"}
    assert found["labels_like_texts"].num == 30


def test_more_labels_than_any_classes_are_counted_in_bounded_memory() -> None:
    found = of(*((str(number), 1) for number in range(10_500)))
    assert found["labels_like_texts"].num == 10_500


def test_a_class_that_is_only_held_out() -> None:
    made = balance.Detector(Context(kind="labelled"))
    rows = [*labelled(("good", 5), ("bad", 5)), *labelled(("new", 2), ("good", 2))]
    for row, example in enumerate(rows, start=1):
        made.see(Seen(example, Origin("a.csv", row), is_held_out=row > 10))
    (finding,) = made.findings()
    assert (finding.name, finding.level, finding.num, numbers(finding)) == (
        "class_only_held_out",
        "warning",
        2,
        [11],
    )


def test_classes_are_told_the_largest_first() -> None:
    (table,) = detector(balance, labelled(("bad", 1), ("good", 3)), "labelled").facts()
    assert table.rows == (("good", 3, "75.0%"), ("bad", 1, "25.0%"))


def test_many_classes_are_summed_up() -> None:
    (table,) = detector(balance, labelled(*((f"c{number}", 2) for number in range(40))), "labelled").facts()
    assert len(table.rows) == 31
    assert table.rows[-1] == ("10 more", 20, "25.0%")


def test_several_classes_a_row() -> None:
    rows = [Labelled(("a", "b"), "x"), Labelled(("a",), "y"), Labelled((), "z"), Labelled(("b",), "w")]
    assert findings(balance, rows, "labelled") == {}
    (table,) = detector(balance, rows, "labelled").facts()
    assert table.rows == (("a", 2, "50.0%"), ("b", 2, "50.0%"))


def test_numbers_are_summed_up() -> None:
    rows = [Labelled(value, "x") for value in (1.0, 2.0, 3.0, 6.0)]
    assert findings(balance, rows, "labelled") == {}
    (table,) = detector(balance, rows, "labelled").facts()
    assert table.rows == ((4, "3", "1.871", "1", "6"),)
