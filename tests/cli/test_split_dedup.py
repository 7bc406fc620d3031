"""``attune split`` and ``attune dedup`` as a person types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attune.cli.main import run

ROWS = [
    {"instruction": f"Question {number % 40}?", "output": f"Answer {number % 50}."} for number in range(60)
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*ROWS, ROWS[0]]))
    return tmp_path


def typed(capsys: pytest.CaptureFixture[str], words: str, code: int = 0) -> tuple[str, str]:
    assert run(words.split()) == code
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_split_tells_what_it_did(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = typed(capsys, "split my.jsonl --held-out 0.2 --output parts")
    num = len(Path("parts/test.jsonl").read_text().splitlines())
    assert [line.split("  ")[0] for line in out.splitlines()] == [
        "rows",
        "groups kept together",
        "train",
        "held out",
    ]
    assert f"{num} ({num / 61:.1%})  → parts/test.jsonl" in out
    assert err == ""


def test_split_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = typed(capsys, "split my.jsonl --seed 7 --near --train a.jsonl --test b.jsonl --json")
    told = json.loads(out)
    assert told["num_train"] + told["num_held_out"] == told["num_rows"] == 61
    assert (told["train"], told["held_out"], told["rejected"]) == ("a.jsonl", "b.jsonl", None)


def test_dedup_tells_what_it_did(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = typed(capsys, "dedup my.jsonl --output clean.jsonl")
    assert [" ".join(line.split()) for line in out.splitlines()] == [
        "rows 61",
        "kept 60 → clean.jsonl",
        "repeats 1 → clean.removed.jsonl",
    ]


def test_dedup_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = typed(capsys, "dedup my.jsonl -o clean.csv --near 0.9 --keep longest --json")
    told = json.loads(out)
    assert (told["num_rows"], told["num_kept"] + told["num_exact"] + told["num_near"]) == (61, 61)
    assert Path("clean.csv").read_text().startswith("instruction,output\nQuestion 0?,Answer 0.\n")


def test_a_table_without_a_header_stays_one(capsys: pytest.CaptureFixture[str]) -> None:
    text = "".join(f"{number % 2},text number {number}\n" for number in range(40))
    Path("my.csv").write_text(text + "0,text number 0\n")
    typed(capsys, "dedup my.csv -o clean.csv --columns text=1,label=0")
    assert Path("clean.csv").read_text() == text
    out, _ = typed(capsys, "split my.csv -o parts --columns text=1,label=0 --stratify --json")
    assert json.loads(out)["labels"] == {"0": [19, 2], "1": [18, 2]}


def test_roles_that_are_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    turns = [{"role": "asks", "content": "Who?"}, {"role": "says", "content": "I."}]
    Path("my.jsonl").write_text("".join(json.dumps({"messages": turns}) + "\n" for _ in range(3)))
    out, _ = typed(capsys, "dedup my.jsonl -o clean.jsonl --roles asks=user,says=assistant --json")
    assert json.loads(out)["num_exact"] == 2
    _, err = typed(capsys, "dedup my.jsonl -o clean.jsonl --roles asks=person", code=2)
    assert "person" in err


def test_in_chinese(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTUNE_LANG", "zh")
    out, _ = typed(capsys, "dedup my.jsonl -o clean.jsonl")
    assert "重复" in out
    out, _ = typed(capsys, "split my.jsonl -o parts")
    assert "留出" in out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("dedup my.jsonl -o my.jsonl", "my.jsonl: this file is read; it is never written over."),
        ("dedup my.jsonl -o c.jsonl --near much", "--near much: not a number. Write for example --near 0.8."),
        ("dedup my.jsonl", "attune dedup: --output is missing. Type: attune dedup FILE … --output FILE"),
        (
            "split my.jsonl -o p --held-out many",
            "--held-out many: not a number. Write for example --held-out 0.1.",
        ),
        ("split my.jsonl", "Say where to write: either --output DIR, or both --train FILE and --test FILE."),
        ("split my.jsonl -o p --seed x", "the value of --seed is not a whole number"),
        ("split none.jsonl -o p", "none.jsonl: no such file."),
    ],
)
def test_what_is_wrong(capsys: pytest.CaptureFixture[str], words: str, sentence: str) -> None:
    out, err = typed(capsys, words, code=2)
    assert out == ""
    assert sentence in err
