"""Reading files: containers, encodings, gzip, what cannot be read. The files are made here, byte by byte."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from attune.data import read_yaml
from attune.data.read import RowStream, missing, rows
from attune.recipe.errors import DataError

CHINESE = "小笼包要趁热吃，请问您几位？我们的招牌是鲜肉小笼。"


@pytest.fixture
def put(tmp_path: Path):
    """Writes a file and gives its path."""

    def write(name: str, content: str | bytes) -> str:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write


def read(path: str, encoding: str | None = None) -> tuple[RowStream, list[tuple[int, Any]]]:
    stream = rows(path, encoding)
    return stream, list(stream)


def values(path: str, encoding: str | None = None) -> list[Any]:
    return [value for _, value in read(path, encoding)[1]]


def problem(path: str, encoding: str | None = None) -> str:
    with pytest.raises(DataError) as error:
        read(path, encoding)
    return str(error.value)


# --- JSON and JSON Lines
# -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.data", "a", "a.txt"])
@pytest.mark.parametrize(
    ("content", "container", "expected"),
    [
        ('[{"a": 1}, {"a": 2}]', "json", [{"a": 1}, {"a": 2}]),
        ('[\n {"a": 1},\n {"a": 2}\n]\n', "json", [{"a": 1}, {"a": 2}]),
        ('{"a": 1}\n{"a": 2}\n', "jsonl", [{"a": 1}, {"a": 2}]),
        ('{\n "a": 1\n}\n', "json", [{"a": 1}]),
        ('[{"role": "user", "content": "x"}]', None, [[{"role": "user", "content": "x"}]]),
        ('[[{"role": "user"}], [{"role": "user"}]]', "json", [[{"role": "user"}], [{"role": "user"}]]),
    ],
)
def test_json_is_told_by_its_content_not_by_its_suffix(put, name, content, container, expected):
    stream, found = read(put(name, content))
    assert [value for _, value in found] == expected
    assert [number for number, _ in found] == list(range(1, len(expected) + 1))
    assert container is None or stream.container == container
    assert stream.num_rows == len(expected)


def test_pretty_objects_one_after_another(put):
    path = put("a.json", '{\n "a": 1\n}\n{\n "a": 2\n}')
    assert read(path)[1] == [(1, {"a": 1}), (2, {"a": 2})]


def test_json_lines_row_numbers_are_line_numbers_and_comments_are_counted(put):
    stream, found = read(put("a.jsonl", '# about\n{"a": 1}\r\n\n  \n// more\n{"a": 2}'))
    assert found == [(2, {"a": 1}), (6, {"a": 2})]
    assert stream.num_rows == 2
    assert stream.notes == [f"{stream.path}: comment lines, which are no rows, were passed over: 2."]


def test_only_line_feeds_end_a_line(put):
    inside = "a\u2028b\u2029c\x85d\x0be\x0cf"
    line = json.dumps({"a": inside}, ensure_ascii=False)
    assert values(put("a.jsonl", f"{line}\n{line}\n")) == [{"a": inside}] * 2


def test_a_document_named_json_lines_is_read_and_told(put):
    stream, found = read(put("a.jsonl", '{\n"a": 1}'))
    assert (stream.container, found) == ("json", [(1, {"a": 1})])
    assert "the name says JSON Lines, but it is one JSON document" in stream.notes[0]


def test_json_lines_are_streamed(put, monkeypatch):
    """The first rows are there before the last line is parsed."""
    path = put("a.jsonl", '{"a": 1}\n{"a": 2}\n' + "broken\n")
    stream = iter(rows(path))
    assert next(stream) == (1, {"a": 1})
    assert next(stream) == (2, {"a": 2})
    with pytest.raises(DataError):
        next(stream)


def test_broken_lines_are_listed_and_counted(put):
    path = put("a.jsonl", '{"a": 1}\n' + "{'a': 1}\n" * 7)
    said = problem(path)
    assert said.startswith(
        f"{path}: not valid JSON, number of lines: 7\n  line 2, column 2: Expecting property name"
    )
    assert "  line 6, column 2:" in said
    assert "  line 7," not in said
    assert "… and 2 more" in said
    assert "Each line must be one whole JSON value" in said


def test_a_broken_first_line_among_good_ones(put):
    path = put("a.json", 'oops\n{"a": 1}\n{"a": 2}\n')
    assert (
        f"{path}: not valid JSON, number of lines: 1\n  line 1, column 1: Expecting value, at: “→oops␤”"
        in problem(path)
    )


@pytest.mark.parametrize(
    ("content", "place", "why"),
    [
        (
            '[\n {"a": 1},\n {"a": 2},\n]',
            "line 4, column 1 (row 3)",
            "Illegal trailing comma before end of array",
        ),
        ('[\n {"a": 1}\n {"a": 2}\n]', "line 3, column 2 (row 2)", "Expecting ',' delimiter"),
        ('[\n {"a": """x"""}\n]', "line 2, column 10 (row 1)", "Expecting ',' delimiter"),
        ('{\n "a": 1', "line 2, column 8", "Expecting ',' delimiter"),
        ('{\n "a": tru}', "line 2, column 7", "Expecting value"),
        ('[\n {"a": "x\ny"}]', "line 2, column 10 (row 1)", "Invalid control character at"),
        ("[" * 100_000, "line 1, column 2 (row 1)", "nested too deeply"),
    ],
)
def test_broken_json_is_named_by_line_column_and_row(put, content, place, why):
    path = put("a.json", content)
    assert problem(path).startswith(f"{path}, {place}: not valid JSON: {why}")


def test_broken_json_in_chinese(put, monkeypatch):
    monkeypatch.setenv("ATTUNE_LANG", "zh")
    path = put("a.json", '[{"a": 1},]')
    assert problem(path).startswith(f"{path} 第 1 行第 11 列（第 2 条）：不是有效的 JSON：] 之前多了一个逗号")


def test_a_number_of_too_many_digits_is_an_error_not_a_crash(put):
    assert "not valid JSON" in problem(put("a.json", "[" + "1" * 5000 + "]"))


def test_merge_conflict(put):
    path = put("a.json", '[\n<<<<<<< HEAD\n{"a": 1}\n=======\n{"a": 2}\n>>>>>>> main\n]')
    assert problem(path).startswith(
        f"{path}, line 2: a merge-conflict marker (<<<<<<<): the file holds two versions"
    )
    lines = put("b.jsonl", '{"a": 0}\n<<<<<<< HEAD\n{"a": 1}\n=======\n{"a": 2}\n>>>>>>> main\n')
    assert "merge-conflict markers: keep one version" in problem(lines)


# --- tables
# --------------------------------------------------------------------------------------------------


def test_csv_with_a_byte_order_mark_quotes_and_line_breaks_in_cells(put):
    path = put("a.csv", '\ufeffprompt,completion\r\n"a, b","c\nd ""e"""\r\n\r\nf,\r\n')
    stream, found = read(path)
    assert found == [
        (1, {"prompt": "a, b", "completion": 'c\nd "e"'}),
        (2, {"prompt": "f", "completion": ""}),
    ]
    assert (stream.container, stream.encoding) == ("csv", "utf-8-sig")


