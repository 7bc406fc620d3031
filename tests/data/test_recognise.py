"""Which format a file is in: by columns, by values, for every kind and for none."""

from __future__ import annotations

from typing import Any

import pytest

from attune.data.examples import Message, Prompt
from attune.data.recognise import ORDER, Format, formats, recognise
from attune.recipe.errors import DataError

TURNS = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
OTHER = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}]


@pytest.fixture(scope="module")
def known() -> list[Format]:
    return formats()


def name(known: list[Format], row: Any, kind: str | None = None) -> str:
    return recognise("a.jsonl", [row], kind, known).name


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        # conversations
        ({"instruction": "q", "input": "", "output": "a"}, "alpaca"),
        ({"instruction": "q", "context": "c", "response": "a", "category": "x"}, "alpaca"),
        ({"question": "q", "answer": "a"}, "prompt_completion"),
        ({"kind": "x", "input": "q", "target": "a"}, "prompt_completion"),
        ({"input": ["q"], "output": ["a"]}, "turn_columns"),
        ({"messages": TURNS, "source": "x"}, "messages"),
        (TURNS, "messages"),
        ({"conversation_id": 1, "conversation": [{"human": "q", "assistant": "a"}]}, "conversation"),
        ({"dialog": [{"speaker": "x", "content": "q"}], "situation": "y"}, "conversation"),
        ({"chat": {"turn_1": {"Human": "q", "MOSS": "a"}}, "num_turns": 1}, "moss"),
        # preferences
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, "pairs"),
        ({"instruction": "q", "input": "", "output": "a", "chosen": "a", "rejected": "b"}, "pairs"),
        ({"question": "q", "response_j": "a", "response_k": "b"}, "pairs"),
        ({"prompt": "q", "messages": TURNS, "chosen": TURNS, "rejected": OTHER, "score_chosen": 1}, "pairs"),
        ({"chosen": TURNS, "rejected": OTHER}, "transcripts"),
        ({"chosen_messages": TURNS, "rejected_messages": OTHER}, "transcripts"),
        ({"conversations": TURNS[:1], "chosen": TURNS[1], "rejected": OTHER[1]}, "sharegpt_pairs"),
        ({"instruction": "q", "input": "", "output": ["a", "b"]}, "ranked"),
        ({"prompt": "q", "answers": ["a", "b"], "ranks": [2, 1]}, "ranked"),
        ({"instruction": "q", "output_1": "a", "output_2": "b", "preference": 1}, "compared"),
        ({"prompt": "q", "response_0": "a", "response_1": "b", "better_response_id": 1}, "compared"),
        # verdicts
        ({"prompt": "q", "completion": "a", "label": False}, "kto"),
        ({"messages": TURNS, "label": True}, "kto"),
        ({"instruction": "q", "input": "", "output": "a", "kto_tag": "true"}, "kto"),
        # prompts
        ({"prompt": TURNS[:1], "reward_model": {"ground_truth": "1"}, "ability": "math"}, "prompts"),
        ({"question": "q", "std_answer": "a", "class": "code"}, "prompts"),
        # labels
        ({"label": "1", "review": "r", "cat": "book"}, "labelled"),
        ({"question": "q", "sentence": "s", "label": 0, "idx": 1}, "labelled"),
        ({"question": "q", "label": 0}, "labelled"),
        ({"Quality": "1", "#1 ID": "1", "#1 String": "a", "#2 String": "b"}, "labelled"),
        ({"sentence1": "a", "sentence2": "b", "score": 3.5}, "labelled"),
        ({"image": "a.png", "label": 3}, "images"),
        # texts
        ({"text": "t", "score": 0.9, "url": "u"}, "text"),
        ("t", "text"),
    ],
)
def test_what_rows_are_where_no_kind_is_wanted(known, row, expected):
    assert name(known, row) == expected


def test_the_wanted_kind_is_served_where_the_row_can_be_more(known):
    row = {"text": "t", "label": "x"}
    assert (name(known, row), name(known, row, "text")) == ("labelled", "text")
    row = {"question": "q", "answer": "a"}
    assert (name(known, row), name(known, row, "prompt")) == ("prompt_completion", "prompts")
    row = {"prompt": "q", "chosen": "a", "rejected": "b"}
    assert (name(known, row), name(known, row, "prompt")) == ("pairs", "prompts")


