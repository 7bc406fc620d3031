"""Rows as they stand, in new files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from attune.data.examples import Origin
from attune.data.read import rows
from attune.data.rewrite import (
    RawRow,
    form_of,
    must_be_files,
    must_be_writable,
    raw_rows,
    row_file,
)
from attune.data.sources import FileReport, Stream
from attune.recipe.errors import DataError
from attune.recipe.schema import Source

ROW = {"instruction": "a", "input": "", "output": "b"}


def files(*paths: Path) -> list[FileReport]:
    stream = Stream([Source(path=str(path)) for path in paths], None)
    assert list(stream)
    assert stream.problems == []
    return stream.files


def copied(source: Path, target: Path) -> str:
    with row_file(target) as write:
        for raw in raw_rows(files(source)):
            write(raw)
    return target.read_text(encoding="utf-8")


def test_json_lines_stand_as_they_are(tmp_path: Path) -> None:
    """Spaces, escapes, the order of keys, 1.0 and U+2028 within; comments and blank lines are no rows."""
    lines = [
        '{"output": "b\\u00e9",  "instruction":"a\u2028x", "id": 1.0, "n": 10000000000000000000001}',
        '{"instruction": "a", "output": "half \\ud83d", "id": 2}',
    ]
    (tmp_path / "a.jsonl").write_text(f"# note\n{lines[0]}\r\n\n{lines[1]}", encoding="utf-8")
    found = list(raw_rows([report(tmp_path / "a.jsonl", "jsonl", 2)]))
    assert [raw.origin.row for raw in found] == [2, 4]
    assert [raw.origin.row for raw in found] == [number for number, _ in rows(str(tmp_path / "a.jsonl"))]
    with row_file(tmp_path / "b.jsonl") as write:
        for raw in found:
            write(raw)
    assert (tmp_path / "b.jsonl").read_text(encoding="utf-8") == f"{lines[0]}\n{lines[1]}\n"
    assert found[0].value["n"] == 10**22 + 1


def report(path: Path, container: str, num_rows: int, encoding: str = "utf-8") -> FileReport:
    return FileReport(str(path), container, "alpaca", encoding, False, num_rows, num_rows, 0, 0, "", ())


def test_rows_of_an_array(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([ROW, {**ROW, "output": "二 \ud83d"}], indent=2))
    text = copied_values(tmp_path, "b.json", 2)
    assert json.loads(text) == [ROW, {**ROW, "output": "二 \ud83d"}]
    assert text.startswith('[\n{"instruction": "a"')
    assert "二" in text
    assert copied_values(tmp_path, "b.jsonl", 2).count("\n") == 2


def copied_values(folder: Path, name: str, num: int) -> str:
    with row_file(folder / name) as write:
        for raw in raw_rows([report(folder / "a.json", "json", num)]):
            write(raw)
    return (folder / name).read_text(encoding="utf-8")


def test_no_rows_are_an_empty_array(tmp_path: Path) -> None:
    with row_file(tmp_path / "a.json"):
        pass
    assert json.loads((tmp_path / "a.json").read_text()) == []


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_a_table_stays_a_table(tmp_path: Path, name: str) -> None:
    separator = "," if name == "a.csv" else "\t"
    text = f'instruction{separator}output\n"a{separator} ""b"""{separator}"two\nlines"\nc{separator}d\n'
    (tmp_path / name).write_text(text)
    assert copied(tmp_path / name, tmp_path / f"b{name[1:]}") == text