def test_tsv_and_semicolons(put):
    assert values(put("a.tsv", "a\tb\n1, 2\t3;4\n")) == [{"a": "1, 2", "b": "3;4"}]
    assert values(put("a.csv", "a;b\n1,5;2\n")) == [{"a": "1,5", "b": "2"}]
    assert values(put("b.csv", "text\nhello\n")) == [{"text": "hello"}]


def test_quotes_of_an_unquoted_tsv_are_plain_characters(put):
    """Read with quoting, the first two rows would become one."""
    path = put("a.tsv", 'a\tb\n" He said\t1\nShe "left" "\t2\n')
    assert values(path) == [{"a": '" He said', "b": "1"}, {"a": 'She "left" "', "b": "2"}]


def test_a_cell_of_a_megabyte(put):
    assert values(put("a.csv", "text\n" + "x" * 1_000_000 + "\n")) == [{"text": "x" * 1_000_000}]


def test_rows_with_other_than_the_headers_cells_are_listed(put):
    path = put("a.csv", "a,b\n1,2\n1,2,3\n\n1\n")
    assert problem(path) == (
        f"{path}: the header has 2 columns; number of rows with more or fewer cells: 2\n"
        "  row 2 (ends in line 3): 3 cells: 1 | 2 | 3\n"
        "  row 3 (ends in line 5): 1 cells: 1\n"
        'A cell that holds the separator or a line break must be quoted: "like, this".'
    )


def test_an_open_quote_does_not_swallow_the_rest(put):
    path = put("a.csv", 'a,b\n"1,2\n3,4\n"5" x,6\n')
    assert "not valid CSV" in problem(path)


