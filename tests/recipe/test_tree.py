"""YAML with places, and the values of overrides."""

# ruff: noqa: E501 (a case and its sentence stand in one line)
from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attune.recipe import tree


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("5E3", 5000.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-2", -2),
        ("1_000", 1000),
        ("0x1F", 31),
        ("true", True),
        ("null", None),
        ("", None),
        ("off", "off"),
        ("yes", "yes"),
        ("007", "007"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("1.2.3", "1.2.3"),
        ("a: b", "a: b"),
        ("data/*.json", "data/*.json"),
        ("*.json", "*.json"),
        ("# not a comment", "# not a comment"),
        ("C:\\data", "C:\\data"),
        ("'7'", "7"),
        ('"a\\nb"', "a\nb"),
        ("[a, 1e-4, off]", ["a", 1e-4, "off"]),
        ("{path: a, weight: 2}", {"path": "a", "weight": 2}),
    ],
)
def test_values_of_overrides(text: str, value: Any) -> None:
    got = tree.value_of(text)
    assert got == value
    assert type(got) is type(value)


def test_places_are_lines() -> None:
    read = tree.read("model: m\ntrain:\n  seed: 1\ndata:\n- a\n- path: b\n", "r.yaml")
    assert read.values == {"model": "m", "train": {"seed": 1}, "data": ["a", {"path": "b"}]}
    assert read.place(("train", "seed")) == "r.yaml:3"
    assert read.place(("train", "absent")) == "r.yaml:2"
    assert read.place(("data", 1, "path")) == "r.yaml:6"
    assert read.place(("absent",)) == "r.yaml"


def test_a_key_that_stands_twice() -> None:
    read = tree.read("train:\n  seed: 1\n  epochs: 2\n  seed: 3\n", "r.yaml")
    assert read.problems == [
        "r.yaml:4: the key 'train.seed' stands twice (first in line 2). Remove one of them."
    ]


def test_anchors_and_merges() -> None:
    read = tree.read("a: &x {p: 1, q: 2}\nb:\n  <<: *x\n  q: 3\n", "r.yaml")
    assert read.problems == []
    assert read.values["b"] == {"p": 1, "q": 3}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\n\tb: 2\n", "r.yaml:2:1: not valid YAML: found character '\\t' that cannot start any token. Indent with spaces, not tabs"),
        ("a: b: c\n", "r.yaml:1:5: not valid YAML: mapping values are not allowed here. Quote a text that holds ': '."),
        ("a: [1, 2\nb: 3\n", "r.yaml:2:2: not valid YAML: expected ',' or ']', but got ':'. Close the bracket"),
        ("a: {b: 1\n", "r.yaml:2:1: not valid YAML: expected ',' or '}', but got '<stream end>'. Close the brace"),
        ("a: 'b\n", "r.yaml:2:1: not valid YAML: found unexpected end of stream. Close the quotation mark."),
        ("a: 1\nbc\n", "r.yaml:3:1: not valid YAML: could not find expected ':'. Write key: value"),
        ("a: *.json\n", "r.yaml:1:5: not valid YAML: expected alphabetic or numeric character, but found '.'. Quote a text that begins with *."),
        ("a: *x\n", "r.yaml:1:4: not valid YAML: found undefined alias 'x'. Quote a text that begins with *."),
        (" a: 1\nb: 2\n", "r.yaml:2:1: not valid YAML: expected '<document start>', but found '<block mapping start>'. Align the keys"),
        ("a: 1\n---\nb: 2\n", "r.yaml:2:1: not valid YAML: but found another document."),
        ("a: \x07\n", "r.yaml:1: the character U+0007 is not allowed in YAML. Remove it."),
        ("a: 1\n? [b]\n: 2\n", "r.yaml:2: a key must be a word."),
        ("a: !!python/name:os.system x\n", "r.yaml:1: the tag 'tag:yaml.org,2002:python/name:os.system' is not allowed. Remove it."),
        ("a: &x [*x]\n", "r.yaml:1: an alias that contains itself."),
        ("a:\n  <<: 5\n", "r.yaml:2:7: not valid YAML: expected a mapping or list of mappings for merging, but found scalar"),
    ],
)  # fmt: skip
def test_faults_of_yaml(text: str, said: str) -> None:
    (problem,) = tree.read(text, "r.yaml").problems
    assert problem.startswith(said)


def test_a_tag_that_does_not_fit_is_the_text() -> None:
    assert tree.read("a: !!int abc\n", "r.yaml").values == {"a": "abc"}


leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
keys = st.text(st.characters(exclude_categories=["Cs"]))


@given(
    st.dictionaries(
        keys, st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=8)
    )
)
def test_what_is_written_reads_back(values: dict[str, Any]) -> None:
    read = tree.read(tree.write(values), "r.yaml")
    assert read.problems == []
    assert (read.values or {}) == values


@given(st.text(max_size=40))
def test_any_text_is_read_or_explained(text: str) -> None:
    read = tree.read(text, "r.yaml")
    assert all(problem.startswith("r.yaml:") for problem in read.problems)
