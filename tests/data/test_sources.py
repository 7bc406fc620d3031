"""From sources to examples: places, recognition, accounting, weights, reports."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from attune.data.examples import Labelled, Origin, Rejected, RowError, Text
from attune.data.places import fingerprint
from attune.data.sources import Loaded, check_share, load, write_rejected
from attune.recipe import plugs
from attune.recipe.errors import DataError
from attune.recipe.schema import Source


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths in messages are as the person typed them: relative to here."""
    monkeypatch.chdir(tmp_path)


def put(name: str, *rows: Any) -> str:
    """A JSON Lines file of these rows, or a file of this text."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    is_text = len(rows) == 1 and isinstance(rows[0], str)
    path.write_text(rows[0] if is_text else "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return name


def row(number: int, **more: Any) -> dict[str, Any]:
    return {"instruction": f"q{number}", "output": f"a{number}", **more}


def loaded(*paths: str, kind: str | None = "conversation", **options: Any) -> Loaded:
    return load([Source(path=path, **options) for path in paths], kind)


def problem(*paths: str, kind: str | None = "conversation", **options: Any) -> str:
    with pytest.raises(DataError) as error:
        loaded(*paths, kind=kind, **options)
    return str(error.value)


def prompts(found: Loaded) -> list[str]:
    return [example.messages[0].content for example in found.examples]  # type: ignore[union-attr]


# --- accounting
# ----------------------------------------------------------------------------------------------


def test_every_row_is_used_or_rejected_with_its_place_and_reason():
    path = put(
        "a.jsonl", row(1), row(2, output=""), row(3, input="more"), 7, {"instruction": "x"}, {}, row(7, id=5)
    )
    found = loaded(path)
    assert prompts(found) == ["q1", "q3\nmore", "q7"]
    assert found.origins == [Origin(path, 1), Origin(path, 3), Origin(path, 7)]
    assert [(bad.origin.row, bad.reason) for bad in found.rejected] == [
        (2, "output is empty."),
        (4, "the row is a number; it must be an object with columns."),
        (
            5,
            "not a row of format alpaca, as the rows before it are: it has instruction, it lacks output or "
            "response.",
        ),
        (6, "the row has no column that holds anything."),
    ]
    assert found.rejected[0].value == '{"instruction": "q2", "output": ""}'
    (report,) = found.files
    assert (report.path, report.container, report.format, report.encoding) == (
        path,
        "jsonl",
        "alpaca",
        "utf-8",
    )
    assert (report.num_rows, report.num_used, report.num_rejected, report.num_changed) == (7, 3, 4, 0)
    assert report.ignored == ("id",)
    assert len(report.sha256) == 64
    assert found.num_rows == 7


def test_a_changed_row_is_used_and_told():
    turns = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}, {"from": "human", "value": "c"}]
    found = loaded(put("a.json", json.dumps([{"conversations": turns}])))
    assert len(found.examples[0].messages) == 2  # type: ignore[union-attr]
    assert [(item.origin.row, item.change) for item in found.changed] == [
        (1, "cut after the last answer; what followed cannot be learnt: user.")
    ]
    assert found.files[0].num_changed == 1


def test_capitals_and_spaces_of_columns_are_set_aside_and_told():
    found = loaded(put("a.csv", "Question,Answer,Source Url\nWho?,Me.,x\nWhat?,That.,y\n"))
    assert prompts(found) == ["Who?", "What?"]
    read = "columns are read as: Answer → answer, Question → question."
    assert found.notes == [f"{found.files[0].path}: {read}"]
    assert found.files[0].ignored == ("Source Url",)


def test_two_columns_of_one_name_but_for_capitals_are_for_a_person_to_choose_from():
    with pytest.raises(DataError, match="no known format fits"):
        loaded(put("a.csv", "Question,QUESTION,Answer\na,b,c\n"))


def test_a_long_row_is_shortened_for_display():
    found = loaded(put("a.jsonl", row(1), row(2, output="", instruction="x" * 5000)))
    assert len(found.rejected[0].value) == 201
    assert found.rejected[0].value.endswith("x…")


def test_notes_of_the_reader_are_passed_on():
    assert (
        "comment lines, which are no rows, were passed over: 1."
        in loaded(put("a.jsonl", '# hi\n{"prompt": "a", "completion": "b"}\n')).notes[0]
    )


def test_a_file_without_rows():
    assert problem(put("a.csv", "prompt,completion\n")) == "a.csv: the file holds no rows."
    assert problem(put("a.json", "[]")) == "a.json: the file holds no rows."


# --- recognition
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "name"),
    [
        ([row(1, input="x", text="rendered")], "alpaca"),
        ([row(1, answer="B", input="x")], "alpaca"),
        ([{"input": "a", "output": "b"}], "prompt_completion"),
        ([{"prompt": "a", "response": "b", "text": "c"}], "prompt_completion"),
        ([{"messages": [{"role": "user", "content": "a"}], "prompt": "a"}], "messages"),
        ([{"instruction": "a", "output": None, "history": None}, row(2)], "alpaca"),
        ([{"messages": None, "prompt": "a", "completion": "b"}], "prompt_completion"),
        ([None, 5, row(3)], "alpaca"),
        ([{"note": "no data"}, *(row(number) for number in range(5))], "alpaca"),
    ],
)
def test_the_format_follows_from_the_columns(rows, name):
    assert loaded(put("a.jsonl", *rows)).files[0].format == name


def test_rows_may_differ_in_optional_columns():
    found = loaded(
        put("a.jsonl", row(1), row(2, input="i"), row(3, history=[["x", "y"]]), row(4, system="S"))
    )
    assert len(found.examples) == 4


def test_a_later_row_of_another_shape_is_rejected():
    found = loaded(put("a.jsonl", *(row(number) for number in range(60)), {"prompt": "a", "completion": "b"}))
    assert len(found.examples) == 60
    assert found.rejected[0].origin.row == 61
    assert "not a row of format alpaca, as the rows before it are: it has completion, prompt" in (
        found.rejected[0].reason
    )


def test_an_unknown_format_lists_columns_formats_and_the_nearest():
    assert problem(put("a.jsonl", {"question": "a", "std_answer": "b", "class": "c"})) == (
        "a.jsonl: no known format fits; it has the columns: class, question, std_answer.\n"
        "  prompt_completion needs prompt or question or query … and completion or response or answer …\n"
        "  turn_columns needs input or inputs or questions and output or outputs or answers\n"
        "  alpaca needs instruction and output or response\n"
        "  conversation needs conversation or dialog or dialogue\n"
        "  messages needs messages or (a row that is a list)\n"
        "Nearest is prompt_completion; rename: std_answer → answer."
    )


def test_the_nearest_format_says_what_is_missing():
    assert problem(put("a.jsonl", {"prompt": "a", "zzz": "b"})).endswith(
        "Nearest is prompt_completion; missing: completion or response or answer …."
    )
    assert problem(put("b.jsonl", {"zzz": "b"})).endswith(
        "Rename the columns to those of one format, or say which is which: columns: {prompt: zzz}"
    )
    assert "it has the columns: none" in problem(put("c.jsonl", 1, 2))


def test_preference_data_is_named_with_the_cure():
    for path in (
        put("a.jsonl", row(1, chosen="a", rejected="b")),
        put("b.jsonl", {"instruction": "q", "output": ["a", "b"]}),
        put(
            "c.jsonl", {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"}
        ),
    ):
        said = problem(path)
        assert said.startswith(f"{path}: holds rows of kind preference (format ")
        assert said.endswith(
            f"Use: attune dpo --data {path}; or learn the chosen answers: attune convert {path} --to "
            "messages --output chosen.jsonl"
        )
    assert problem(put("d.jsonl", row(1, label=True))).endswith(
        "Use: attune kto --data d.jsonl; or learn the good answers: attune convert d.jsonl --to messages "
        "--output good.jsonl"
    )
    assert problem(put("e.jsonl", {"chosen": "a", "rejected": "b"})).endswith(
        "Nearest is pairs; missing: prompt or instruction or question …."
    )


def test_a_row_of_preferences_among_others_is_rejected():
    found = loaded(put("a.jsonl", row(1), row(2, chosen="a", rejected="b"), row(3, output=["a", "b"])))
    assert [(bad.origin.row, bad.name) for bad in found.rejected] == [(2, "wrong_kind"), (3, "wrong_kind")]


def test_each_kind_names_the_command_of_the_other():
    texts, chats = put("a.txt", "Once upon a time."), put("b.jsonl", row(1))
    assert problem(texts) == (
        "a.txt: plain text (format text); supervised fine-tuning needs prompts and answers. To learn plain "
        "text use: "
        "attune pretrain --data a.txt; else give columns such as prompt and completion."
    )
    assert problem(chats, kind="text") == (
        "b.jsonl: holds rows of kind conversation (format alpaca), but this command learns from kind text. "
        "Use: attune sft --data b.jsonl"
    )
    assert loaded(texts, kind="text").examples == [Text("Once upon a time.")]


def test_a_text_column_beside_others_is_learnt_where_text_is_wanted():
    assert loaded(put("a.jsonl", row(1, text="all of it")), kind="text").examples == [Text("all of it")]


def test_a_declared_format():
    path = put("a.jsonl", {"messages": [{"role": "user", "content": "x"}], **row(1)})
    assert loaded(path, format="alpaca").files[0].format == "alpaca"
    assert "no such name in formats: 'alpca'. Allowed: alpaca" in problem(path, format="alpca")
    assert "Did you mean 'alpaca'?" in problem(path, format="alpca")
    assert "plain text (format text); supervised fine-tuning needs" in problem(path, format="text")


def test_two_formats_that_fit_equally_must_be_chosen_from():
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    path = put("a.jsonl", {"messages": turns, "conversations": turns})
    assert problem(path) == (
        "a.jsonl: the columns fit messages, sharegpt equally. Declare which is meant: format: messages"
    )


def test_a_strangers_format_of_another_kind_is_one_module(monkeypatch):
    """What the preference formats to come will be: found by entry point, told apart by its kind."""
    foreign = ModuleType("stranger_pairs")
    foreign.KIND, foreign.NEEDS, foreign.ALSO = "preference", (("better",), ("worse",)), ()  # type: ignore[attr-defined]
    foreign.to_example = lambda value: Text(value["better"])  # type: ignore[attr-defined]
    point = SimpleNamespace(name="better_worse", value="stranger_pairs", load=lambda: foreign)
    monkeypatch.setattr(plugs, "_foreign", lambda room: [point] if room == "formats" else [])
    path = put("a.jsonl", {"better": "a", "worse": "b"})
    assert loaded(path, kind="preference").files[0].format == "better_worse"
    assert "a.jsonl: holds rows of kind preference (format better_worse), but" in problem(path)


# --- places
# --------------------------------------------------------------------------------------------------


def test_a_folder_is_read_in_order_and_what_is_left_out_is_told():
    put("d/b.jsonl", row(2))
    put("d/a.csv", "prompt,completion\nq1,a1\n")
    put("d/sub/c.json", json.dumps([row(3)]))
    put("d/README.md", "# about")
    put("d/dataset_info.json", "{}")
    put("d/.hidden/x.jsonl", row(9))
    found = loaded("d")
    assert [report.path for report in found.files] == ["d/a.csv", "d/b.jsonl", "d/sub/c.json"]
    assert found.notes == [
        "d: files of the folder that are not read: README.md, dataset_info.json (2 in all)."
    ]
    put("t/a.md", "one")
    put("t/b.txt", "two\n\nthree")
    assert loaded("t", kind="text").examples == [Text("one"), Text("two"), Text("three")]


def test_a_folder_of_documents_is_data_where_any_kind_is_taken():
    put("t/a.md", "one")
    put("d/README.md", "# about")
    put("d/b.jsonl", row(1))
    assert loaded("t", kind=None).examples == [Text("one")]
    assert [report.path for report in loaded("d", kind=None).files] == ["d/b.jsonl"]


def test_a_folder_of_images_by_class_is_read_as_one():
    for name in ("i/train/cat/1.png", "i/train/dog/2.png", "i/test/cat/3.png"):
        put(name, "")
    found = loaded("i/train", kind="labelled")
    assert found.examples == [
        Labelled("cat", image="i/train/cat/1.png"),
        Labelled("dog", image="i/train/dog/2.png"),
    ]
    assert (found.files[0].container, found.files[0].format) == ("folder", "images")
    assert problem("i", kind=None) == (
        "i: holds folders of images by class, one for each part: i/test, i/train. Name one."
    )


def test_images_are_found_from_where_the_file_lies():
    put("d/photos/1.png", "")
    path = put("d/rows.jsonl", {"image": "photos/1.png", "label": 3}, {"image": "photos/2.png", "label": 4})
    found = loaded(path, kind=None)
    assert found.examples == [Labelled("3", image="d/photos/1.png")]
    assert [(bad.reason, bad.name) for bad in found.rejected] == [
        ("d/photos/2.png: no such image.", "no_image")
    ]


def test_a_fingerprint_counts_files_folders_and_what_a_registry_says():
    path = put("a.jsonl", row(1))
    one = fingerprint(Source(path=path), None)
    assert one == [[path, loaded(path).files[0].sha256]]
    put("dataset_info.json", json.dumps({"x": {"file_name": "a.jsonl"}}))
    named = fingerprint(Source(path="dataset_info.json:x"), None)
    assert named is not None
    assert (named[0][0], named[1:]) == ("registry", one)
    put("dataset_info.json", json.dumps({"x": {"file_name": "a.jsonl", "num_samples": 1}}))
    assert fingerprint(Source(path="dataset_info.json:x"), None) != named
    put("i/cat/1.png", "")
    assert fingerprint(Source(path="i"), None) == [["i", loaded("i", kind=None).files[0].sha256]]
    assert fingerprint(Source(path="owner/set"), None) is None


def test_a_glob_is_read_in_order():
    for name in ("b2", "b10", "a1"):
        put(f"d/{name}.jsonl", row(1))
    assert [report.path for report in loaded("d/*.jsonl").files] == [
        "d/a1.jsonl",
        "d/b10.jsonl",
        "d/b2.jsonl",
    ]
    assert [report.path for report in loaded("**/b*.jsonl").files] == ["d/b10.jsonl", "d/b2.jsonl"]


def test_a_file_whose_name_has_brackets_is_no_pattern():
    assert loaded(put("a[1].jsonl", row(1))).files[0].path == "a[1].jsonl"


def test_all_problems_are_told_at_once():
    put("train.jsonl", row(1))
    put("bad.json", "[1,]")
    put("empty.json", "")
    Path("d").mkdir()
    with pytest.raises(DataError) as error:
        loaded("trian.jsonl", "bad.json", "train.jsonl", "empty.json", "d", "*.csv")
    said = error.value.problems
    assert said[0] == "trian.jsonl: no such file. Did you mean: train.jsonl?"
    assert said[1].startswith(
        "d: the folder holds no data files (.json, .jsonl, .ndjson, .csv, .tsv, .parquet, .arrow,"
    )
    assert said[2] == "*.csv: no file matches this pattern. Check it with: ls *.csv"
    assert said[3].startswith("bad.json, line 1, column 4 (row 2): not valid JSON")
    assert said[4] == "empty.json: the file is empty."
    assert len(said) == 5


def test_an_encoding_is_declared_per_source():
    Path("a.csv").write_bytes("prompt,completion\ncafé,thé\n".encode("latin-1"))
    assert prompts(loaded("a.csv", encoding="latin-1")) == ["café"]
    assert "a.csv, line 2" in problem("a.csv")


# --- the hub, by a stand-in: no network in tests
# -------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch):
    """A package ``datasets`` that knows one data set."""
    asked: list[tuple[str, str | None, str]] = []

    class DatasetsError(Exception):
        pass

    def load_dataset(path: str, name: str | None, split: str) -> list[dict[str, Any]]:
        asked.append((path, name, split))
        if path != "owner/set":
            raise ConnectionError(f"Couldn't reach '{path}' on the Hub\nand more")
        return [row(1), row(2, output="")]

    fake = SimpleNamespace(load_dataset=load_dataset, exceptions=SimpleNamespace(DatasetsError=DatasetsError))
    monkeypatch.setitem(sys.modules, "datasets", fake)
    return asked


def test_a_hub_data_set(hub):
    found = loaded("owner/set", split="test", subset="zh")
    assert hub == [("owner/set", "zh", "test")]
    assert (len(found.examples), len(found.rejected)) == (1, 1)
    assert found.origins == [Origin("owner/set", 1)]
    assert (found.files[0].container, found.files[0].num_rows, len(found.files[0].sha256)) == ("hub", 2, 64)


def test_a_hub_data_set_that_cannot_be_reached(hub):
    assert problem("owner/other") == (
        "owner/other: no such file here, and as a hub data set (split train) it cannot be loaded: Couldn't "
        "reach "
        "'owner/other' on the Hub. Check the name, the split and the network, or give a file."
    )


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert problem("owner/set") == (
        "owner/set: no such file here; as a hub data set it needs the package datasets. "
        'Type: pip install "attune[data]"'
    )


@pytest.mark.parametrize("path", ["data/train.json", "here/train", "a/b/c", "./a/b", "owner/set.jsonl.gz"])
def test_what_is_no_hub_id(hub, path):
    Path("here").mkdir()
    assert "no such file" in problem(path)
    assert hub == []


# --- weights
# -------------------------------------------------------------------------------------------------


def weighed(weight: float, seed: int = 0, num: int = 40) -> Counter[int]:
    path = put("a.jsonl", *(row(number) for number in range(1, num + 1)))
    found = load([Source(path=path, weight=weight)], "conversation", seed=seed)
    assert all(
        example.messages[0].content == f"q{origin.row}"
        for example, origin in zip(found.examples, found.origins, strict=True)
    )  # type: ignore[union-attr]
    return Counter(origin.row for origin in found.origins)


def test_weight_two_takes_each_row_twice():
    assert weighed(2.0) == Counter(dict.fromkeys(range(1, 41), 2))


def test_weight_a_half_takes_a_seeded_half():
    half = weighed(0.5)
    assert (len(half), set(half.values())) == (20, {1})
    assert weighed(0.5) == half
    assert weighed(0.5, seed=1) != half
    assert sorted(half) != list(range(1, 21))


def test_weight_two_and_a_half_is_exact():
    counts = Counter(weighed(2.5).values())
    assert counts == Counter({2: 20, 3: 20})


def test_at_most_so_many_rows_are_drawn_before_the_weight():
    path = put("a.jsonl", *(row(number) for number in range(1, 41)))

    def drawn(**options: Any) -> Counter[int]:
        found = load([Source(path=path, **options)], "conversation", seed=0)
        return Counter(origin.row for origin in found.origins)

    ten = drawn(num_samples=10)
    assert (len(ten), set(ten.values())) == (10, {1})
    assert sorted(ten) != list(range(1, 11))
    assert drawn(num_samples=10, weight=2.0) == Counter(dict.fromkeys(ten, 2))
    assert drawn(num_samples=40) == drawn() == drawn(num_samples=99)


def test_a_tiny_weight_rounds():
    assert sum(weighed(0.1, num=30).values()) == 3
    found = loaded(put("a.jsonl", row(1), row(2)), weight=0.01)
    assert found.examples == []
    assert found.notes == [
        "a.jsonl: with weight 0.01 none of its examples is taken (it has 2). Raise the weight."
    ]


def test_weights_touch_their_own_source_only():
    a, b = put("a.jsonl", row(1), row(2)), put("b.jsonl", row(3), row(4))
    found = load([Source(path=a), Source(path=b, weight=3)], "conversation")
    assert prompts(found) == ["q1", "q2", *["q3", "q4"] * 3]
    assert [report.num_used for report in found.files] == [2, 2]


# --- progress, shares, the rejected
# --------------------------------------------------------------------------


def test_progress_counts_bytes_and_ends_full():
    paths = [put("a.jsonl", *(row(number) for number in range(2500))), put("b.jsonl", row(1))]
    calls: list[tuple[str, int, int]] = []
    load([Source(path=path) for path in paths], "conversation", on_progress=lambda *call: calls.append(call))
    total = sum(Path(path).stat().st_size for path in paths)
    done = [call[1] for call in calls]
    assert done == sorted(done)
    assert len(calls) >= 4
    assert calls[-1] == ("reading b.jsonl, bytes", total, total)


def test_check_share_groups_reasons_and_names_the_first_rows():
    bad = [row(number, output="") for number in range(3)]
    turns = [
        [{"from": "human", "value": f"{number}"}] * 2 + [{"from": "gpt", "value": "x"}] for number in range(2)
    ]
    a = put("a.jsonl", *(row(number) for number in range(15)), *bad)
    b = put("b.jsonl", *({"conversations": turn} for turn in turns))
    found = loaded(a, b)
    check_share(found, 0.25)
    with pytest.raises(DataError) as error:
        check_share(found, 0.2)
    assert str(error.value) == (
        "5 of 20 rows (25.0%) cannot be used; allowed are 20.0% (data.max_rejected_share):\n"
        "  3 ×: output is empty. First: a.jsonl, row 16.\n"
        "  2 ×: turns 1 and 2 are both from user (“0”); user and assistant must take turns. First: b.jsonl, "
        "row 1.\n"
        "Correct these rows, or allow more: data.max_rejected_share=0.26"
    )


def test_check_share_stops_where_no_row_is_left():
    found = loaded(put("a.jsonl", row(1, output="")))
    with pytest.raises(DataError, match="1 of 1 rows") as error:
        check_share(found, 1.0)
    assert "allow more" not in str(error.value)


def test_check_share_shows_five_reasons():
    found = Loaded(rejected=[Rejected(Origin("a", 1), f"reason {'x' * number}", "") for number in range(7)])
    with pytest.raises(DataError, match="  2 rows for other reasons"):
        check_share(found, 0.0)


def test_write_rejected(tmp_path):
    path = tmp_path / "run" / "rejected.jsonl"
    rejected = [
        Rejected(Origin("a.jsonl", 3), "output is empty.", '{"output": ""}'),
        Rejected(Origin("小.jsonl", 4), "半", "\ud83d"),
    ]
    write_rejected(rejected, path)
    first, second = path.read_text(encoding="utf-8").splitlines()
    assert json.loads(first) == {
        "path": "a.jsonl",
        "row": 3,
        "rule": "unusable_row",
        "reason": "output is empty.",
        "value": '{"output": ""}',
    }
    assert json.loads(second)["path"] == "小.jsonl"
    assert [item.name for item in path.parent.iterdir()] == ["rejected.jsonl"]


def test_reasons_are_row_errors():
    assert issubclass(RowError, ValueError)
