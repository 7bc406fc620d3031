"""Every rule by which a row becomes no example has a name that is listed, and every listed name is a rule."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import attune.data
from attune.data.reasons import REASONS

DATA = Path(attune.data.__file__).parent
READING = [
    *DATA.glob("formats/*.py"),
    *(DATA / f"{name}.py" for name in ("rules", "sources", "spelling", "kinds", "convert")),
]


def names() -> set[str]:
    """The second argument of each ``RowError(reason, name)``, and names that are handed on to it."""
    found = set()
    for path in READING:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("RowError", "filled"):
                last = node.args[-1]
                found |= {one.value for one in ast.walk(last) if isinstance(one, ast.Constant)}
    return {str(name) for name in found if isinstance(name, str)}


def test_every_name_is_listed_and_every_listed_name_is_used():
    handed_on = {f"empty_{side}" for side in ("answer", "prompt")}  # rules.py makes these of the turn's side
    used = {name for name in names() | handed_on if re.fullmatch(r"[a-z]+(_[a-z]+)*", name)}
    assert used - set(REASONS) == set()
    assert set(REASONS) - used == {"unusable_row"}, "which is the name where none is given"


def test_meanings_are_in_both_languages():
    assert all(len(meaning.split(" | ")) == 2 for meaning in REASONS.values())


@pytest.mark.parametrize(("page", "half"), [("docs/data.md", 0), ("docs/data.zh.md", 1)])
def test_the_pages_list_them(page, half):
    text = (DATA.parents[1] / page).read_text(encoding="utf-8")
    for name, meaning in REASONS.items():
        assert f"| `{name}` | {meaning.split(' | ')[half]} |\n" in text