def test_a_row_without_its_answer_makes_no_file_of_questions(known):
    rows = [{"question": "q", "answer": "a"}] * 3 + [{"question": "q"}] * 2
    assert recognise("a", rows, None, known).name == "prompt_completion"


def test_most_rows_decide_then_most_columns(known):
    rows = [{"prompt": "q", "completion": "a"}] * 2 + [{"prompt": "q", "chosen": "a", "rejected": "b"}]
    assert recognise("a", rows, None, known).name == "prompt_completion"
    assert recognise("a", rows[1:] + rows[2:], None, known).name == "pairs"


def test_every_kind_has_its_place_in_the_order(known):
    assert {one.kind for one in known} == set(ORDER)


def test_a_list_of_right_answers_is_no_ranking(known):
    """Open questions list all right answers; none of them is the worst."""
    assert name(known, {"question": "q", "answers": ["a", "the a"]}) == "prompts"
    with pytest.raises(DataError, match="no known format fits"):
        name(known, {"question": "q", "answers": ["a", "the a"]}, "preference")


@pytest.mark.parametrize(
    ("row", "reference", "extra"),
    [
        (
            {"messages": [*TURNS, {"role": "user", "content": "r"}, {"role": "assistant", "content": "s"}]},
            "s",
            {},
        ),
        ({"conversations": TURNS, "level": 2}, "a", {"level": 2}),
        (TURNS, "a", {}),
        ({"messages": TURNS[:1]}, None, {}),
    ],
)
def test_conversations_serve_as_prompts(known, row, reference, extra):
    found = recognise("a", [row], "prompt", known)
    example = found.to_example(row)
    assert isinstance(example, Prompt)
    assert found.kind == "prompt"
    assert example.messages[0] == Message("user", "q")
    assert example.messages[-1].role == "user"
    assert (example.reference, example.extra) == (reference, extra)


def test_a_row_that_answers_apart_from_its_output_keeps_that_answer(known):
    """As the sets of arithmetic tasks do: the answer alone is what a reward compares."""
    row = {"instruction": "6 × 7?", "input": "", "output": "So it is 42.", "answer": "42"}
    assert name(known, row) == "alpaca"
    found = recognise("a", [row], "prompt", known)
    example = found.to_example(row)
    assert (example.reference, example.extra) == ("42", {"output": "So it is 42."})  # type: ignore[union-attr]
    assert found.ignores(frozenset(row)) == frozenset()


def test_a_declared_format_of_another_kind_is_refused_and_conversations_serve_prompts(known):
    row = {"question": "q", "answer": "a"}
    assert recognise("a", [row], "prompt", known, "prompt_completion").kind == "prompt"
    with pytest.raises(DataError, match=r"holds rows of kind labelled \(format labelled\), but this command"):
        recognise("a", [row], "conversation", known, "labelled")


def test_values_that_do_not_fit_are_no_reason_to_name_the_format_as_nearest(known):
    with pytest.raises(DataError) as error:
        name(known, {"dialogue": "A: Hi\nB: Ho", "summary": "They greet."})
    assert "no known format fits" in str(error.value)
    assert "Nearest is conversation" not in str(error.value)


def test_a_rename_does_not_take_a_column_that_is_read_already(known):
    with pytest.raises(DataError) as error:
        name(known, {"sentence": "a", "index": 3})
    assert str(error.value).endswith("Nearest is labelled; missing: label or labels or class ….")


def test_in_chinese(known, monkeypatch):
    monkeypatch.setenv("ATTUNE_LANG", "zh")
    with pytest.raises(DataError) as error:
        name(known, {"prompt": "q", "chosen": "a", "rejected": "b"}, "conversation")
    assert str(error.value) == (
        "a.jsonl：数据类型为 preference（格式 pairs），而此命令需要的是 conversation。请用：attune dpo "
        "--data a.jsonl；或学习被选中的回答：attune convert a.jsonl --to messages --output chosen.jsonl"
    )
