"""The probe from a file to a table: what is in the representation is found, what is not is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from attune.cli.main import run
from attune.evaluation import probe_page
from attune.evaluation.probe import Probe, probe
from attune.models.merge import merge
from attune.recipe.errors import DataError, RecipeError
from attune.recipe.schema import Data

WORDS = ("soup", "tea", "noodles", "table", "ten", "buns")


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """The label is the first word: an embedding holds it."""
    rows = [
        {"text": f"{WORDS[n % 2]} {WORDS[2 + n % 4]} {WORDS[n * 5 % 6]} {n}", "label": WORDS[n % 2]}
        for n in range(60)
    ]
    path = tmp_path / "labelled.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def data(labelled: Path, tmp_path: Path) -> Data:
    return Data.model_validate(
        {"train": str(labelled), "held_out": 0.3, "check": "off", "cache_dir": str(tmp_path / "cache")}
    )


def test_it_finds_what_an_embedding_holds(base: Path, data: Data, tmp_path: Path) -> None:
    found = probe(base, data, layers="all", pooling="mean,cls")
    assert {(one.layer, one.pooling) for one in found.settings} >= {(0, "mean"), (0, "cls"), (1, "mean")}
    embeddings = next(one for one in found.settings if (one.layer, one.pooling) == (0, "mean"))
    assert embeddings.score == 1.0
    assert found.scores["accuracy"].mean == 1.0
    assert found.baseline["accuracy"] < 0.8
    assert found.names == ("soup", "tea")
    assert sum("*" in row[0] for row in found.sweep()[1]) == 1
    assert found.table()[1][0][0] == "accuracy"
    probe_page.write(found, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "Linear probe" in text
    assert "soup → tea: " in text


def test_a_second_sweep_asks_the_model_nothing(
    base: Path, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def again() -> Probe:
        told.clear()
        return probe(base, data, pooling="last", on_progress=lambda what, *_: told.append(what))

    first = again()
    assert "reading the inputs" in told
    second = again()
    assert "reading the inputs" not in told
    assert second.settings == first.settings


def test_a_number(base: Path, tmp_path: Path) -> None:
    path = tmp_path / "numbers.jsonl"
    rows = [{"text": " ".join(["tea"] * (1 + n % 7)), "label": 0.5 + n % 7} for n in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = {"train": str(path), "held_out": 0.3, "check": "off", "cache_dir": str(tmp_path / "cache")}
    found = probe(base, Data.model_validate(asked), pooling="mean,last")
    assert set(found.scores) <= {"mse", "r2", "pearson", "spearman"}
    assert found.baseline["mse"] > 0


def test_an_adapter_is_probed_beside_its_base(base: Path, run: Path, tmp_path: Path) -> None:
    """Of a quantity that nothing holds: its loss depends on every vector."""
    rows = [{"text": f"{WORDS[n % 6]} {WORDS[n * 5 % 6]} {n}", "label": n * 37 % 11 + 0.5} for n in range(40)]
    path = tmp_path / "numbers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = {"train": str(path), "held_out": 0.3, "check": "off", "cache_dir": str(tmp_path / "cache")}

    def losses(model: Path) -> list[float]:
        found = probe(model, Data.model_validate(asked), layers="1,-1", pooling="mean")
        return [one.cv_loss for one in found.settings]

    adapted = losses(run)
    merge(run, tmp_path / "merged")
    assert adapted == pytest.approx(losses(tmp_path / "merged"), rel=1e-3)
    assert adapted != pytest.approx(losses(base), rel=1e-3), "other vectors than the base's, from other files"
    whole = tmp_path / "whole"
    whole.mkdir()
    (tmp_path / "merged").rename(whole / "final")
    (whole / "run.json").write_text("{}")
    assert losses(whole) == pytest.approx(adapted, rel=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": "9"}, r"layers=9: this model has the layers 0 \(embeddings\) to"),
        ({"layers": "first"}, "layers=first"),
        ({"pooling": "max"}, "no such name: 'max'. Allowed: last, mean, cls"),
    ],
)
def test_what_there_is_not(options: dict[str, Any], message: str, base: Path, data: Data) -> None:
    with pytest.raises(RecipeError, match=message):
        probe(base, data, **options)


def test_too_few_rows(base: Path, data: Data) -> None:
    with pytest.raises(DataError, match="at least 10 rows to fit"):
        probe(base, data.model_copy(update={"held_out": 0.0}))


def test_the_command(base: Path, labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "probe"
    words = ["probe", "--model", str(base), "--data", str(labelled), "-o", str(out), "layers=0,-1", "--quiet"]
    assert run(words) == 0
    assert "accuracy" in capsys.readouterr().out
    assert json.loads((out / "probe.json").read_text())["task"] == "classes"
    assert (out / "report.html").is_file()
    for wrong, message in (
        (["probe", "--model", "m"], "A probe needs a model and labelled rows"),
        ([*words, "layer=1"], "no such option: 'layer'"),
        ([*words, "folds=1"], "folds=1: give a whole number, at least 2."),
    ):
        assert run(wrong) == 2
        assert message in capsys.readouterr().err