def test_texts_keep_their_blank_lines_between(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\nmore\n\n\ntwo\n")
    assert copied(tmp_path / "a.txt", tmp_path / "b.txt") == "one\nmore\n\ntwo\n"


def test_another_encoding_and_gzip_become_plain_utf_8(tmp_path: Path) -> None:
    row = {"instruction": "请介绍一下这家饭店的招牌菜。", "output": "我们的招牌菜是红烧肉，欢迎品尝。"}
    line = json.dumps(row, ensure_ascii=False)
    (tmp_path / "a.jsonl").write_bytes(f"{line}\n{line}\n".encode("gb18030"))
    with gzip.open(tmp_path / "c.json.gz", "wt", encoding="utf-8") as file:
        file.write(f"[{line}]")
    assert copied(tmp_path / "a.jsonl", tmp_path / "b.jsonl") == f"{line}\n{line}\n"
    assert copied(tmp_path / "c.json.gz", tmp_path / "d.jsonl") == f"{line}\n"
    assert form_of(files(tmp_path / "c.json.gz")) == ".json"


def test_the_form_follows_the_source(tmp_path: Path) -> None:
    for name, container, form in [
        ("a.json", "json", ".json"),
        ("a.json", "jsonl", ".jsonl"),
        ("a.csv.gz", "csv", ".csv"),
        ("a.parquet", "parquet", ".jsonl"),
        ("a.md", "md", ".jsonl"),
    ]:
        assert form_of([report(tmp_path / name, container, 1)]) == form


def test_a_file_that_changed_meanwhile_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(ROW) + "\n")
    known = files(tmp_path / "a.jsonl")
    (tmp_path / "a.jsonl").write_text((json.dumps(ROW) + "\n") * 2)
    with pytest.raises(
        DataError, match=r"a\.jsonl: it was changed while it was read\. Run the command again\."
    ):
        list(raw_rows(known))


def test_a_failure_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text("as it was")
    with pytest.raises(DataError):
        write_all(tmp_path / "b.jsonl", RawRow(Origin("a", 1), "{}"), RawRow(Origin("a", 2), parsed={1j}))
    assert [path.name for path in tmp_path.iterdir()] == ["b.jsonl"]
    assert (tmp_path / "b.jsonl").read_text() == "as it was"


def write_all(path: Path, *raws: RawRow) -> None:
    with row_file(path) as write:
        for raw in raws:
            write(raw)


def test_what_a_table_cannot_hold(tmp_path: Path) -> None:
    first = RawRow(Origin("a.json", 1), parsed={"a": "x", "b": None})
    for wrong in ({"a": "x"}, {"a": "x", "b": ["y"]}, "text"):
        with pytest.raises(DataError) as told:
            write_all(tmp_path / "b.csv", first, RawRow(Origin("a.json", 2), parsed=wrong))
        assert str(told.value) == (
            f"{tmp_path}/b.csv: a table cannot hold row 2 of a.json: its columns must be those of the first "
            f"row (a, b), each with one value. Name the output {tmp_path}/b.jsonl."
        )


def test_what_a_text_file_cannot_hold(tmp_path: Path) -> None:
    for wrong in (ROW, "two\n\ndocuments"):
        with pytest.raises(
            DataError, match=r"cannot hold row 3 of a.json: it is no text without blank lines"
        ):
            write_all(tmp_path / "b.txt", RawRow(Origin("a.json", 3), parsed=wrong))


def test_what_json_does_not_have() -> None:
    with pytest.raises(DataError, match=r"a.parquet, row 3: cannot be written as JSON .*bytes.* Take that"):
        RawRow(Origin("a.parquet", 3), parsed={"a": b"x"}).as_json()


def test_outputs_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").write_text("{}")
    (tmp_path / "link.jsonl").symlink_to("a.jsonl")
    outputs = [Path("x.docx"), Path("link.jsonl"), Path("b.csv"), tmp_path / "b.csv"]
    with pytest.raises(DataError) as told:
        must_be_writable(outputs, ["a.jsonl"])
    assert told.value.problems == [
        "x.docx: cannot be written in this form. Allowed: .jsonl, .ndjson, .json, .csv, .tsv, .txt; "
        "for example x.jsonl.",
        "link.jsonl: this file is read; it is never written over. Name another file.",
        f"{tmp_path}/b.csv: named for two outputs. Give each its own file.",
    ]
    must_be_writable([Path("b.jsonl")], ["a.jsonl"])


def test_rows_that_lie_in_no_file() -> None:
    with pytest.raises(
        DataError, match=r"owner/name: no data file, so its rows cannot be written as they stand"
    ):
        must_be_files([report(Path("owner/name"), "hub", 1)])
