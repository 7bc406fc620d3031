"""Every rule by which a row becomes no example has a name that is listed, and every listed name is a rule."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import attune.data
from attune.data.check import must_be_known
from attune.data.reasons import REASONS, cure_of, meaning_of

DATA = Path(attune.data.__file__).parent
READING = [*DATA.glob("*.py"), *DATA.glob("formats/*.py")]


def names() -> set[str]:
    """The last argument of each ``RowError(reason, name)``, and names that are handed on to it; the first of
    ``TemplateProblem(name, …)``.
    """
    found = set()
    for path in READING:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""
            if called in ("RowError", "filled", "_fails"):
                found |= constants(node.args[-1])
            elif called == "TemplateProblem":
                found |= constants(node.args[0])
    return {str(name) for name in found if isinstance(name, str)}


def constants(node: ast.expr) -> set[object]:
    return {one.value for one in ast.walk(node) if isinstance(one, ast.Constant)}


def test_every_name_is_listed_and_every_listed_name_is_used():
    handed_on = {f"empty_{side}" for side in ("answer", "prompt")}  # rules.py makes these of the turn's side
    handed_on |= {"too_long", "template_fails"}  # set once, in TooLong and _fails
    used = {name for name in names() | handed_on if re.fullmatch(r"[a-z]+(_[a-z]+)*", name)}
    assert used - set(REASONS) == set()
    assert set(REASONS) - used == {"unusable_row"}, "which is the name where none is given"


def test_meanings_are_in_both_languages():
    assert all(len(text.split(" | ")) == 2 for reason in REASONS.values() for text in reason)


def test_every_one_can_be_accepted():
    must_be_known(list(REASONS))


def test_a_name_of_another_package_has_a_cure_and_no_meaning():
    assert (meaning_of("of_a_stranger"), meaning_of("unusable_row")) == ("", "")
    assert cure_of("of_a_stranger") == "Correct or remove these rows."


@pytest.mark.parametrize(("page", "half"), [("docs/data.md", 0), ("docs/data.zh.md", 1)])
def test_the_pages_list_them(page, half):
    text = (DATA.parents[1] / page).read_text(encoding="utf-8")
    for name, reason in REASONS.items():
        assert f"| `{name}` | {reason.meaning.split(' | ')[half]} |\n" in text
