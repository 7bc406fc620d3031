"""Errors as a person meets them: a message, an exit code, no traceback; a mistake of ours keeps its traceback."""

# ruff: noqa: E501 (a case and its sentence stand in one line)
from __future__ import annotations

import errno
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from attune.cli.main import main, run
from attune.recipe.errors import Interrupted, RunError

FIELDS = "and fields of the recipe as key=value."


def told(capsys: pytest.CaptureFixture[str], *words: str, code: int = 2) -> str:
    assert run(list(words)) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``training(do)`` puts ``do`` in the place of the engine; it returns the calls that arrive."""

    def install(do: Any) -> list[tuple[Any, dict[str, Any]]]:
        calls: list[tuple[Any, dict[str, Any]]] = []

        def train(recipe: Any, **options: Any) -> types.SimpleNamespace:
            calls.append((recipe, options))
            do()
            return types.SimpleNamespace(reason="already_finished")

        module = types.ModuleType("attune.engine.train")
        module.train = train  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "attune.engine.train", module)
        return calls

    return install


def raising(error: BaseException) -> Any:
    def do() -> None:
        raise error

    return do


SFT = ("sft", "--model", "m", "--data", "a.json", "--quiet")


def test_options_stand_anywhere_among_the_overrides(training: Any) -> None:
    calls = training(lambda: None)
    words = "sft train.epochs=2 --data a.json adapter.rank=4 --data b.json --model m --seed 7 --held-out 0.2 --fresh -q"
    assert run(words.split()) == 0
    ((recipe, options),) = calls
    assert [source.path for source in recipe.data.train] == ["a.json", "b.json"]
    assert (recipe.train.epochs, recipe.train.seed, recipe.adapter.rank) == (2, 7, 4)
    assert (recipe.objective.name, recipe.model.path, recipe.data.held_out) == ("sft", "m", 0.2)
    assert (options["fresh"], options["accept_changes"]) == (True, False)


def test_held_out_file_output_and_adapter(training: Any) -> None:
    calls = training(lambda: None)
    assert run([*SFT, "--held-out", "t.json", "-o", "runs/x", "--adapter", "full", "--accept-changes"]) == 0
    ((recipe, options),) = calls
    assert (recipe.data.held_out[0].path, recipe.output, recipe.adapter.name) == ("t.json", "runs/x", "full")
    assert options["accept_changes"] is True


def test_pretrain(training: Any) -> None:
    calls = training(lambda: None)
    assert run(["pretrain", "--model", "config.json", "--data", "texts/", "-q"]) == 0
    assert (calls[0][0].objective.name, calls[0][0].adapter.name) == ("pretrain", "full")


def test_train_with_and_without_a_file(training: Any, tmp_path: Path) -> None:
    calls = training(lambda: None)
    path = tmp_path / "recipe.yaml"
    path.write_text("model: m\ndata: a.json\n")
    assert run(["train", str(path), "train.seed=3", "-q"]) == 0
    assert run(["train", "model=m", "data=a.json", "train.seed=3", "-q"]) == 0
    assert calls[0][0] == calls[1][0]
    assert calls[0][0].train.seed == 3


def test_a_single_problem(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "train", "absent.yaml") == "Error: absent.yaml: no such file.\n"


def test_several_problems_are_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, "sft", "--data", "a.json", "train.epoch=2")
    assert text.startswith("2 problems:\n- model.path is missing.")
    assert "\n- override 1: train.epoch=2: train.epoch: unknown key. Did you mean 'train.epochs'?" in text


def test_an_unknown_option_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, "sft", "--modle", "m")
    assert text.startswith(
        "Error: attune sft: no option --modle. Did you mean --model? Allowed: --accept-changes, "
    )
    assert text.endswith(FIELDS + "\n")


def test_an_option_like_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "runs", "--zzzzzz").startswith(
        "Error: attune runs: no option --zzzzzz. Allowed: --help, --json;"
    )


def test_an_option_without_its_value(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "sft", "--model") == "Error: attune sft: --model needs a value.\n"


def test_a_number_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "sft", "--seed", "x") == (
        "Error: attune sft: the value of --seed is not a whole number. Write for example --seed 7.\n"
    )


def test_a_missing_argument(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "eval") == "Error: attune eval: RUN is missing. Type: attune eval RUN [key=value …]\n"
    assert (
        told(capsys, "merge", "r")
        == "Error: attune merge: --output is missing. Type: attune merge RUN … --output DIR\n"
    )


def test_too_many_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "runs", "a", "b") == (
        "Error: attune runs: got more words than it takes (b). Type: attune runs [DIR]\n"
    )


def test_an_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, "sfd")
    assert text.startswith("Error: no such command: 'sfd'. Allowed: ")
    assert "quickstart, check, convert, split, dedup, sft, pretrain" in text
    assert text.endswith(" Did you mean 'sft'?\n")


def test_an_unknown_option_of_attune(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no option --verson. Did you mean --version?" in told(capsys, "--verson")


def test_a_limit_below_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "eval", "r", "--limit", "0") == "Error: --limit 0: at least 1.\n"


def test_generation_fields_of_chat(capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, "chat", "r", "temprature=0.7")
    assert (
        "override 1: temprature=0.7: generation.temprature: unknown key. Did you mean 'generation.temperature'?"
        in text
    )


def test_errors_of_the_engine_are_told(capsys: pytest.CaptureFixture[str], training: Any) -> None:
    training(raising(RunError(["first", "second"])))
    assert run(list(SFT)) == 2
    assert capsys.readouterr().err == "2 problems:\n- first\n- second\n"


def test_ctrl_c(capsys: pytest.CaptureFixture[str], training: Any) -> None:
    training(raising(KeyboardInterrupt()))
    assert run(list(SFT)) == 130
    assert capsys.readouterr().err == "Interrupted.\n"


def test_ctrl_c_after_a_checkpoint(capsys: pytest.CaptureFixture[str], training: Any) -> None:
    training(raising(Interrupted("Stopped after step 7; saved.")))
    assert run(list(SFT)) == 130
    assert capsys.readouterr().err == "Stopped after step 7; saved.\n"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "runs/x/a"),
            "runs/x/a: no space left on the disk. Free some and",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk: no space left on the disk."),
        (FileNotFoundError(errno.ENOENT, "No such file", "a.json"), "a.json: no such file or folder."),
        (PermissionError(errno.EACCES, "Permission denied", "/root/x"), "/root/x: no permission."),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "x"), "x: Is a directory."),
    ],
)
def test_errors_of_the_system(
    capsys: pytest.CaptureFixture[str], training: Any, error: OSError, said: str
) -> None:
    training(raising(error))
    assert run(list(SFT)) == 2
    assert capsys.readouterr().err.startswith(f"Error: {said}")


@pytest.mark.parametrize("error", [ValueError("a bug"), OSError("no file name"), AssertionError("ours")])
def test_a_mistake_of_ours_keeps_its_traceback(training: Any, error: Exception) -> None:
    training(raising(error))
    with pytest.raises(type(error)):
        run(list(SFT))


def test_the_exit_code_ends_the_process(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("attune ")
    with pytest.raises(SystemExit) as caught:
        main(["nonsense"])
    assert caught.value.code == 2


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    """``attune reference | head -1``"""
    command = f"{sys.executable} -c 'from attune.cli.main import main; main([\"reference\"])' | head -1"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(["bash", "-c", command], cwd=root, capture_output=True, text=True)
    assert done.stdout.startswith("#")
    assert done.stderr == ""
