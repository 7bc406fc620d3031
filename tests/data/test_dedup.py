"""Files without repeated rows: what goes, what stays, and what is told of it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from attune.data.dedup import dedup
from attune.data.near import jaccard, shingles
from attune.recipe.errors import DataError, RecipeError
from attune.recipe.schema import Source

WORDS = [f"w{number}x" for number in range(400)]


def written(seed: int, length: int = 40) -> str:
    chance = random.Random(seed)
    return " ".join(chance.choice(WORDS) for _ in range(length))


def row(seed: int, more: str = "") -> dict[str, Any]:
    return {"id": seed, "instruction": written(seed), "output": written(1000 + seed) + more}


def sources(*paths: Path) -> list[Source]:
    return [Source(path=str(path)) for path in paths]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Row 3 is row 1, row 4 nearly row 2, row 5 has no answer, row 6 is row 4, row 7 is longer than row 2."""
    rows = [
        row(1),
        row(2),
        {**row(1), "id": 3},
        row(2, " end"),
        {**row(5), "output": ""},
        row(2, " end"),
        row(2, " end and more"),
    ]
    path = tmp_path / "my.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_exact_repeats(source: Path, tmp_path: Path) -> None:
    done = dedup(sources(source), tmp_path / "out" / "clean.jsonl")
    text = source.read_text().splitlines(keepends=True)
    assert (tmp_path / "out" / "clean.jsonl").read_text() == "".join(text[at] for at in (0, 1, 3, 6))
    assert (done.num_rows, done.num_kept, done.num_exact, done.num_near, done.num_rejected) == (
        7,
        4,
        2,
        None,
        1,
    )
    assert lines(tmp_path / "out" / "clean.removed.jsonl") == [
        {
            "path": str(source),
            "row": at,
            "like_path": str(source),
            "like_row": like,
            "similarity": 1.0,
            "value": json.loads(text[at - 1]),
        }
        for at, like in ((3, 1), (6, 4))
    ]
    (rejected,) = lines(tmp_path / "out" / "clean.rejected.jsonl")
    assert (rejected["row"], "empty" in rejected["reason"]) == (5, True)


def test_near_repeats_name_a_row_that_stays(source: Path, tmp_path: Path) -> None:
    done = dedup(sources(source), tmp_path / "clean.jsonl", near=0.8)
    assert [row["id"] for row in lines(tmp_path / "clean.jsonl")] == [1, 2]
    assert (done.num_kept, done.num_exact, done.num_near) == (2, 2, 2)
    removed = lines(tmp_path / "clean.removed.jsonl")
    assert [(row["row"], row["like_row"]) for row in removed] == [(3, 1), (4, 2), (6, 2), (7, 2)]
    texts = [f"{row['instruction']}\n{row['output']}" for row in (lines(source)[1], lines(source)[3])]
    expected = round(jaccard(*shingles(texts)), 4)
    assert [row["similarity"] for row in removed[:3]] == [1.0, expected, expected]


def test_keep_the_longest(source: Path, tmp_path: Path) -> None:
    dedup(sources(source), tmp_path / "clean.jsonl", near=0.8, keep="longest")
    assert [row["output"][-8:] for row in lines(tmp_path / "clean.jsonl")][1:] == ["and more"]
    removed = lines(tmp_path / "clean.removed.jsonl")
    assert [(row["row"], row["like_row"]) for row in removed] == [(2, 7), (3, 1), (4, 7), (6, 7)]


def test_the_same_rows_whatever_their_form_and_twice(source: Path, tmp_path: Path) -> None:
    (tmp_path / "my.json").write_text(json.dumps(lines(source)))
    for name in ("a.jsonl", "b.jsonl"):
        dedup(sources(source), tmp_path / name, near=0.8)
    dedup(sources(tmp_path / "my.json"), tmp_path / "c.jsonl", near=0.8)
    assert (tmp_path / "a.jsonl").read_text() == (tmp_path / "b.jsonl").read_text()
    assert lines(tmp_path / "a.jsonl") == lines(tmp_path / "c.jsonl")


def test_several_files_are_one(source: Path, tmp_path: Path) -> None:
    (tmp_path / "more.jsonl").write_text(json.dumps(row(2)) + "\n" + json.dumps(row(9)) + "\n")
    done = dedup(sources(source, tmp_path / "more.jsonl"), tmp_path / "clean.jsonl")
    assert done.num_exact == 3
    last = lines(tmp_path / "clean.removed.jsonl")[-1]
    assert (last["path"], last["row"]) == (str(tmp_path / "more.jsonl"), 1)
    assert (last["like_path"], last["like_row"]) == (str(source), 2)
    assert lines(tmp_path / "clean.jsonl")[-1]["id"] == 9


def test_other_labels_are_no_near_repeats(tmp_path: Path) -> None:
    path = tmp_path / "my.csv"
    text = f"text,label\n{written(1)},good\n{written(1)} end,bad\n{written(1)} end,good\n"
    path.write_text(text)
    dedup(sources(path), tmp_path / "clean.csv", near=0.8)
    assert (tmp_path / "clean.csv").read_text() == f"text,label\n{written(1)},good\n{written(1)} end,bad\n"
    assert lines(tmp_path / "clean.removed.jsonl")[0]["value"] == {
        "text": f"{written(1)} end",
        "label": "good",
    }


def test_the_rejected_file_of_an_earlier_time_does_not_stay(source: Path, tmp_path: Path) -> None:
    dedup(sources(source), tmp_path / "clean.jsonl")
    assert (tmp_path / "clean.rejected.jsonl").exists()
    (tmp_path / "good.jsonl").write_text(json.dumps(row(1)) + "\n")
    assert dedup(sources(tmp_path / "good.jsonl"), tmp_path / "clean.jsonl").rejected is None
    assert not (tmp_path / "clean.rejected.jsonl").exists()
    assert (tmp_path / "clean.removed.jsonl").read_text() == ""


def test_the_input_is_never_written_over(source: Path) -> None:
    before = source.read_text()
    with pytest.raises(DataError, match=r"my\.jsonl: this file is read; it is never written over"):
        dedup(sources(source), source)
    assert source.read_text() == before
    assert list(source.parent.iterdir()) == [source]


def test_wrong_options(source: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as told:
        dedup(sources(source), tmp_path / "clean.jsonl", near=80, keep="shortest")
    assert told.value.problems == [
        "--near 80: a similarity from 0.5 to 1. Write for example --near 0.8.",
        "--keep shortest: first or longest. Write for example --keep longest.",
    ]
    with pytest.raises(
        RecipeError, match=r"--keep longest: rows that are equal are of one length.* Add --near 0.8"
    ):
        dedup(sources(source), tmp_path / "clean.jsonl", keep="longest")


def test_all_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError) as told:
        dedup(sources(tmp_path / "a.jsonl", tmp_path / "b.jsonl"), tmp_path / "clean.jsonl")
    assert len(told.value.problems) == 2


def test_progress_ends(source: Path, tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    dedup(sources(source), tmp_path / "clean.jsonl", on_progress=lambda *call: calls.append(call))
    assert ("writing rows", 7, 7) in calls
