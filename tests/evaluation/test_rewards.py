"""Rewards: weighted sums, a person's own functions, and what is said when they fail."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from attune.data.examples import Message, Origin
from attune.evaluation.rewards import Answer, rewards
from attune.recipe.errors import DataError, RecipeError, RunError


def answer(text: str, reference: str | None = "4", row: int = 1, **extra: Any) -> Answer:
    turns = (Message("system", "Be brief."), Message("user", "2 + 2 = ?"))
    return Answer(turns, text, reference, extra, Origin("p.jsonl", row))


@pytest.fixture
def functions(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(
        "def score(prompt, answer, reference, **extra):\n"
        "    assert prompt == '2 + 2 = ?' and extra['messages'][0]['role'] == 'system'\n"
        "    return len(answer) + extra['level']\n"
        "def short(answer):\n"
        "    return answer == reference_of() \n"
        "def reference_of():\n"
        "    return '4'\n"
        "def text(answer):\n"
        "    return 'good'\n"
        "number = 3\n"
    )
    return path


def test_a_weighted_sum(functions: Path) -> None:
    wanted = rewards(["exact_number", f"{functions}:score*0.5", "regex:^4*"])
    total, parts = wanted.score([answer("4", level=2), answer("five", level=0)])
    assert parts == {"exact_number": [1.0, 0.0], "mine.py:score": [3, 4], "regex:^4*": [1.0, 1.0]}
    assert total == [1.0 + 1.5 + 1.0, 0.0 + 2.0 + 1.0]


def test_a_function_gets_what_it_names_and_score_is_its_usual_name(functions: Path) -> None:
    assert rewards([f"{functions}:short"]).score([answer("4"), answer("5")])[0] == [1.0, 0.0]
    assert rewards([str(functions)]).score([answer("4", level=1)])[0] == [2.0]


def test_a_reward_model_is_asked_for_all_answers_at_once(tmp_path: Path) -> None:
    asked: list[int] = []

    def open_folder(path: str) -> Any:
        assert path == str(tmp_path)

        def judge(answers: Sequence[Answer]) -> list[float]:
            asked.append(len(answers))
            return [0.5 for _ in answers]

        return judge

    assert rewards([f"{tmp_path}*2"], open_folder).score([answer("a"), answer("b")])[0] == [1.0, 1.0]
    assert asked == [2]


def test_a_judge_that_gives_too_few_numbers(tmp_path: Path) -> None:
    found = rewards([str(tmp_path)], lambda _: lambda answers: [1.0])
    with pytest.raises(RunError, match=r"gave 1 numbers for 2 answers\. It must give one each\."):
        found.score([answer("a"), answer("b")])


def test_rows_without_a_right_answer_are_named() -> None:
    rows = [(Origin("p.jsonl", row), None if row % 2 else "4") for row in range(1, 13)]
    with pytest.raises(DataError) as caught:
        rewards(["exact", "contains*0.1", "length:5"]).check_references(rows)
    text = str(caught.value)
    assert text.startswith("exact, contains compares with the right answer, and 6 of 12 rows have none")
    assert "p.jsonl:9 …)" in text
    rewards(["length:5"]).check_references(rows)


def test_what_a_function_raises_is_told_with_its_row_and_line(functions: Path) -> None:
    with pytest.raises(RunError) as caught:
        rewards([f"{functions}:score"]).score([answer("x" * 100, row=7)])
    assert str(caught.value) == (
        "The reward mine.py:score failed on p.jsonl:7: KeyError: 'level' (mine.py, line 3). The answer was: "
        f"'{'x' * 79}…'"
    )


def test_what_is_no_number_is_refused(functions: Path) -> None:
    with pytest.raises(RunError, match=r"mine.py:text gave 'good' for p.jsonl:1, where a finite number"):
        rewards([f"{functions}:text"]).score([answer("a")])


def test_all_that_is_wrong_is_said_at_once(functions: Path, tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text("import nothing_of_this_name\n")
    with pytest.raises(RecipeError) as caught:
        rewards(
            [f"{functions}:scor", "absent.py:score", f"{tmp_path}/odd.py", "exact_numbr", "json", "json*2"]
        )
    wrong = caught.value.problems
    assert len(wrong) == 5
    assert f"{functions} has no such function: 'scor'. Allowed: reference_of, score, short, text." in wrong[0]
    assert wrong[1] == "absent.py: no such file, so no reward."
    assert "odd.py cannot be run: ModuleNotFoundError: No module named 'nothing_of_this_name'" in wrong[2]
    assert "no such reward (nor a file FILE.py:FUNCTION, nor a folder): 'exact_numbr'" in wrong[3]
    assert wrong[4] == "json is named twice. Once is enough: give it a weight (*2)."


def test_without_a_reward_nothing_is_learnt() -> None:
    with pytest.raises(RecipeError, match=r"No reward: nothing says which answer is better\."):
        rewards([])
