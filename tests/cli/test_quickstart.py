"""The quickstart's way, on a cut-down copy of its example: every stage, its files, and a second run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from attune.cli import main, quickstart
from attune.evaluation.verifiers import verifier

EXAMPLES = quickstart.EXAMPLES


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The English example with few rows and a few steps."""
    source, copy = EXAMPLES / "dumplings_en", tmp_path / "examples" / "dumplings_en"
    copy.mkdir(parents=True)
    for name, count in (("train.json", 24), ("held_out.json", 4), ("preferences.json", 8)):
        rows = json.loads((source / name).read_text(encoding="utf-8"))[:count]
        (copy / name).write_text(json.dumps(rows), encoding="utf-8")
    (copy / "base.txt").write_text((source / "base.txt").read_text(encoding="utf-8")[:6000], encoding="utf-8")
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    config.update(vocab_size=400, hidden_size=32, intermediate_size=64, num_hidden_layers=1)
    (copy / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for name in ("base", "tuned", "liked"):
        text = (source / f"{name}.yaml").read_text(encoding="utf-8")
        short = re.sub(r"epochs: .*", "max_steps: 2", text)
        assert short != text
        (copy / f"{name}.yaml").write_text(short, encoding="utf-8")
    monkeypatch.setattr(quickstart, "EXAMPLES", copy.parent)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_whole_way(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["quickstart", "--lang", "en"]) == 0
    shown = capsys.readouterr().out
    for stage in range(1, 9):
        assert f"[{stage}/8]" in shown
    assert "contains " in shown.split("[7/8]")[1], "what was learnt before is scored again"
    assert "exact match" not in shown.split("[7/8]")[1]
    assert "the merged model equals the adapter" in shown
    assert "attune sft --model" in shown
    folder = small / "runs" / "quickstart"
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert "What is the price of a basket of soup dumplings?" in report
    assert "<svg" in report
    assert (folder / "merged" / "model.safetensors").is_file()
    files = [folder / name / "final" / "adapter_model.safetensors" for name in ("tuned", "liked")]
    before = [file.read_bytes() for file in files]
    assert main.run(["quickstart", "--lang", "en"]) == 0, "again: what is finished is left alone"
    assert [file.read_bytes() for file in files] == before


def test_an_unknown_language(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["quickstart", "--lang", "fr"]) == 2
    assert "Allowed: en, zh" in capsys.readouterr().err


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_shipped_example_keeps_its_promise(lang: str) -> None:
    """At least 200 rows in two styles, at least 60 held-out paraphrases, no question in both."""
    folder = EXAMPLES / f"dumplings_{lang}"
    train, held = (
        json.loads((folder / name).read_text(encoding="utf-8")) for name in ("train.json", "held_out.json")
    )

    def question(row: dict[str, str]) -> str:
        return row["input"] or row["instruction"]

    assert len(train) >= 200
    assert len(held) >= 60
    assert len({question(row) for row in train}) == len(train)
    assert not {question(row) for row in train} & {question(row) for row in held}
    assert {row["output"] for row in held} <= {row["output"] for row in train}
    personas = {row["instruction"] for row in train if row["input"]}
    assert len(personas) == 1
    assert sum(not row["input"] for row in train) >= 100
    pairs = json.loads((folder / "preferences.json").read_text(encoding="utf-8"))
    assert len(pairs) >= 200
    assert {question(row) for row in pairs} <= {question(row) for row in train}, "none is held out"
    answers = {question(row): row["output"] for row in train}
    has_manner = verifier(quickstart.MANNER[lang])
    for row in pairs:
        right = answers[question(row)]
        assert row["chosen"].startswith(right)
        assert has_manner(row["chosen"])
        assert row["rejected"] == right or (has_manner(row["rejected"]) and right not in row["rejected"])
    assert 0 < sum(bool(has_manner(row["rejected"])) for row in pairs) < len(pairs) / 2