@pytest.mark.parametrize("header", ["a,a", "a,", ",,b"])
def test_a_header_names_each_column_once(put, header):
    assert "the first line must name the columns, each once; it holds:" in problem(
        put("a.csv", f"{header}\n1,2\n")
    )


def test_the_column_of_row_numbers_that_pandas_writes_has_a_name(put):
    assert values(put("a.csv", ",text\n0,a\n")) == [{"index": "0", "text": "a"}]


@pytest.mark.parametrize(
    "first", ["3,Good film", "it was a film that one would have liked to see twice in a row,no"]
)
def test_a_first_line_that_is_a_row_is_one_and_that_is_told(put, first):
    path = put("a.csv", f"{first}\n4,Bad film\n")
    stream, found = read(path)
    one, other = first.split(",")
    assert found == [(1, {"0": one, "1": other}), (2, {"0": "4", "1": "Bad film"})]
    assert stream.notes == [
        f"{path}: the first line looks like a row, not like names; the columns are called 0, 1 (or declare "
        "has_header: true)."
    ]


def test_whether_there_is_a_header_can_be_declared(put):
    path = put("a.csv", "2021,text\n1,a\n")
    assert [value for _, value in rows(path, has_header=True)] == [{"2021": "1", "text": "a"}]
    path = put("b.csv", "label,text\n1,a\n")
    stream = rows(path, has_header=False)
    assert [value for _, value in stream] == [{"0": "label", "1": "text"}, {"0": "1", "1": "a"}]
    assert stream.notes == []


def test_quotes_that_would_join_lines_of_a_tsv_are_plain_characters(put):
    """Read with quoting this is a table too: of two rows, the first of which has swallowed the second."""
    path = put("a.tsv", 'a\tb\n1\t"so\n2\tor so"\n3\tx\n')
    assert values(path) == [{"a": "1", "b": '"so'}, {"a": "2", "b": 'or so"'}, {"a": "3", "b": "x"}]


def test_a_quoted_cell_of_a_tsv_may_hold_a_line_break(put):
    assert values(put("a.tsv", 'a\tb\n1\t"so\nand so"\n2\tx\n'))[0] == {"a": "1", "b": "so\nand so"}


# --- YAML, lines of a label and a text, folders of images
# ------------------------------------------------------------------------


def test_yaml_is_a_list_of_rows_by_the_rules_of_recipes(put):
    path = put("a.yaml", "- prompt: Is it open?\n  completion: no\n- {prompt: 四, completion: 4}\n")
    stream, found = read(path)
    assert found == [
        (1, {"prompt": "Is it open?", "completion": "no"}),
        (2, {"prompt": "四", "completion": 4}),
    ]
    assert stream.container == "yaml"
    assert values(put("b.yml", "prompt: a\n")) == [{"prompt": "a"}]


def test_yaml_that_is_broken_too_large_or_has_aliases_is_refused(put, monkeypatch):
    path = put("a.yaml", "- a: 1\n  b\n")
    assert problem(path).startswith(f"{path}:")
    path = put("b.yaml", "- &x {a: 1}\n- *x\n")
    assert problem(path) == f"{path}, line 2: an alias (*x); in data each row is written out."
    monkeypatch.setattr(read_yaml, "_LARGEST", 10)
    path = put("c.yaml", "- a: 1\n" * 4)
    assert problem(path) == (
        f"{path}: YAML of more than 10 characters is not read: it would take minutes. Write it as JSON Lines."
    )


@pytest.mark.parametrize(
    ("name", "lines", "first"),
    [
        ("rt.all", ["0 dull .", "1 a film of wit", "0 long", "1 so good"], {"label": "0", "text": "dull ."}),
        (
            "a.txt",
            ["__label__x __label__y one", "__label__z two", "__label__z three", "__label__z four"],
            {"label": ["x", "y"], "text": "one"},
        ),
        ("TREC.train", ["LOC:city Where ?", "NUM:date When ?"] * 2, {"label": "LOC:city", "text": "Where ?"}),
    ],
)
def test_lines_of_a_label_and_a_text(put, name, lines, first):
    path = put(name, "\n".join(lines) + "\n")
    stream, found = read(path)
    assert (stream.container, found[0], len(found)) == ("lines", (1, first), 4)
    assert stream.notes == [f"{path}: read as lines of a label and a text."]


def test_a_label_without_a_text_and_a_later_line_without_a_label_are_rows(put):
    path = put("a.all", "".join(f"{number % 2} good\n" for number in range(210)) + "1\n\nno label\n")
    assert values(path)[-2:] == [{"label": "1", "text": ""}, {"text": "no label"}]


