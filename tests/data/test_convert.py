"""From any known form to any other that can hold it, row by row, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attune.data import kinds
from attune.data.convert import Converted, convert
from attune.data.examples import KINDS, Conversation, Message, RowError
from attune.data.formats import alpaca, conversation, messages, sharegpt
from attune.data.read import rows
from attune.data.recognise import formats
from attune.data.rules import check
from attune.data.sources import load
from attune.recipe.errors import DataError
from attune.recipe.schema import Source


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def put(name: str, *found: Any) -> str:
    Path(name).write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")
    return name


def converted(to: str, *found: Any, output: str = "out.jsonl", **options: Any) -> Converted:
    return convert(Source(path=put("in.json", *found)), to, Path(output), **options)


def written(path: str = "out.jsonl") -> list[Any]:
    return [value for _, value in rows(path)]


def problem(to: str, *found: Any, **options: Any) -> str:
    with pytest.raises(DataError) as error:
        converted(to, *found, **options)
    return str(error.value)


ROW = {"instruction": "q", "input": "i", "output": "a"}
PAIR = {"prompt": "q", "chosen": "a", "rejected": "b"}


def test_rows_are_written_in_the_other_form():
    done = converted("messages", ROW, {**ROW, "system": "S"})
    turns = [{"role": "user", "content": "q\ni"}, {"role": "assistant", "content": "a"}]
    assert written() == [
        {"messages": turns},
        {"messages": [{"role": "system", "content": "S"}, *turns]},
    ]
    assert (done.num_written, done.rejected, done.rejected_path, done.kind_change) == (2, [], None, None)
    assert [report.format for report in done.files] == ["alpaca"]


def test_what_does_not_fit_is_kept_apart_with_its_reason():
    more = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}] * 2}
    bad = {"messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": "a"}]}
    one = {"messages": more["messages"][:2]}
    done = converted("prompt_completion", one, more, bad)
    assert written() == [{"prompt": "q", "completion": "a"}]
    assert [(row.origin.row, row.name) for row in done.rejected] == [(2, "does_not_fit"), (3, "empty_prompt")]
    assert done.rejected[0].reason == (
        "the form prompt_completion cannot hold several turns, a system message or tools."
    )
    kept = written("out.jsonl.rejected.jsonl")
    assert [(row["row"], row["reason"]) for row in kept] == [
        (row.origin.row, row.reason) for row in done.rejected
    ]
    converted("prompt_completion", one, force=True)
    assert not Path("out.jsonl.rejected.jsonl").exists()


def test_a_row_that_would_be_read_as_something_else_is_refused():
    """In a prompt this text is a transcript, so that as a question it cannot be written there."""
    marked = "Human: q\n\nAssistant: and?"
    done = converted("prompt_completion", ROW, {**ROW, "instruction": marked, "input": ""})
    assert [(row.origin.row, row.reason) for row in done.rejected] == [
        (2, "written as prompt_completion it would be read as something else.")
    ]


def test_changes_are_counted():
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    done = converted("alpaca", {"messages": [*turns, turns[0]]}, {"messages": [*turns, turns[0]]})
    assert done.changed == {"cut after the last answer; what followed cannot be learnt: user.": 2}


@pytest.mark.parametrize(
    ("to", "row", "expected", "sentence"),
    [
        (
            "prompt_completion",
            PAIR,
            [{"prompt": "q", "completion": "a"}],
            "preferences became conversations: the best answers are kept, the others left out",
        ),
        (
            "kto",
            PAIR,
            [
                {
                    "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": said}],
                    "label": good,
                }
                for said, good in (("a", True), ("b", False))
            ],
            "each preference became two verdicts: its best answer is good, its worst bad",
        ),
        ("prompts", PAIR, [{"prompt": "q"}], "preferences became prompts: all answers are left out"),
        (
            "prompts",
            {"question": "q", "answer": "a"},
            [{"prompt": "q", "reference": "a"}],
            "conversations became prompts: the last answer of each is its reference",
        ),
        (
            "prompt_completion",
            {"problem": "q", "solution": "a"},
            [{"prompt": "q", "completion": "a"}],
            "prompts became conversations: the reference is the answer; other columns are left out",
        ),
        (
            "prompt_completion",
            {"prompt": "q", "completion": "a", "label": True},
            [{"prompt": "q", "completion": "a"}],
            "verdicts became conversations: only answers called good are kept",
        ),
        (
            "prompts",
            {"prompt": "q", "completion": "a", "label": True},
            [{"prompt": "q"}],
            "verdicts became prompts: all answers are left out",
        ),
    ],
)
def test_one_kind_becomes_another_and_that_is_told(to, row, expected, sentence):
    done = converted(to, row)
    assert written() == expected
    assert done.kind_change == sentence


def test_what_has_nothing_for_the_other_kind_is_refused():
    verdict = {"prompt": "q", "completion": "a", "label": True}
    done = converted("messages", verdict, {**verdict, "label": False})
    assert [(row.origin.row, row.name) for row in done.rejected] == [(2, "called_bad")]
    done = converted("messages", {"problem": "q", "solution": "a"}, {"problem": "r"}, force=True)
    assert [(row.origin.row, row.reason) for row in done.rejected] == [
        (2, "the prompt has no reference answer.")
    ]


def test_every_change_of_kind_has_a_sentence():
    ways = [(one, other) for one in KINDS for other in KINDS if one != other and kinds.can_become(one, other)]
    assert len(ways) == 7
    assert all(kinds.told(*way) for way in ways)


def test_kinds_that_cannot_become_another_name_what_is_possible():
    assert problem("messages", {"text": "t", "label": "x"}) == (
        "The rows are of kind labelled, which the form messages (kind conversation) cannot hold. Possible: "
        "--to images, labelled"
    )
    assert not Path("out.jsonl").exists()


@pytest.mark.parametrize("output", ["out.json", "out.jsonl", "out.csv", "out.tsv", "out.parquet"])
def test_every_kind_of_file_is_read_back_alike(output):
    if output.endswith("parquet"):
        pytest.importorskip("pyarrow")
    found = [{**ROW, "history": [["x", 'y\n"z"']]}, {"instruction": "1", "input": "", "output": "é,中\t文"}]
    before = load([Source(path=put("in.json", *found))], None).examples
    convert(Source(path="in.json"), "alpaca", Path(output))
    assert load([Source(path=output)], None).examples == before


def test_the_source_and_what_stands_there_are_never_written_over():
    put("in.json", ROW)
    assert problem("messages", ROW, output="in.json", force=True) == (
        "in.json: this file is read; it is never written over. Name another file."
    )
    Path("out.jsonl").write_text("mine")
    assert problem("messages", ROW) == (
        "out.jsonl: there is such a file already. Name another, or replace it with --force"
    )
    assert Path("out.jsonl").read_text() == "mine"
    converted("messages", ROW, force=True)
    assert len(written()) == 1


def test_wrong_targets():
    assert problem("mesages", ROW).startswith("--to: no format that can be written is called so: 'mesages'.")
    assert problem("mesages", ROW).endswith("Did you mean 'messages'?")
    assert "no format that can be written is called so: 'moss'" in problem("moss", ROW)
    assert problem("messages", ROW, output="out.xlsx") == (
        "out.xlsx: cannot be written in this form. Allowed: .jsonl, .ndjson, .json, .csv, .tsv, .parquet; "
        "for example clean.jsonl."
    )


def test_a_source_that_cannot_be_read_or_gives_nothing_leaves_no_file():
    Path("broken.json").write_text('[{"prompt": 1},]')
    with pytest.raises(DataError, match=r"broken\.json, line 1"):
        convert(Source(path="broken.json"), "messages", Path("out.jsonl"))
    with pytest.raises(DataError, match="no such file"):
        convert(Source(path="missing.json"), "messages", Path("out.jsonl"))
    assert problem("messages", {**ROW, "output": ""}) == (
        "in.json: no row can be written as messages. The first: row 1: output is empty."
    )
    assert [path.name for path in Path().iterdir() if path.name.startswith((".", "out"))] == []


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(str.strip)
EXCHANGES = st.lists(st.tuples(TEXTS, TEXTS, st.booleans()), min_size=1, max_size=4)


@given(st.none() | TEXTS, EXCHANGES)
@settings(max_examples=80, deadline=None)
def test_any_conversation_goes_through_messages_and_sharegpt(system, exchanges):
    turns = [Message("system", system)] if system else []
    for asked, answer, learn in exchanges:
        turns += [Message("user", asked), Message("assistant", answer, learn=learn)]
    example = Conversation(tuple(turns))
    for form in (messages, sharegpt):
        assert form.to_example(json.loads(json.dumps(form.to_row(example)))) == example


@given(st.none() | TEXTS, EXCHANGES)
@settings(max_examples=80, deadline=None)
def test_a_conversation_of_plain_exchanges_goes_through_every_form_or_is_refused(system, exchanges):
    turns = [Message("system", system)] if system else []
    for asked, answer, _ in exchanges:
        turns += [Message("user", asked), Message("assistant", answer)]
    example = Conversation(tuple(turns))
    for form in (alpaca, conversation):
        assert form.to_example(form.to_row(example)) == example


def test_every_form_that_is_written_gives_its_sample_back():
    for known in formats():
        if not hasattr(known.module, "to_row"):
            continue
        for row in known.module.SAMPLE:
            example, _ = check(known.to_example(row))
            assert known.to_example(known.module.to_row(example)) == example


@given(st.lists(TEXTS, min_size=3, max_size=5))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_reads_otherwise_is_never_written(found):
    """Whatever the texts are: what ``transcripts`` writes is read back, or it is refused."""
    done_before = Path("out.jsonl")
    done_before.unlink(missing_ok=True)
    row = {"prompt": found[0], "chosen": found[1], "rejected": found[2]}
    try:
        converted("transcripts", row)
    except DataError:
        return
    assert load([Source(path="out.jsonl")], None).examples == load([Source(path="in.json")], None).examples


def test_row_errors_have_names():
    with pytest.raises(RowError) as error:
        kinds.as_kind(Conversation(()), "conversation", "conversation") and alpaca.to_row(Conversation(()))
    assert error.value.name == "does_not_fit"
