"""``attune check`` as a person meets it: exit codes, the report, rows token by token, the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from attune.cli.main import run
from tests.data.tiny import tokenizer

GOOD = [{"instruction": f"How many are {n} and {n}?", "output": f"They are {2 * n}."} for n in range(30)]


def write(path: Path, rows: list[Any]) -> str:
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    from transformers import LlamaConfig

    folder = tmp_path_factory.mktemp("model")
    made = tokenizer()
    made.save_pretrained(folder)
    LlamaConfig(
        vocab_size=len(made), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    ).save_pretrained(folder)
    return str(folder)


def test_clean(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", write(tmp_path / "a.json", GOOD), "--model", model]) == 0
    out = capsys.readouterr().out
    assert "30 rows, kind conversation, format alpaca (json, utf-8)" in out
    assert "Clean: 30 examples can be trained on." in out
    assert "<|im_end|>" in out
    assert "Prompt length" in out


def test_findings_stop_with_1_and_name_row_and_cure(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "a.json", [*GOOD, {"instruction": "x", "output": ""}])
    assert run(["check", path, "--model", model]) == 1
    out = capsys.readouterr().out
    assert "✗ empty_answer" in out
    assert f"{path}:31" in out
    assert "→ Write the answers, or remove these rows." in out
    assert "data.accept=[empty_answer]" in out
    assert run(["check", path, "--accept", "empty_answer", "-q"]) == 0


def test_unusable_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.json"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n")
    assert run(["check", str(path)]) == 2
    assert "Unusable" in capsys.readouterr().out


def test_json_is_all_that_stands_on_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", write(tmp_path / "a.json", GOOD), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["kind"], report["num_rows"], report["exit_code"]) == ("conversation", 30, 0)


def test_the_page_holds_the_findings_and_no_markup_of_the_data(tmp_path: Path) -> None:
    rows = [*GOOD, {"instruction": "<script>alert(1)</script>", "output": ""}]
    page = tmp_path / "report.html"
    assert run(["check", write(tmp_path / "a.json", rows), "--html", str(page), "-q"]) == 1
    text = page.read_text(encoding="utf-8")
    assert "empty_answer" in text
    assert "<script" not in text


def test_show_marks_what_is_learnt(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*GOOD[:1], {"instruction": "x", "output": ""}]
    assert run(["check", write(tmp_path / "a.json", rows), "--model", model, "--show", "2"]) == 0
    out = capsys.readouterr().out
    learnt = out.partition("⟦")[2].partition("⟧")[0]
    assert learnt.replace("│", "") == "They are 0.⏹<|im_end|>"
    assert "cannot be used: output is empty." in out


def test_show_without_a_model_shows_turns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", write(tmp_path / "a.json", GOOD[:1]), "--show", "1"]) == 0
    out = capsys.readouterr().out
    assert "user" in out
    assert "⟦They are 0.⟧" in out


def test_show_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", write(tmp_path / "a.json", GOOD[:1]), "--show", "1", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["origin"]["row"] == 1
    assert row["parts"][1] == {"title": "assistant", "pieces": [["They are 0.", "learnt"]]}


def test_control_characters_of_the_data_do_not_reach_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = {"instruction": "Tell\x1b[31m me \x9b2J", "output": "\x1b]0;title\x07", "col\x1b[2J": "x"}
    path = write(tmp_path / "a.json", [*GOOD, evil, {"instruction": "\x1b[1mq", "output": ""}])
    run(["check", path])
    run(["check", path, "--show", "31"])
    out = capsys.readouterr().out
    assert "Tell␛[31m me" in out
    assert not {"\x1b", "\x07", "\x9b"} & set(out)


def test_sources_may_be_given_as_in_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "a.json", GOOD)
    assert run(["check", f"data.train=[{{path: {path}, encoding: utf-8}}]"]) == 0
    assert "Clean: 30 examples" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "Nothing to check. Type: attune check my.json"),
        (["a.json", "--kind", "chat"], "--kind chat: allowed are text, conversation"),
        (["a.json", "--columns", "text"], "--columns text: write name=value pairs"),
        (["a.json", "--accept", "nonsense"], "data.accept=nonsense"),
        (["a.json", "--show", "0"], "--show 0: a whole number from 1 on. Write for example --show 3."),
        (["a.json", "--sample", "-1"], "--sample -1: a whole number from 1 on"),
        (["a.json", "--show", "1", "--html", "b.html"], "--show prints rows, --html writes the report"),
    ],
)
def test_wrong_words(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", *words]) == 2
    assert told in capsys.readouterr().err


def test_chinese(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ATTUNE_LANG", "zh")
    assert run(["check", write(tmp_path / "a.json", [*GOOD, {"instruction": "x", "output": ""}])]) == 1
    out = capsys.readouterr().out
    assert "补上回答，或删除这些行。" in out
    assert "会让训练出错" in out


def test_a_share_held_out_is_no_matter_of_the_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["check", write(tmp_path / "a.json", GOOD), "--held-out", "0.2"]) == 2
    assert "--held-out 0.2: name a file." in capsys.readouterr().err


def test_what_the_reader_noticed_is_told_where_no_format_fits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('# a comment\n{"verse": "one"}\n', encoding="utf-8")
    assert run(["check", str(path)]) == 2
    out = capsys.readouterr().out
    assert "no known format fits" in out
    assert "comment" in out.replace("# a comment", "")
