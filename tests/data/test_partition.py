"""Two files that share no prompt."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from attune.data.findings import leaks
from attune.data.findings._finding import Context, Seen
from attune.data.partition import part
from attune.data.sources import load
from attune.data.split import split
from attune.recipe.errors import DataError, RecipeError
from attune.recipe.schema import Source

WORDS = [f"w{number}x" for number in range(400)]


def written(seed: int, length: int = 40) -> str:
    chance = random.Random(seed)
    return " ".join(chance.choice(WORDS) for _ in range(length))


def sources(*paths: Path) -> list[Source]:
    return [Source(path=str(path)) for path in paths]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """300 rows on 100 prompts, and two rows that cannot be used."""
    rows = [
        {"instruction": f"Question {number % 100}?", "output": f"Answer {number}.", "user": f"u{number % 7}"}
        for number in range(300)
    ]
    rows[10]["output"] = rows[20]["instruction"] = ""
    return write(tmp_path / "my.jsonl", rows)


def test_the_split_is_that_of_training(source: Path, tmp_path: Path) -> None:
    done = part(sources(source), 0.1, output=tmp_path / "out")
    loaded = load([Source(path=str(source))], "conversation")
    train, held = split(loaded.examples, 0.1, 42)
    text = source.read_text().splitlines(keepends=True)
    for name, indices in (("train", train), ("test", held)):
        expected = "".join(text[loaded.origins[index].row - 1] for index in indices)
        assert (tmp_path / "out" / f"{name}.jsonl").read_text() == expected
    assert (done.num_rows, done.num_rejected) == (300, 2)
    assert (done.num_train, done.num_held_out) == (len(train), len(held))
    assert done.num_groups == 100
    assert [row["row"] for row in lines(tmp_path / "out" / "rejected.jsonl")] == [11, 21]


def test_no_prompt_is_on_both_sides_and_another_seed_is_another_split(source: Path, tmp_path: Path) -> None:
    sides = []
    for seed in (1, 1, 2):
        part(sources(source), 0.3, seed=seed, train=tmp_path / "a.jsonl", held_out=tmp_path / "b.jsonl")
        train, held = lines(tmp_path / "a.jsonl"), lines(tmp_path / "b.jsonl")
        assert len(train) + len(held) == 298
        assert not {row["instruction"] for row in train} & {row["instruction"] for row in held}
        sides.append(held)
    assert sides[0] == sides[1] != sides[2]
    assert (tmp_path / "a.rejected.jsonl").exists()


def test_more_than_training_holds_out(tmp_path: Path) -> None:
    rows = [{"instruction": f"Question {number}?", "output": "a"} for number in range(3000)]
    done = part(sources(write(tmp_path / "my.jsonl", rows)), 0.3, output=tmp_path / "out")
    assert 800 < done.num_held_out < 1000


def test_by_a_column(source: Path, tmp_path: Path) -> None:
    done = part(sources(source), 0.3, by="user", output=tmp_path / "out")
    assert done.num_groups == 7
    users = [{row["user"] for row in lines(tmp_path / "out" / f"{name}.jsonl")} for name in ("train", "test")]
    assert users[0].isdisjoint(users[1])
    assert len(users[0] | users[1]) == 7


def test_a_column_that_rows_lack(tmp_path: Path) -> None:
    rows = [{"instruction": "a", "output": "b", "user": None}, {"instruction": "a", "output": "b", "user": 0}]
    source = write(tmp_path / "my.jsonl", rows)
    with pytest.raises(DataError) as told:
        part(sources(source), 0.3, by="user", output=tmp_path / "out")
    assert str(told.value) == (
        f"--by user: rows without a value in this column: 1; the first is row 1 of {source}. Such rows have: "
        "instruction, output, user."
    )
    assert not (tmp_path / "out").exists()


def near_rows() -> list[dict[str, Any]]:
    """60 prompts, each in two spellings."""
    return [
        {"instruction": written(number % 60) + (" please" if number >= 60 else ""), "output": "a"}
        for number in range(120)
    ]


def near_leaks(folder: Path) -> int:
    detector = leaks.Detector(Context("conversation"))
    for name in ("train", "test"):
        loaded = load([Source(path=str(folder / f"{name}.jsonl"))], "conversation")
        for example, origin in zip(loaded.examples, loaded.origins, strict=True):
            detector.see(Seen(example, origin, is_held_out=name == "test"))
    return sum(finding.num for finding in detector.findings())


def test_prompts_that_are_nearly_the_same_stay_together(tmp_path: Path) -> None:
    source = write(tmp_path / "my.jsonl", near_rows())
    part(sources(source), 0.3, output=tmp_path / "a")
    assert near_leaks(tmp_path / "a") > 10
    done = part(sources(source), 0.3, near=True, output=tmp_path / "b")
    assert near_leaks(tmp_path / "b") == 0
    assert done.num_groups == 60


def test_a_near_split_does_not_depend_on_the_order(tmp_path: Path) -> None:
    rows = near_rows()
    part(sources(write(tmp_path / "my.jsonl", rows)), 0.3, near=True, output=tmp_path / "a")
    part(sources(write(tmp_path / "my.jsonl", rows[::-1])), 0.3, near=True, output=tmp_path / "b")
    assert lines(tmp_path / "a" / "test.jsonl") == lines(tmp_path / "b" / "test.jsonl")[::-1]


def test_near_and_by_a_column_keep_both_together(tmp_path: Path) -> None:
    """Users 0 and 1 ask nearly the same: they are one group."""
    rows = [
        {"instruction": written(3) + " please" * (user == 1), "output": "a", "user": user} for user in (0, 1)
    ]
    rows += [
        {"instruction": written(10 + number), "output": "a", "user": number % 10} for number in range(50)
    ]
    done = part(
        sources(write(tmp_path / "my.jsonl", rows)), 0.3, by="user", near=True, output=tmp_path / "out"
    )
    assert done.num_groups == 9


def test_stratified_by_label(tmp_path: Path) -> None:
    path = tmp_path / "my.csv"
    rows = [f"text number {number},{'ab'[number % 4 == 0]}" for number in range(100)]
    path.write_text("\n".join(["text,label", *rows]) + "\n")
    done = part(sources(path), 0.2, stratify=True, output=tmp_path / "out")
    assert done.labels == {"a": (60, 15), "b": (20, 5)}
    test = (tmp_path / "out" / "test.csv").read_text().splitlines()
    assert test[0] == "text,label"
    assert set(test[1:]) < set(rows)
    assert len(test) == 21
    assert ("  a", "60 + 15") in done.lines()


def test_images_are_told_where_to_stay(tmp_path: Path) -> None:
    rows = [{"image_path": f"{number}.png", "label": "ab"[number % 2]} for number in range(40)]
    (tmp_path / "photos").mkdir()
    for row in rows:
        (tmp_path / "photos" / row["image_path"]).write_bytes(row["image_path"].encode())
    source = write(tmp_path / "photos" / "my.jsonl", rows)
    (note,) = part(sources(source), 0.2, stratify=True, output=tmp_path / "out").notes
    assert note == (
        "Paths of images that are not absolute hold from the folder of the file: put the new files into "
        f"{tmp_path}/photos."
    )
    assert part(sources(source), 0.2, output=tmp_path / "photos").notes == ()


def test_no_labels_to_stratify_by(source: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"--stratify: needs rows with a class .* Leave --stratify out\."):
        part(sources(source), 0.1, stratify=True, output=tmp_path / "out")


def test_no_row_that_can_be_used(tmp_path: Path) -> None:
    source = write(tmp_path / "my.jsonl", [{"instruction": "a", "output": ""}] * 3)
    with pytest.raises(
        DataError, match=r"No row can be used\. The first .*my\.jsonl, row 1\): output is empty"
    ):
        part(sources(source), 0.1, output=tmp_path / "out")


def test_too_little_to_part(tmp_path: Path) -> None:
    source = write(tmp_path / "my.jsonl", [{"instruction": "a", "output": str(n)} for n in range(30)])
    with pytest.raises(DataError) as told:
        part(sources(source), 0.1, output=tmp_path / "out")
    assert str(told.value) == (
        "Nothing can be held out: 30 rows are 1 groups that stay together, and none of them fits into a "
        "share of 0.1. Raise --held-out, or give more rows."
    )


def test_few_groups_are_enough_for_one_that_fits(tmp_path: Path) -> None:
    """Of six users one is held out; of two, each with half of the rows, none can be."""
    rows = [{"instruction": f"Question {n}?", "output": "a", "user": n % 6, "half": n % 2} for n in range(60)]
    source = write(tmp_path / "my.jsonl", rows)
    for seed in range(10):
        done = part(sources(source), 0.1, by="user", seed=seed, output=tmp_path / "out")
        assert done.num_held_out == 10
        with pytest.raises(DataError, match="60 rows are 2 groups that stay together"):
            part(sources(source), 0.1, by="half", seed=seed, output=tmp_path / "out")


def test_wrong_options(source: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as told:
        part(sources(source), 10)
    assert told.value.problems == [
        "--held-out 10: a share of the rows, above 0 and below 1. Write for example --held-out 0.1.",
        "Say where to write: either --output DIR, or both --train FILE and --test FILE.",
    ]
    for places in (
        {"train": tmp_path / "a.jsonl"},
        {"held_out": tmp_path / "a.jsonl"},
        {"output": tmp_path, "train": tmp_path / "a.jsonl", "held_out": tmp_path / "b.jsonl"},
    ):
        with pytest.raises(RecipeError, match="Say where to write"):
            part(sources(source), 0.1, **places)


def test_the_input_is_never_written_over(source: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"my\.jsonl: this file is read; it is never written over"):
        part(sources(source), 0.1, train=source, held_out=tmp_path / "b.jsonl")
