"""Who speaks."""

from __future__ import annotations

import pytest

from attune.data.findings import roles
from attune.data.findings.contract import DetectorContract

from .rows import chat, findings, numbers, seen

ASKED = [
    ("What is a bun?", "A small round bread."),
    ("Name a spice.", "Ginger is one."),
    ("要蒸多久？", "十二分钟就好。"),
    ("请介绍一下韭菜盒子", "那是一种带馅的面食。"),
]
RIGHT = [chat(*turns) for turns in ASKED] * 5
SWAPPED = [chat(answer, prompt) for prompt, answer in ASKED] * 5


class TestContract(DetectorContract):
    @pytest.fixture
    def detector_module(self):
        return roles

    @pytest.fixture
    def seen(self):
        return seen([*SWAPPED, chat("A bun.", "What is it?", system="You are a cook.")])


def test_swapped_roles_stop() -> None:
    finding = findings(roles, SWAPPED)["roles_swapped"]
    assert (finding.level, finding.num, finding.total, numbers(finding)) == ("stop", 20, 20, [1, 2, 3, 4, 5])
    assert finding.rows[0].excerpt == "A small round bread. → What is a bun?"


def test_right_roles() -> None:
    assert findings(roles, RIGHT) == {}


@pytest.mark.parametrize(("num_swapped", "is_found"), [(18, True), (17, False)])
def test_only_when_hardly_a_prompt_asks(num_swapped: int, is_found: bool) -> None:
    assert (
        "roles_swapped" in findings(roles, [*SWAPPED[:num_swapped], *RIGHT[: 20 - num_swapped]])
    ) is is_found


def test_few_rows_prove_nothing() -> None:
    assert findings(roles, SWAPPED[:19]) == {}


@pytest.mark.parametrize(
    "prompt", ["Buns are steamed. Generate a question about it.", "包子要蒸熟。针对这句话提出一个问题。"]
)
def test_questions_that_were_asked_for(prompt: str) -> None:
    assert findings(roles, [chat(f"{prompt} ({number})", "What is steamed?") for number in range(30)]) == {}


def test_questions_back_to_questions() -> None:
    assert findings(roles, [chat("Can you help me?", "Of course, what is it?")] * 30) == {}


def test_some_system_messages() -> None:
    rows = [*RIGHT[:3], chat("Hi", "Hello.", system="You are a cook.")]
    finding = findings(roles, rows)["some_system_messages"]
    assert (finding.level, finding.num, finding.total, numbers(finding)) == ("info", 1, 4, [4])
    assert finding.rows[0].excerpt == "You are a cook."
    assert findings(roles, [chat("Hi", "Hello.", system="You are a cook.")] * 4) == {}
