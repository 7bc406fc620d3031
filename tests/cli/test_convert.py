"""``attune convert`` as a person meets it: what is printed, the exit code, the files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attune.cli.main import run


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def told(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert run(["convert", *words, "--quiet"]) == code
    captured = capsys.readouterr()
    return captured.err if code == 2 else captured.out


def test_columns_by_number_on_the_command_line(capsys):
    Path("messy.csv").write_text("1,so good\n0,so bad\n", encoding="utf-8")
    said = told(capsys, "messy.csv", "--columns", "text=1,label=0", "--to", "labelled", "-o", "clean.jsonl")
    assert said == (
        "messy.csv: labelled (csv), 2 rows\n"
        "messy.csv: the first line looks like a row, not like names; the columns are called 0, 1 (or declare "
        "has_header: true).\n"
        "clean.jsonl: 2 rows\n"
    )
    lines = Path("clean.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [
        {"text": "so good", "label": "1"},
        {"text": "so bad", "label": "0"},
    ]


def test_rows_that_do_not_fit_are_counted_and_the_exit_code_says_so(capsys):
    rows = [
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        {"prompt": "q", "chosen": "a", "rejected": "a"},
        {"prompt": "q", "chosen": "", "rejected": "a"},
    ]
    Path("a.json").write_text(json.dumps(rows), encoding="utf-8")
    assert told(capsys, "a.json", "--to", "prompt_completion", "-o", "b.csv", code=1) == (
        "a.json: pairs (json), 3 rows\n"
        "preferences became conversations: the best answers are kept, the others left out.\n"
        "b.csv: 1 rows\n"
        "b.csv.rejected.jsonl: 2 rows\n"
        "  1 × equal_answers: the answers compared are the same (“a”): there is no preference in it. (first: "
        "row 2)\n"
        "  1 × empty_answer: chosen is empty. (first: row 3)\n"
    )
    assert Path("b.csv").read_text(encoding="utf-8") == "prompt,completion\nq,a\n"


def test_fields_of_a_source_are_words(capsys):
    turns = [{"from": who, "value": who} for who in ("x", "x", "y")]
    Path("a.json").write_text(json.dumps([{"conversations": turns}]), encoding="utf-8")
    words = ("roles.x=user", "roles.y=assistant", "merge_turns=true")
    assert "  1 rows: turns of one role are merged.\n" in told(
        capsys, "a.json", *words, "--to", "messages", "-o", "b.json"
    )
    assert json.loads(Path("b.json").read_text(encoding="utf-8"))[0]["messages"][0]["content"] == "x\nx"
    said = told(capsys, "a.json", "roles.x=usr", "rolls.x=user", "--to", "messages", "-o", "c.json", code=2)
    assert "usr" in said
    assert "rolls" in said


def test_wrong_words(capsys):
    Path("a.json").write_text('[{"text": "t"}]', encoding="utf-8")
    assert told(capsys, "a.json", "--to", "txt", "-o", "b.json", code=2) == (
        "Error: --to: no format that can be written is called so: 'txt'. Allowed: alpaca, compared, "
        "conversation, images, kto, labelled, messages, pairs, prompt_completion, prompts, ranked, sharegpt, "
        "sharegpt_pairs, text, transcripts, turn_columns. Did you mean 'text'?\n"
    )
    assert "convert: --to is missing" in told(capsys, "a.json", "-o", "b.json", code=2)


def test_in_chinese(capsys, monkeypatch):
    monkeypatch.setenv("ATTUNE_LANG", "zh")
    Path("a.json").write_text('[{"question": "q", "answer": "a"}]', encoding="utf-8")
    assert told(capsys, "a.json", "--to", "prompts", "-o", "b.jsonl") == (
        "a.json: prompt_completion (json), 1 行\n对话转为提示：最后一个回答作为参考答案。\nb.jsonl: 1 行\n"
    )
