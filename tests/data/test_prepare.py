"""From files to encoded examples: cached, in parallel, with every row accounted for."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from attune.data import cache, sources
from attune.data import prepare as preparing
from attune.data.cache import Store
from attune.data.encode import Encoder, Policy
from attune.data.examples import Conversation, Message, Origin
from attune.data.prepare import Prepared, encode, prepare
from attune.data.template import ChatTemplate
from attune.recipe.errors import DataError
from attune.recipe.schema import Data

from .tiny import CHATML, tokenizer

TOKENIZER = tokenizer()
ROWS = [{"instruction": f"What is {n} + {n}?", "input": "", "output": f"It is {2 * n}."} for n in range(40)]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    return path


@pytest.fixture
def go(tmp_path: Path) -> Callable[..., Prepared]:
    def run(
        rows: list[dict[str, Any]] | None = None, *, made: Any = TOKENIZER, seed: int = 1, **data: Any
    ) -> Prepared:
        policy = Policy(data.pop("max_length", 256), data.get("overlong", "keep_prompt_end"))
        if rows is not None:
            write(tmp_path / "rows.json", rows)
        data = {
            "train": str(tmp_path / "rows.json"),
            "cache_dir": str(tmp_path / "cache"),
            "workers": 1,
            **data,
        }
        return prepare(Data(**data), "conversation", made, ChatTemplate.load(made), policy, seed)

    return run


def texts(store: Store) -> list[str]:
    return [TOKENIZER.decode([*store[i].prompt, *store[i].branches[0][0]]) for i in range(len(store))]


def test_every_row_is_somewhere(go: Callable[..., Prepared]) -> None:
    prepared = go(ROWS, held_out=0.2)
    assert not prepared.from_cache
    assert len(prepared.train) + len(prepared.held_out) == 40
    assert len(prepared.held_out) == len(prepared.held_out_rows) > 0
    assert prepared.held_out_rows[0]["messages"][0]["content"].startswith("What is")
    rows = [int(place.rpartition(":")[2]) for place in prepared.train.where(range(len(prepared.train)))]
    assert set(rows) < set(range(1, 41))
    assert len(set(rows)) == len(prepared.train)
    for place, text in zip(prepared.train.origins[:, 1], texts(prepared.train), strict=True):
        assert f"What is {place - 1} + " in text  # rows are counted from 1
    assert prepared.notices[0][0] == "info"
    assert "40 rows, format alpaca" in prepared.notices[0][1]


def test_the_second_run_reads_no_row(go: Callable[..., Prepared], monkeypatch: pytest.MonkeyPatch) -> None:
    first = go([*ROWS, {"instruction": "x", "output": ""}], held_out=0.2, max_rejected_share=0.5)
    monkeypatch.setattr(sources, "load", None)  # to call it would be an error
    second = go(held_out=0.2, max_rejected_share=0.5)
    assert second.from_cache
    assert second.digest == first.digest
    assert second.rejected == first.rejected
    assert len(second.rejected) == 1
    assert second.notices == first.notices
    assert second.files == json.loads(json.dumps(first.files))
    assert second.held_out_rows == first.held_out_rows
    assert second.train.where([0]) == first.train.where([0])


def test_without_held_out_rows_the_cache_is_used_too(go: Callable[..., Prepared]) -> None:
    assert len(go(ROWS, held_out=0).held_out) == 0
    assert go(held_out=0).from_cache


def test_what_decides_the_result_decides_the_key(
    go: Callable[..., Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    go(ROWS)
    assert go().from_cache
    assert go(workers=2).from_cache  # this decides nothing
    other_end = tokenizer(eos="<s>")
    for change in (
        {"max_length": 64},
        {"overlong": "drop"},
        {"system": "Be kind."},
        {"learn": "last_answer"},
        {"held_out": 0.1},
        {"seed": 2},
        {"made": tokenizer(template="Note.\n" + CHATML)},
        {"made": tokenizer(size=300)},
        {"made": other_end},
    ):
        assert not go(**change).from_cache, change
    assert not go([*ROWS, {"instruction": "one more", "output": "row"}]).from_cache
    assert go(ROWS).from_cache
    monkeypatch.setattr(preparing.metadata, "version", lambda package: "99")
    assert not go().from_cache


def test_a_damaged_entry_is_encoded_again(go: Callable[..., Prepared], tmp_path: Path) -> None:
    first = go(ROWS)
    (entry,) = (tmp_path / "cache").iterdir()
    (entry / "train.ids.npy").write_bytes(b"")
    again = go()
    assert not again.from_cache
    assert again.digest == first.digest
    assert go().from_cache


def test_a_cache_that_cannot_be_written_is_told_and_the_run_goes_on(
    go: Callable[..., Prepared], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "write", full)
    level, text = go(ROWS).notices[-1]
    assert level == "warning"
    assert f"could not be kept in {tmp_path / 'cache'} (No space left on device)" in text
    assert "data.cache_dir names another place" in text


def test_parallel_equals_serial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "CHUNK", 7)
    monkeypatch.setattr(preparing, "PARALLEL_FROM", 10)
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    encoder = Encoder(TOKENIZER, ChatTemplate.load(TOKENIZER), Policy(48))
    examples = []
    for n in range(50):
        answer = "y" * (60 if n % 10 == 3 else 3)
        turns = (
            Message("user", "x" * n),
            Message("assistant", answer),
            Message("user", "z"),
            Message("assistant", "w"),
        )
        examples.append(Conversation(turns))
    origins = [Origin("ab"[n % 2], n + 1) for n in range(50)]
    told: list[tuple[int, int]] = []
    serial, done = encode(
        examples, origins, encoder, ("a", "b"), 1, lambda _, n, total: told.append((n, total))
    )
    parallel, done_too = encode(examples, origins, encoder, ("a", "b"), 3)
    assert serial.digest() == parallel.digest()
    assert (serial.origins == parallel.origins).all()
    assert done == done_too
    assert sum(what.rejected is not None for what in done) == 5
    assert any(what.by_turn for what in done)
    assert any(what.prompt_cut for what in done)
    assert told[-1] == (50, 50)
    assert serial.files == ("a", "b")
    rejected = {n + 1 for n, what in enumerate(done) if what.rejected is not None}
    assert set(serial.origins[:, 1].tolist()) == set(range(1, 51)) - rejected


def test_a_killed_worker_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "PARALLEL_FROM", 1)
    monkeypatch.setattr(Encoder, "encode", lambda *_: os._exit(9))
    encoder = Encoder(TOKENIZER, ChatTemplate.load(TOKENIZER), Policy(48))
    with pytest.raises(DataError, match=r"ended by the system, .* data\.workers=1"):
        encode([Conversation(())], [Origin("a", 1)], encoder, ("a",), 2)


def test_rejected_rows_are_counted_and_shown(go: Callable[..., Prepared]) -> None:
    bad = {"instruction": "x", "output": "a<|im_end|>b"}
    prepared = go([*ROWS, bad], max_rejected_share=0.1)
    (rejected,) = prepared.rejected
    assert rejected.origin.row == 41
    assert "holds the stop token" in rejected.reason
    assert rejected.value == (
        '{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "a<|im_end|>b"}]}'
    )
    (told,) = [text for level, text in prepared.notices if level == "warning"]
    assert re.match(
        r"1 example could not be encoded \(see rejected.jsonl\), first .*rows.json:41: the answer of turn 2",
        told,
    )
    (file,) = prepared.files
    assert (file["num_rows"], file["num_used"], file["num_rejected"]) == (41, 40, 1)


def test_a_row_that_is_taken_twice_is_rejected_once(go: Callable[..., Prepared], tmp_path: Path) -> None:
    write(tmp_path / "rows.json", [*ROWS, {"instruction": "x", "output": "a<|im_end|>b"}])
    train = [{"path": str(tmp_path / "rows.json"), "weight": 2.0}]
    prepared = go(train=train, max_rejected_share=0.1, held_out=0)
    assert len(prepared.train) == 80
    assert len(prepared.rejected) == 1


def test_a_held_out_row_is_asked_once_whatever_its_weight(
    go: Callable[..., Prepared], tmp_path: Path
) -> None:
    write(tmp_path / "rows.json", ROWS)
    prepared = go(train=[{"path": str(tmp_path / "rows.json"), "weight": 3.0}], held_out=0.25)
    asked = [row["messages"][0]["content"] for row in prepared.held_out_rows]
    assert len(asked) == len(set(asked)) == len(prepared.held_out) > 0
    assert len(prepared.train) == 3 * (40 - len(asked))


def test_what_would_make_training_wrong_stops_it_unless_accepted(go: Callable[..., Prepared]) -> None:
    rows = [{**row, "output": "N/A" if n % 2 else "<nooutput>"} for n, row in enumerate(ROWS)]
    told = stopped(go, rows, held_out=0)
    assert told.startswith(
        "Training would go wrong, so it does not begin:\n  placeholder_answer: 40 of 40 rows (100.00%): "
    )
    assert "rows.json:1, 2, 3, …). Write the answer or take the row out.\n" in told
    assert told.endswith("To train all the same: data.accept=[placeholder_answer]")
    assert stopped(go, held_out=0, check="full") == told
    first = go(held_out=0, accept=["placeholder_answer"])
    assert any(
        level == "warning" and text.startswith("placeholder_answer: ") for level, text in first.notices
    )
    again = go(held_out=0, accept=["placeholder_answer"])
    assert again.from_cache
    assert again.notices == first.notices
    assert stopped(go, held_out=0) == told, "what was accepted once is not accepted for ever"
    assert not any("placeholder" in text for _, text in go(held_out=0, check="off").notices)


def test_a_file_that_is_trained_on_and_held_out_is_a_leak(
    go: Callable[..., Prepared], tmp_path: Path
) -> None:
    told = stopped(go, ROWS, held_out=str(tmp_path / "rows.json"))
    assert "leak_into_held_out: 40 of 40 rows" in told


def test_a_row_that_is_taken_twice_is_no_duplicate(go: Callable[..., Prepared], tmp_path: Path) -> None:
    path = str(write(tmp_path / "rows.json", ROWS))
    for train in ([{"path": path, "weight": 2.5}], [path, path]):
        told = go(train=train, held_out=0).notices
        assert not any("duplicate" in text for _, text in told)


def test_nothing_held_out_is_told(go: Callable[..., Prepared]) -> None:
    told = "Too few to hold any out (rows: 2): there will be no held-out loss. --held-out FILE gives rows"
    assert ("info", told) in go(ROWS[:2], held_out=0.01).notices
    assert not any("hold any out" in text for _, text in go(ROWS[:2], held_out=0).notices)


def stopped(go: Callable[..., Prepared], *args: Any, **data: Any) -> str:
    with pytest.raises(DataError) as caught:
        go(*args, **data)
    return str(caught.value)


def test_too_many_unusable_rows_stop_the_run(go: Callable[..., Prepared]) -> None:
    bad = [{"instruction": f"x{n}", "output": "a<|im_end|>b"} for n in range(7)]
    text = stopped(go, [*ROWS, *bad])
    assert (
        "7 of 47 examples cannot be encoded, 38 are left to train on (data.max_rejected_share=0.02):" in text
        or ("7 of 47 examples cannot be encoded" in text)
    )
    assert "rows.json:41: the answer of turn 2 holds the stop token" in text
    assert text.endswith("and 2 more\nCorrect these rows, or allow more: data.max_rejected_share=0.15")
    assert len(go([*ROWS, *bad], max_rejected_share=0.15).rejected) == 7, "what it says to type is enough"


def test_overlong_stop(go: Callable[..., Prepared]) -> None:
    long = {"instruction": "x" * 300, "output": "y"}
    text = stopped(go, [*ROWS, long], overlong="stop", max_rejected_share=0.5)
    assert "1 of 41 examples are too long, and data.overlong=stop says to stop:" in text
    assert "rows.json:41: " in text
    other_fault = {"instruction": "x", "output": "a<|im_end|>b"}
    assert len(go([*ROWS, other_fault], overlong="stop", max_rejected_share=0.5).rejected) == 1


def test_overlong_drop_is_counted_and_stops_nothing(go: Callable[..., Prepared]) -> None:
    long = [{"instruction": f"{n}" + "x" * 300, "output": "y"} for n in range(20)]
    prepared = go([*ROWS, *long], overlong="drop")
    assert len(prepared.rejected) == 20
    assert ("warning", "20 overlong examples dropped, as data.overlong=drop asks") in prepared.notices
    assert "0 are left to train on" in stopped(go, long, overlong="drop")


def test_what_was_cut_is_told(go: Callable[..., Prepared]) -> None:
    prepared = go([*ROWS, {"instruction": "x" * 300, "output": "y"}])
    assert any("prompt_cut: 1 of 41 prompts lose their beginning" in text for _, text in prepared.notices)
    prepared = go([*ROWS, {"instruction": "x", "output": "y" * 300}], overlong="cut_answer")
    assert any(
        "answer_cut: 1 of 41 answers are cut at 256 tokens; there no stop" in text
        for _, text in prepared.notices
    )


def test_held_out_files_and_their_leaks(go: Callable[..., Prepared], tmp_path: Path) -> None:
    other = write(
        tmp_path / "test.json", [ROWS[3], {"instruction": "New?", "output": "Yes."}, {"instruction": "bad"}]
    )
    with pytest.raises(DataError, match=r"(?s)leak_into_held_out.*data\.accept=\[leak_into_held_out\]"):
        go(ROWS, held_out=str(other), max_rejected_share=0.5)
    prepared = go(ROWS, held_out=str(other), max_rejected_share=0.5, accept=["leak_into_held_out"])
    assert len(prepared.train) == 40
    assert len(prepared.held_out) == 2
    assert [row.origin.row for row in prepared.rejected] == [3]
    assert prepared.files[1]["role"] == "held_out"
    told = [text for level, text in prepared.notices if level == "warning"]
    assert any("leak_into_held_out" in text and f"{other}:1" in text for text in told)
    assert any("1 of 3 rows cannot be used" in text for text in told)


def test_texts_need_no_template(tmp_path: Path) -> None:
    rows = write(tmp_path / "texts.json", [{"text": "What is the capital of France?"}, {"text": "你好"}])
    data = Data(train=str(rows), cache_dir=str(tmp_path / "cache"), held_out=0)
    prepared = prepare(data, "text", TOKENIZER, None, Policy(16), 0)
    assert TOKENIZER.decode(prepared.train[0].branches[0][0]).startswith("What is")
    assert prepared.held_out_rows == []