@pytest.mark.parametrize(
    "text", ["1 one\n2 two\n3 three\n4 four\n", "0\n1\n0\n1\n", "1 a\n1 b\nplain\n1 c\n"]
)
def test_a_numbered_list_or_a_list_of_numbers_has_no_labels(put, text):
    assert read(put("a.txt", text))[0].container == "txt"


def test_a_folder_with_a_sub_folder_of_images_per_class(tmp_path):
    for name in ("cat/b.PNG", "cat/a.jpg", "dog/c.jpeg", "dog/.hidden.png", "dog/notes.doc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    stream, found = read(str(tmp_path))
    assert found == [
        (1, {"image_path": "cat/a.jpg", "label": "cat"}),
        (2, {"image_path": "cat/b.PNG", "label": "cat"}),
        (3, {"image_path": "dog/c.jpeg", "label": "dog"}),
    ]
    assert (stream.container, stream.encoding, stream.num_rows, stream.size) == ("folder", None, 3, 3)
    before = stream.sha256
    (tmp_path / "dog/d.png").write_bytes(b"x")
    assert read(str(tmp_path))[0].sha256 != before


def test_parquet_and_arrow(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import ipc, parquet

    table = pyarrow.table({"prompt": ["a", None], "n": [[1, 2], []]})
    expected = [(1, {"prompt": "a", "n": [1, 2]}), (2, {"prompt": None, "n": []})]
    parquet.write_table(table, tmp_path / "a.parquet")
    stream, found = read(str(tmp_path / "a.parquet"))
    assert (stream.container, stream.encoding, found) == ("parquet", None, expected)
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet.gz").write_bytes(gzip.compress(whole))
    assert read(str(tmp_path / "a.parquet.gz"))[1] == expected
    for name, writer in (("f.arrow", ipc.new_file), ("s.arrow", ipc.new_stream)):
        with writer(tmp_path / name, table.schema) as sink:
            sink.write_table(table)
        assert read(str(tmp_path / name))[1] == expected
    (tmp_path / "cut.parquet").write_bytes(whole[:-10])
    assert "the Parquet file is damaged" in problem(str(tmp_path / "cut.parquet"))
    (tmp_path / "no.arrow").write_bytes(b"nothing of the kind")
    assert "the Arrow file is damaged" in problem(str(tmp_path / "no.arrow"))


def test_parquet_without_pyarrow_says_what_to_install(put, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    path = put("a.parquet", b"PAR1....PAR1")
    expected = f'{path}: reading it needs pyarrow, which is not installed. Type: pip install "attune[data]"'
    assert problem(path) == expected


def test_a_parquet_that_is_none(put):
    path = put("a.parquet", "hello")
    assert problem(path).startswith(f"{path}: not a Parquet file: it does not begin with PAR1.")


# --- texts
# ---------------------------------------------------------------------------------------------------


def test_a_txt_holds_documents_between_blank_lines_and_keeps_all_else(put):
    path = put("a.txt", "\n\n  first\nline two \r\n \t \n\n\nsecond\u2028still\n")
    assert read(path)[1] == [(1, "  first\nline two "), (2, "second\u2028still")]


def test_a_md_is_one_document(put):
    assert values(put("a.md", "\n# Title\n\nText.\n\n")) == ["# Title\n\nText."]


def test_a_document_that_begins_with_a_bracket_is_no_json(put):
    assert values(put("a.txt", "[1]\nfoot\n\n{curly} text")) == ["[1]\nfoot", "{curly} text"]


# --- encodings
# -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "reported"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8-sig"),
        ("utf-16", "utf-16"),
        ("utf-32", "utf-32"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
        ("utf-32-le", "utf-32-le"),
        ("utf-32-be", "utf-32-be"),
        ("gb18030", "gb18030"),
        ("gbk", "gb18030"),
    ],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.txt"])
def test_encodings_are_found_and_reported(put, encoding, reported, name):
    row = json.dumps({"text": CHINESE}, ensure_ascii=False)
    content = {
        "a.jsonl": f"{row}\n{row}\n",
        "a.json": f"[{row}, {row}]",
        "a.csv": f"text\n{CHINESE}\n{CHINESE}\n",
    }
    text = content.get(name, f"plain text first\n\n{CHINESE}")
    stream, found = read(put(name, text.encode(encoding)))
    assert stream.encoding == reported
    assert len(found) == 2
    assert CHINESE in json.dumps([value for _, value in found], ensure_ascii=False)
    if not reported.startswith("utf-8"):
        assert stream.notes == [
            f"{stream.path}: read as {reported.upper()}, as its bytes suggest; "
            "declare another with encoding: …"
        ]


def test_the_whole_file_decides(put):
    """The first Latin-1 byte stands after more than two megabytes of ASCII, across the chunks of reading."""
    lines = 40_000
    path = put(
        "a.txt", b"nothing but plain characters in here, and that for very long\n" * lines + b"a caf\xe9 in P"
    )
    said = problem(path)
    assert (
        f"{path}, line {lines + 1} (byte {61 * lines + 6}, 0xe9): neither UTF-8 nor Chinese in GB18030."
        in said
    )
    assert "Read as cp1252 it says: “" in said
    assert "a café in P”" in said
    assert "encoding: cp1252" in said
    assert values(path, "latin-1")[0].endswith("a café in P")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Wir können größere Füße übersehen, schöne Grüße aus Köln\n", "latin-1"),
        ("本店小籠包每日現做，歡迎光臨。請問今天有什麼推薦的菜色嗎？", "big5"),
        ("いらっしゃいませ。本日のおすすめは小籠包です。", "shift_jis"),
        ("안녕하세요. 오늘 추천 메뉴는 무엇입니까? 감사합니다", "euc-kr"),
        ("“Hello” he said – it’s a café…", "cp1252"),
    ],
)
def test_other_encodings_are_refused_unless_declared(put, text, encoding):
    path = put("a.txt", text.encode(encoding))
    assert "neither UTF-8 nor Chinese in GB18030" in problem(path)
    assert values(path, encoding) == [text.strip("\n")]


def test_a_character_cut_by_the_chunks_of_reading(put):
    for shift in range(3):
        text = "x" * ((1 << 20) - 1 - shift) + CHINESE
        for encoding in ("utf-8", "gb18030"):
            assert values(put("a.txt", text.encode(encoding))) == [text]


def test_a_declared_encoding_that_does_not_fit(put):
    path = put("a.txt", "one\ntwo é".encode("latin-1"))
    assert problem(path, "utf-8").startswith(
        f"{path}, line 2 (byte 9): the text does not fit the encoding utf-8."
    )


@pytest.mark.parametrize("name", ["klingon", "hex", "rot13", ""])
def test_a_declared_encoding_that_is_none(put, name):
    assert f"no character encoding is named '{name}'. Examples: utf-8, gb18030" in problem(
        put("a.txt", "x"), name
    )


def test_utf_8_declared_for_a_file_with_a_byte_order_mark(put):
    assert values(put("a.csv", "\ufefftext\nx\n"), "utf-8") == [{"text": "x"}]


def test_a_truncated_utf_16_file(put):
    assert "does not fit the encoding utf-16" in problem(put("a.txt", "hello".encode("utf-16")[:-1]))


# --- files that are not what they seem
# -----------------------------------------------------------------------


@pytest.mark.parametrize("content", ["", "\n \n", "\ufeff"])
def test_empty(put, content):
    path = put("a.json", content)
    assert problem(path) == f"{path}: the file is empty."
    assert "the file is empty" in problem(put("a.json.gz", gzip.compress(content.encode())))


def test_missing_names_the_nearest(put, tmp_path):
    put("train.json", "{}")
    put("other.csv", "a")
    wrong = str(tmp_path / "trian.json")
    assert problem(wrong) == f"{wrong}: no such file. Did you mean: {tmp_path / 'train.json'}?"
    far = str(tmp_path / "xyz")
    assert problem(far) == f"{far}: no such file. Data files in {tmp_path}: other.csv, train.json."
    empty = tmp_path / "empty"
    empty.mkdir()
    assert problem(str(empty / "x")) == f"{empty / 'x'}: no such file. There is no data file in {empty}."
    nowhere = str(tmp_path / "no" / "a.json")
    assert (
        problem(nowhere)
        == f"{nowhere}: no such file: the folder {tmp_path / 'no'} does not exist. Check the path."
    )
    assert "no such file" in problem("a\0b")
    assert "没有这个文件" not in missing(far)


def test_git_lfs_pointer(put):
    path = put("a.json", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    assert problem(path).startswith(f"{path}: this is a Git LFS pointer, the data itself was not downloaded.")
    assert "git lfs pull" in problem(path)


@pytest.mark.parametrize("name", ["a.json.gz", "a.jsonl.gz", "a.json", "a"])
def test_gzip_is_told_by_its_content(put, name):
    content = b'{"a": 1}\n{"a": 2}\n'
    stream, found = read(put(name, gzip.compress(content)))
    assert (stream.is_compressed, len(found)) == (True, 2)
    assert stream.sha256 == hashlib.sha256(Path(stream.path).read_bytes()).hexdigest()


def test_truncated_gzip_gives_no_row_at_all(put):
    whole = gzip.compress(b'{"a": 1}\n' * 1000)
    for cut in (1, 8, len(whole) // 2):
        path = put("a.jsonl.gz", whole[:-cut])
        with pytest.raises(DataError, match="the gzip file is cut off: its end mark is missing"):
            rows(path)


def test_damaged_gzip(put):
    whole = bytearray(gzip.compress(b'{"a": 1}\n' * 1000))
    whole[-6] ^= 0xFF
    assert "the gzip file is damaged (CRC check failed" in problem(put("a.jsonl.gz", bytes(whole)))


@pytest.mark.parametrize(
    "magic", [b"PK\x03\x04xx", b"%PDF-1.7", b"\x89PNG\r\n", b"\x00\x01\x02\xff" * 64, b"a\0b text"]
)
def test_binary(put, magic):
    assert "not a text file (" in problem(put("a.json", magic))


def test_zero_bytes_far_into_a_file(put):
    assert "not a text file (it holds zero bytes)" in problem(put("a.txt", b"text " * 5000 + b"\0"))


def test_unknown_suffix(put):
    path = put("a.xml", "<xml/>")
    assert problem(path).startswith(
        f"{path}: unknown kind of file: it is not JSON, and its suffix is none of .json"
    )


def test_a_folder_is_no_file(tmp_path):
    assert "no such file" in problem(str(tmp_path))


def test_facts(put):
    stream, _ = read(put("a.json", '[{"a": 1}]'))
    assert stream.sha256 == hashlib.sha256(b'[{"a": 1}]').hexdigest()
    assert (stream.encoding, stream.is_compressed, stream.size, stream.num_rows) == ("utf-8", False, 10, 1)
    assert stream.position() == stream.size


# --- whatever the bytes
# ----------------------------------------------------------------------------------------

NAMES = (
    "a.json",
    "a.jsonl",
    "a.csv",
    "a.tsv",
    "a.txt",
    "a.md",
    "a.bin",
    "a.json.gz",
    "a.arrow",
    "a.parquet",
    "a.yaml",
)
JSON_PIECES = (
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b"\\",
    b",",
    b":",
    b"1e9",
    b"null",
    b"NaN",
    b"-",
    b'{"a": "b"}',
    b'"\\ud800"',
)
MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xff\xfe\0\0", b"\0", b"\x1f\x8b", b"PAR1", b"ARROW1", b"<<<<<<< ")
SIGNS = (b"\n", b"\r", b" ", b"#", b"a", b"\t", b";", b"'", b"\xe9", "中文".encode(), "中文".encode("gbk"))
PIECES = st.sampled_from((*JSON_PIECES, *MARKS, *SIGNS, "\u2028".encode()))


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(NAMES), st.one_of(st.binary(max_size=200), st.lists(PIECES, max_size=40).map(b"".join))
)
@example("a.csv", b'a,b\n"1,2\n')
@example("a.json", b"[" * 100_000)
@example("a.json", b"1" * 5000)
@example("a.txt", "hello".encode("utf-16-le"))
def test_any_bytes_end_in_rows_or_in_a_data_error(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        stream = rows(str(path))
        numbers = [number for number, _ in stream]
        assert numbers == sorted(set(numbers))
        assert stream.num_rows == len(numbers)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.lists(st.dictionaries(TEXTS, VALUES, max_size=3), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    OBJECTS, st.sampled_from(["array", "pretty", "lines", "gz"]), st.sampled_from(["a.json", "a.jsonl", "a"])
)
def test_what_was_written_is_read(tmp_path, objects, form, name):
    if form == "array":
        content = json.dumps(objects, ensure_ascii=False).encode()
    elif form == "pretty":
        content = json.dumps(objects, ensure_ascii=False, indent=2).encode()
    else:
        content = "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in objects).encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if form == "gz" else content)
    is_one_conversation = form in ("array", "pretty") and all(
        {"role", "content"} <= value.keys() for value in objects
    )
    assert values(str(path)) == ([objects] if is_one_conversation else objects)
