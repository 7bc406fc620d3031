"""How many good answers there are for a bad one."""

from __future__ import annotations

import pytest

from attune.data.findings import verdicts
from attune.data.findings.contract import DetectorContract

from .rows import detector, findings, seen, verdict

GOOD, BAD = verdict("Twelve minutes.", True), verdict("No idea.", False)


class TestContract(DetectorContract):
    @pytest.fixture
    def detector_module(self):
        return verdicts

    @pytest.fixture
    def seen(self):
        return seen([*[GOOD] * 30, BAD])


@pytest.mark.parametrize("one", [GOOD, BAD])
def test_one_side_only_stops(one) -> None:
    finding = findings(verdicts, [one] * 5, "verdict")["one_sided_verdicts"]
    assert (finding.level, finding.num, finding.total) == ("stop", 5, 5)


@pytest.mark.parametrize(
    ("num_good", "num_bad", "cure"),
    [(45, 4, "11.2 times; objective.bad_weight"), (2, 25, "12.5 times; objective.good_weight")],
)
def test_beyond_ten_to_one_there_is_a_weight_to_type(num_good: int, num_bad: int, cure: str) -> None:
    finding = findings(verdicts, [GOOD] * num_good + [BAD] * num_bad, "verdict")["unbalanced_verdicts"]
    assert finding.level == "warning"
    assert f"Good {num_good}, bad {num_bad}." in finding.text
    assert cure in finding.cure


def test_ten_to_one_is_nothing() -> None:
    assert findings(verdicts, [GOOD] * 10 + [BAD], "verdict") == {}


def test_one_row_proves_nothing() -> None:
    assert findings(verdicts, [GOOD], "verdict") == {}


def test_the_balance_is_told() -> None:
    (table,) = detector(verdicts, [GOOD] * 3 + [BAD], "verdict").facts()
    assert table.rows == (("good", 3, "75.0%"), ("bad", 1, "25.0%"))
