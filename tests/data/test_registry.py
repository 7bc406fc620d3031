"""LLaMA-Factory's dataset_info.json: each entry as its own pages describe it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from attune.data.examples import Conversation, Message, Preference, Text, Verdict
from attune.data.registry import resolve
from attune.data.sources import Loaded, load
from attune.recipe.errors import DataError
from attune.recipe.schema import Source


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def put(entry: Any, *rows: Any) -> None:
    """The registry with one data set, ``it``, and its file."""
    Path("data/dataset_info.json").write_text(json.dumps({"it": entry}), encoding="utf-8")
    Path("data/rows.json").write_text(json.dumps(rows), encoding="utf-8")


def loaded(kind: str | None = None, **options: Any) -> Loaded:
    return load([Source(path="data:it", **options)], kind)


def problem(path: str = "data:it") -> str:
    with pytest.raises(DataError) as error:
        load([Source(path=path)], None)
    return str(error.value)


def said(example: Any) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in example.messages]


@pytest.mark.parametrize("path", ["data:it", "data/:it", "data/dataset_info.json:it"])
def test_a_data_set_is_named_after_its_folder_or_registry(folder, path):
    put({"file_name": "rows.json"}, {"instruction": "q", "output": "a"})
    assert resolve(Source(path=path, weight=2.0)).path == "data/rows.json"
    assert resolve(Source(path=path, weight=2.0)).weight == 2.0
    (example,) = load([Source(path=path)], None).examples
    assert said(example) == [("user", "q"), ("assistant", "a")]


def test_what_is_no_registry_is_left_alone(folder):
    put({"file_name": "rows.json"})
    for path in ("data/rows.json", "data", "x:it", "data/rows.json:it", "C:\\data\\x.json", "owner/name"):
        source = Source(path=path)
        if path != "data/rows.json:it":
            assert resolve(source) is source
    Path("data:it").write_text("here")
    assert resolve(Source(path="data:it")).path == "data:it"


def test_alpaca_columns_under_other_names(folder):
    entry = {
        "file_name": "rows.json",
        "columns": {"prompt": "q", "query": "i", "response": "a", "system": "s", "history": "h"},
    }
    put(entry, {"q": "1", "i": "2", "a": "3", "s": "S", "h": [["x", "y"]]})
    (example,) = loaded().examples
    assert [text for _, text in said(example)] == ["S", "x", "y", "1\n2", "3"]


def test_columns_that_an_entry_does_not_name_are_not_read(folder):
    row = {"instruction": "q", "input": "i", "output": "a", "system": "S", "history": [["x", "y"]]}
    put({"file_name": "rows.json"}, row | {"chosen": "a", "rejected": "b"})
    assert said(loaded().examples[0]) == [("user", "q\ni"), ("assistant", "a")]
    put({"file_name": "rows.json", "columns": {"prompt": "instruction", "response": "output"}}, row)
    assert said(loaded().examples[0]) == [("user", "q"), ("assistant", "a")]


def test_a_prompt_alone_is_text_for_pretraining(folder):
    put({"file_name": "rows.json", "columns": {"prompt": "raw"}}, {"raw": "t", "url": "u"})
    assert loaded().examples == [Text("t")]
    assert loaded("text").examples == [Text("t")]


def test_sharegpt_tags_name_keys_and_roles(folder):
    entry = {
        "file_name": "rows.json",
        "formatting": "sharegpt",
        "columns": {"messages": "dialog", "tools": "functions"},
        "tags": {
            "role_tag": "who",
            "content_tag": "said",
            "user_tag": "customer",
            "assistant_tag": "waiter",
            "function_tag": "call",
            "observation_tag": "result",
            "system_tag": "house",
        },
    }
    turns = [
        ("house", "S"),
        ("customer", "q"),
        ("call", '{"name": "f", "arguments": {"x": 1}}'),
        ("result", "1"),
        ("waiter", "a"),
    ]
    put(
        entry, {"dialog": [{"who": who, "said": text} for who, text in turns], "functions": '[{"name": "f"}]'}
    )
    (example,) = loaded("conversation").examples
    call = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
    assert example == Conversation(
        (
            Message("system", "S"),
            Message("user", "q"),
            Message("assistant", "", extra={"tool_calls": [call]}),
            Message("tool", "1"),
            Message("assistant", "a"),
        ),
        ({"type": "function", "function": {"name": "f"}},),
    )


def test_ranking_of_both_formattings(folder):
    entry = {
        "file_name": "rows.json",
        "ranking": True,
        "columns": {"prompt": "q", "chosen": "good", "rejected": "bad"},
    }
    expected = Preference(
        (Message("user", "1"),), ((Message("assistant", "a"),), (Message("assistant", "b"),))
    )
    put(entry, {"q": "1", "good": "a", "bad": "b"})
    assert loaded().examples == [expected]
    entry = {
        "file_name": "rows.json",
        "ranking": True,
        "formatting": "sharegpt",
        "columns": {"messages": "conversations", "chosen": "good", "rejected": "bad"},
    }
    turns = [{"from": "human", "value": "1"}]
    put(
        entry,
        {"conversations": turns, "good": {"from": "gpt", "value": "a"}, "bad": {"from": "gpt", "value": "b"}},
    )
    assert loaded().examples == [expected]


def test_kto_tags(folder):
    entry = {
        "file_name": "rows.json",
        "formatting": "sharegpt",
        "columns": {"messages": "messages", "kto_tag": "label"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
        },
    }
    put(
        entry,
        {
            "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
            "label": False,
        },
    )
    assert loaded().examples == [Verdict((Message("user", "q"),), (Message("assistant", "a"),), False)]


def test_num_samples_split_and_subset(folder):
    rows = [{"instruction": f"{number}", "output": "a"} for number in range(9)]
    put({"file_name": "rows.json", "num_samples": 4, "split": "test", "subset": "zh"}, *rows)
    assert len(loaded().examples) == 4
    meant = resolve(Source(path="data:it"))
    assert (meant.num_samples, meant.split, meant.subset) == (4, "test", "zh")


def test_what_the_person_declares_goes_before_the_entry(folder):
    put(
        {"file_name": "rows.json", "columns": {"prompt": "p", "response": "a"}},
        {"p": "q", "a": "a", "b": "b"},
    )
    assert said(loaded(columns={"output": "b"}).examples[0])[1] == ("assistant", "b")


def test_a_hub_id_goes_before_a_file(folder):
    put({"hf_hub_url": "owner/set", "file_name": "rows.json"})
    assert resolve(Source(path="data:it")).path == "owner/set"


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (
            {"ms_hub_url": "o/s", "file_name": "x.json"},
            "it lies where it cannot be fetched from here (ms_hub_url: o/s)",
        ),
        ({"script_url": "x"}, "(script_url: x). Download it and name the file."),
        ({"hf_hub_url": "o/s", "folder": "python"}, "(hf_hub_url: o/s, folder: python)"),
        ({}, "it lies where it cannot be fetched from here (no file_name)"),
        ("rows.json", "it must be an object with file_name or hf_hub_url"),
        ({"file_name": "rows.json", "columns": ["x"]}, "columns and tags are objects"),
        ({"file_name": "rows.json", "num_samples": "many"}, "num_samples a number."),
    ],
)
def test_entries_that_cannot_be_used(folder, entry, says):
    put(entry)
    assert says in problem()


def test_an_unknown_name_lists_all_and_the_nearest(folder):
    put({"file_name": "rows.json"})
    assert problem("data:itt") == (
        "data/dataset_info.json: no data set is called so: 'itt'. Allowed: it. Did you mean 'it'?"
    )


def test_the_registry_itself_is_no_data(folder):
    put({"file_name": "rows.json"})
    assert problem("data/dataset_info.json") == (
        "data/dataset_info.json describes data sets and is none. Name one: data/dataset_info.json:it"
    )


def test_a_registry_that_is_cut_off_names_the_line_and_the_way_around(folder):
    Path("data/dataset_info.json").write_text('{\n"it": {"file_name": "rows.json"}\n', encoding="utf-8")
    said = problem()
    assert said.startswith("data/dataset_info.json, line 3")
    assert said.endswith("So data:it cannot be found in it; naming the data file itself works without it.")
    Path("data/dataset_info.json").write_text("[1, 2]", encoding="utf-8")
    assert "not a list of data sets by name" in problem()


def test_a_file_that_is_named_and_not_there(folder):
    put({"file_name": "rovs.json"})
    assert problem() == "data/rovs.json: no such file. Did you mean: data/rows.json?"


def test_all_demo_sets_load_through_their_registry(shared):
    demos = shared / "data/llamafactory_demos"
    entries = json.loads((demos / "dataset_info.json").read_text(encoding="utf-8"))
    num_used = {}
    for name, entry in entries.items():
        if "file_name" in entry:
            found = load([Source(path=f"{demos}:{name}")], None)
            reasons = {bad.name for bad in found.rejected}
            assert reasons <= ({"media"} if name.startswith("mllm") else set())
            num_used[name] = (found.files[0].format, len(found.examples))
    assert num_used == {
        "identity": ("alpaca", 91),
        "alpaca_en_demo": ("alpaca", 999),
        "alpaca_zh_demo": ("alpaca", 1000),
        "glaive_toolcall_en_demo": ("sharegpt", 300),
        "glaive_toolcall_zh_demo": ("sharegpt", 300),
        "mllm_demo": ("sharegpt", 0),
        "mllm_audio_demo": ("sharegpt", 0),
        "mllm_video_demo": ("sharegpt", 0),
        "mllm_video_audio_demo": ("sharegpt", 0),
        "dpo_en_demo": ("sharegpt_pairs", 300),
        "dpo_zh_demo": ("sharegpt_pairs", 300),
        "kto_en_demo": ("kto", 300),
        "wiki_demo": ("text", 1),
        "c4_demo": ("text", 300),
    }


@pytest.mark.parametrize(
    "name", ["alpaca_en_demo", "glaive_toolcall_en_demo", "dpo_en_demo", "kto_en_demo", "c4_demo"]
)
def test_the_registry_and_the_file_itself_say_the_same(shared, name):
    demos = shared / "data/llamafactory_demos"
    file = next(demos.glob(f"{name}.json*"))
    assert (
        load([Source(path=f"{demos}:{name}")], None).examples == load([Source(path=str(file))], None).examples
    )
