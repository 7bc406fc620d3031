"""What a source declares about its rows: columns, roles, runs of one role, entities."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from attune.data.examples import Labelled, Preference, Prompt, Text
from attune.data.sources import Loaded, load
from attune.recipe.errors import DataError
from attune.recipe.schema import Source


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def put(name: str, *rows: Any) -> str:
    is_text = len(rows) == 1 and isinstance(rows[0], str)
    Path(name).write_text(rows[0] if is_text else json.dumps(rows), encoding="utf-8")
    return name


def loaded(path: str, kind: str | None = None, **declared: Any) -> Loaded:
    return load([Source(path=path, **declared)], kind)


def said(example: Any) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in example.messages]


def test_columns_by_name():
    path = put("a.csv", "dialogue,id,summary\nA: Hi,1,They greet.\n")
    (example,) = loaded(path, columns={"prompt": "dialogue", "completion": "summary"}).examples
    assert said(example) == [("user", "A: Hi"), ("assistant", "They greet.")]


def test_columns_by_number_in_a_table_without_a_header():
    path = put("a.csv", "3,Title,Wall St. falls\n4,Title,Oil rises\n")
    found = loaded(path, columns={"text": 2, "label": 0})
    assert found.examples == [Labelled("3", "Wall St. falls"), Labelled("4", "Oil rises")]
    assert "the columns are called 0, 1, 2" in found.notes[0]


def test_columns_by_number_in_a_table_with_a_header_and_in_rows_that_are_lists():
    path = put("a.tsv", "x\ty\nbad\t1\n")
    assert loaded(path, columns={"text": 0, "label": 1}).examples == [Labelled("1", "bad")]
    path = put("a.json", ["bad", 1], ["good", 2])
    assert loaded(path, columns={"text": 0, "label": 1}).examples == [
        Labelled("1", "bad"),
        Labelled("2", "good"),
    ]


def test_two_columns_change_places():
    path = put("a.json", {"chosen": "b", "rejected": "a", "prompt": "q"})
    (example,) = loaded(path, columns={"chosen": "rejected", "rejected": "chosen"}).examples
    assert isinstance(example, Preference)
    assert example.chosen[0].content == "a"


def test_a_named_column_hides_the_one_that_was_called_so_and_an_empty_name_hides_too():
    row = {"text": "old", "body": "new", "label": True, "prompt": "q", "completion": "a"}
    assert loaded(put("a.json", row), "text", columns={"text": "body"}).examples == [Text("new")]
    (example,) = loaded(put("b.json", row), "conversation", columns={"label": ""}).examples
    assert said(example) == [("user", "q"), ("assistant", "a")]


def test_a_column_that_is_not_there_is_told():
    path = put("a.csv", "review,label\ngood,1\n")
    for column in ("reveiw", 2):
        with pytest.raises(DataError) as error:
            loaded(path, columns={"text": column})
        assert str(error.value) == (
            f"a.csv: columns: text is to be column {column}, which the file does not have; it has: label, "
            "review."
        )


DIALOG = [
    ("seeker", "Hey"),
    ("seeker", "How are you?"),
    ("Helper", "Fine."),
    ("seeker", "Good."),
    ("Helper", "And you?"),
]


def test_roles_and_runs_of_one_role():
    turns = [{"speaker": who, "content": text} for who, text in DIALOG]
    roles = {"Seeker": "user", "helper": "assistant"}
    path = put("a.json", {"dialog": turns}, {"dialog": turns[1:]})
    bad = loaded(path, "conversation").rejected
    assert [item.name for item in bad] == ["unknown_role"] * 2
    assert bad[0].reason.endswith("Say what it is with roles: {seeker: user}.")
    assert [item.name for item in loaded(path, "conversation", roles=roles).rejected] == [
        "turns_out_of_order"
    ]
    found = loaded(path, "conversation", roles=roles, merge_turns=True)
    assert said(found.examples[0])[:2] == [("user", "Hey\nHow are you?"), ("assistant", "Fine.")]
    assert [(item.origin.row, item.change) for item in found.changed] == [
        (1, "turns of one role are merged.")
    ]


def test_roles_of_bare_lists_of_json_cells_and_of_single_turns():
    turns = [{"from": "a", "value": "q"}, {"from": "b", "value": "r"}]
    roles = {"a": "user", "b": "assistant"}
    expected = [("user", "q"), ("assistant", "r")]
    assert said(loaded(put("a.json", turns), roles=roles).examples[0]) == expected
    cell = json.dumps(json.dumps(turns))[1:-1].replace('\\"', '""')
    path = put("a.csv", f'conversations\n"{cell}"\n')
    assert said(loaded(path, roles=roles).examples[0]) == expected
    row = {"conversations": turns[:1], "chosen": turns[1], "rejected": {"from": "b", "value": "s"}}
    (example,) = loaded(put("b.json", row), roles=roles).examples
    assert [answer[0].content for answer in example.answers] == ["r", "s"]  # type: ignore[union-attr]


def test_keys_of_turns_have_names_too():
    turns = [{"who": "user", "says": "q"}, {"who": "assistant", "says": "a"}]
    path = put("a.json", {"messages": turns})
    names = {"role": "who", "content": "says"}
    assert said(loaded(path, columns=names).examples[0])[1] == ("assistant", "a")
    assert said(loaded(put("b.json", turns), columns=names).examples[0])[1] == ("assistant", "a")


def test_a_content_column_is_no_key_of_turns():
    path = put("a.json", {"body": "t"})
    assert loaded(path, columns={"content": "body"}).examples == [Text("t")]


def test_entities_become_signs_in_every_text():
    row = {"prompt": "It&#39;s?", "chosen": "a &lt; b", "rejected": "&amp;lt;"}
    found = loaded(put("a.json", row), unescape=True)
    (example,) = found.examples
    assert isinstance(example, Preference)
    texts = [example.prompt[0].content, *(answer[0].content for answer in example.answers)]
    assert texts == ["It's?", "a < b", "&lt;"]
    assert found.changed[0].change == "HTML entities are written as signs."
    assert loaded(put("b.json", {"text": "&eacute;", "label": "&eacute;"}), unescape=True).examples == [
        Labelled("&eacute;", "é")
    ]
    (prompt,) = loaded(put("c.json", {"problem": "q", "solution": "&lt;"}), unescape=True).examples
    assert isinstance(prompt, Prompt)
    assert prompt.reference == "<"
    plain = loaded(put("d.json", {"text": "a & b"}), unescape=True)
    assert (plain.examples, plain.changed) == ([Text("a & b")], [])


def test_nothing_is_changed_where_nothing_is_declared():
    found = loaded(put("a.json", {"text": "It&#39;s"}))
    assert (found.examples, found.changed) == ([Text("It&#39;s")], [])
