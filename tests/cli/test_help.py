"""Help pages: quick, without the heavy libraries, in the person's language; and the reference pages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from attune.cli.main import run
from attune.cli.reference import page
from attune.recipe.fields import fields

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers", "peft", "accelerate", "datasets", "rouge_score", "scipy")


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["--version"],
        ["sft", "--help"],
        ["chat", "--help"],
        ["runs", "nowhere"],
        ["sft", "--modle", "x"],
    ],
    ids=" ".join,
)
def test_the_heavy_libraries_are_not_imported(words: list[str], tmp_path: Path) -> None:
    """Start-up time is benchmarked by bench/startup.py; what decides it is asserted here."""
    code = (
        "import sys\nfrom attune.cli.main import run\n"
        f"run({words!r})\n"
        f"print('heavy:', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "heavy: []", done.stderr


def test_the_package_alone_imports_nothing() -> None:
    code = (
        "import sys, attune\nassert attune.__version__\n"
        "print([name for name in ('torch', 'pydantic', 'yaml') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_the_front_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    text = capsys.readouterr().out
    names = ["sft", "pretrain", "train", "plan", "eval", "chat", "merge", "runs", "reference"]
    places = [text.index(f"\n  {name} ") for name in names]
    assert places == sorted(places)
    assert run(["--help"]) == 0
    assert capsys.readouterr().out.strip() == text.strip()


def test_the_page_of_sft(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sft", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Usage: attune sft [key=value …] [OPTIONS]" in text
    assert "--model, -m M Hugging Face id or folder." in text
    assert "--accept-changes" in text
    assert "adapter.rank 16 Rank of the correction." in text
    assert "train.epochs 3.0 Passes over the data." in text
    assert "All fields: attune reference" in text


def test_the_fields_in_help_exist() -> None:
    from attune.cli.command import GeneratingCommand, TrainingCommand

    known = {field.path for field in fields(rooms=("adapters",))}
    assert set(TrainingCommand.fields) | set(GeneratingCommand.fields) <= known


def test_help_in_chinese() -> None:
    """The language is known when the commands are defined, so this needs a new process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ATTUNE_LANG": "zh", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-m", "attune", "sft", "--help"],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert "用法: attune sft [key=value …] [选项]" in done.stdout
    assert "遍历数据的轮数。" in done.stdout
    assert "Passes over" not in done.stdout


def test_every_command_explains_itself_in_both_languages() -> None:
    from attune.cli import main

    silent = []
    for command in main.app.registered_commands:
        assert command.callback is not None
        if " | " not in (command.callback.__doc__ or ""):
            silent.append(command.name)
    assert silent == []


@pytest.mark.parametrize(("name", "language"), [("reference.md", "en"), ("reference.zh.md", "zh")])
def test_the_committed_reference_is_up_to_date(name: str, language: str) -> None:
    committed = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert committed == page(language), "type: attune reference --write docs"


def test_the_reference_holds_every_field() -> None:
    text = page("en")
    paths = [field.path for field in fields() if "." in field.path]
    assert [path for path in paths if f"| `{path}` |" not in text] == []
    assert "### adapter: lora" in text
    assert "### objective: pretrain" in text


def test_checking_the_reference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "docs"
    assert run(["reference", "--check", str(folder)]) == 2
    cure = f"Type: attune reference --write {folder}"
    assert capsys.readouterr().err == f"Error: {folder}: out of date: reference.md, reference.zh.md. {cure}\n"
    assert run(["reference", "--write", str(folder)]) == 0
    assert run(["reference", "--check", str(folder)]) == 0
    (folder / "reference.md").write_text("old")
    assert run(["reference", "--check", str(folder)]) == 2
    assert "out of date: reference.md." in capsys.readouterr().err


def test_the_reference_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["reference"]) == 0
    assert capsys.readouterr().out.startswith("# Reference of the recipe")
