"""Verifiers: what each calls right, and what is said of a wrong name or argument."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from attune.evaluation import schema
from attune.evaluation.verifiers import NAMES, number_in, verifier
from attune.recipe.errors import RecipeError


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("6 eggs and 2 more\n#### 1,200", "1200"),
        ("#### 3\nno, #### 4", "4"),
        (r"so \boxed{12} of 30", "12"),
        ("5 - 3 = 2.", "2"),
        ("it is -7", "-7"),
        ("it costs $3.50", "3.5"),
        ("25%", "0.25"),
        ("3/4", "0.75"),
        (".5", "0.5"),
        ("none", None),
        ("#### none, but 7 before", "7"),
        ("1/0", None),
    ],
)
def test_the_number_of_an_answer(text: str, number: str | None) -> None:
    assert number_in(text) == (None if number is None else Decimal(number))


@pytest.mark.parametrize(
    ("spec", "answer", "reference", "score"),
    [
        ("exact_number", "2 + 2 is #### 4.0", "so\n#### 4", 1.0),
        ("exact_number", "#### 5", "#### 4", 0.0),
        ("exact_number", "four", "4", 0.0),
        ("exact", " Paris ", "paris", 1.0),
        ("exact", "in Paris", "paris", 0.0),
        ("contains", "it is in Paris.", "paris", 1.0),
        ("contains", "it is in Rome.", "paris", 0.0),
        ("regex:^(yes|no)$", " yes\n", None, 1.0),
        ("regex:^(yes|no)$", "yes, sir", None, 0.0),
        ("format", "because\n#### 12", None, 1.0),
        ("format", "12", None, 0.0),
        ("format", "12 ####", None, 0.0),
        ("format:<a>…</a><b>...</b>", "<a>x</a>\n<b>y</b>", None, 1.0),
        ("format:<a>…</a><b>…</b>", "<a>x</a><b>y</b> and more", None, 0.0),
        ("format:<a>…</a>", "<a></a>", None, 0.0),
        ("json", '```json\n{"a": 1}\n```', None, 1.0),
        ("json", '{"a": 1', None, 0.0),
        ("length:2", "one two", None, 1.0),
        ("length:2", "one two three four", None, 0.5),
        ("length:2", "一二三四", None, 0.5),
        ("length:2", "", None, 1.0),
    ],
)
def test_scores(spec: str, answer: str, reference: str | None, score: float) -> None:
    assert verifier(spec)(answer, reference) == score


def test_a_schema_decides(tmp_path: Path) -> None:
    path = tmp_path / "person.json"
    rules = {"type": "object", "required": ["age"], "properties": {"age": {"type": "integer", "minimum": 0}}}
    path.write_text(json.dumps(rules))
    judge = verifier(f"json_schema:{path}")
    assert judge('{"age": 3}') == 1.0
    assert judge('{"age": -3}') == judge('{"name": "x"}') == judge("[]") == judge("no json") == 0.0


@pytest.mark.parametrize(
    ("value", "rules", "fits"),
    [
        (True, {"type": "integer"}, False),
        (2.0, {"type": "integer"}, True),
        (None, {"type": ["string", "null"]}, True),
        ({"a": 1, "b": 2}, {"properties": {"a": {}}, "additionalProperties": False}, False),
        ([1, "x"], {"items": {"type": "number"}}, False),
        (1, {"enum": [True, "1"]}, False),
        ("b", {"anyOf": [{"const": "a"}, {"const": "b"}]}, True),
        (5, {"allOf": [{"exclusiveMinimum": 4}, {"exclusiveMaximum": 5}]}, False),
        ("abc", {"minLength": 3, "maxLength": 3, "pattern": "^a"}, True),
        ([1, 2], {"minItems": 3}, False),
        ([1, 2], {"maxItems": 2, "title": "a pair"}, True),
        (3, {"maximum": 2}, False),
        ("not a number", {"minimum": 2}, True),
    ],
)
def test_the_words_of_a_schema(value: Any, rules: dict[str, Any], fits: bool) -> None:
    assert schema.fits(value, rules) is fits


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("exact_numbr", r"no such verifier: 'exact_numbr'\. Allowed: .*Did you mean 'exact_number'\?"),
        ("regex", r"regex needs an argument\. Write for example regex:\^\(yes\|no\)\$\."),
        ("regex:(", r"regex:\( is no regular expression \(.*\)\. Write for example"),
        ("exact:x", r"exact takes no argument, got 'x'\. Write exact\."),
        ("length:many", r"length:many is no number of words\. Write for example length:200\."),
        ("json_schema:absent.json", r"json_schema:absent.json cannot be read \(.*\)\. Name a file"),
    ],
)
def test_what_is_wrong_is_said(spec: str, text: str) -> None:
    with pytest.raises(RecipeError, match=text):
        verifier(spec)


def test_a_keyword_that_is_not_known_is_refused_at_any_depth(tmp_path: Path) -> None:
    path = tmp_path / "odd.json"
    path.write_text('{"properties": {"a": {"items": {"format": "date"}}}, "not": {}}')
    with pytest.raises(RecipeError, match=r"keywords that are not known here: format, not\. Known: .*anyOf"):
        verifier(f"json_schema:{path}")


def test_which_need_the_right_answer() -> None:
    arguments = {"regex": ":a", "json_schema": "", "length": ":3"}
    needing = {
        name
        for name in NAMES
        if name != "json_schema" and verifier(name + arguments.get(name, "")).needs_reference
    }
    assert needing == {"exact", "exact_number", "contains"}
