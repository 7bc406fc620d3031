"""Counting rows by what they show."""

from __future__ import annotations

import pytest

from attune.data.examples import Origin
from attune.data.findings._symptom import Symptom, Symptoms, meanings
from attune.recipe.messages import speaking

KNOWN = {
    "cold_tea": Symptom("the tea is cold. | 茶凉了。", "Warm it. | 热一热。", warning_from=0.1, stop_from=0.5)
}


@pytest.mark.parametrize(
    ("num", "level"), [(1, "info"), (2, "warning"), (9, "warning"), (10, "stop"), (20, "stop")]
)
def test_the_share_decides_the_level(num: int, level: str) -> None:
    symptoms = Symptoms(KNOWN)
    for row in range(1, 21):
        symptoms.row(Origin("a", row), [("cold_tea", "brr")] if row <= num else [])
    (finding,) = symptoms.findings()
    assert (finding.level, finding.num, finding.total) == (level, num, 20)


def test_a_row_counts_once_and_shows_its_first_piece() -> None:
    symptoms = Symptoms(KNOWN)
    symptoms.row(Origin("a", 3), [("cold_tea", "first"), ("cold_tea", "second")])
    (finding,) = symptoms.findings()
    assert finding.num == 1
    assert [(row.origin.row, row.excerpt) for row in finding.rows] == [(3, "first")]
    assert finding.text == "1 of 1 rows (100.00%): the tea is cold."
    assert finding.cure == "Warm it."


def test_speaks_chinese() -> None:
    symptoms = Symptoms(KNOWN)
    symptoms.row(Origin("a", 1), [("cold_tea", "")])
    with speaking("zh"):
        (finding,) = symptoms.findings()
    assert (finding.text, finding.cure) == ("1 行中有 1 行（100.00%）：茶凉了。", "热一热。")


def test_nothing_shown_is_no_finding() -> None:
    symptoms = Symptoms(KNOWN)
    symptoms.row(Origin("a", 1), [])
    assert list(symptoms.findings()) == []
    assert symptoms.total == 1


def test_meanings() -> None:
    assert meanings(KNOWN) == {"cold_tea": "the tea is cold. | 茶凉了。"}
