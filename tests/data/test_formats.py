"""The row formats: one contract for all, then what each makes of its own cases, worked out by hand."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import pytest

from attune.data.examples import Conversation, Labelled, Message, Preference, RowError, Text, Verdict
from attune.data.formats import (
    alpaca,
    compared,
    conversation,
    images,
    kto,
    labelled,
    messages,
    moss,
    pairs,
    prompt_completion,
    prompts,
    ranked,
    sharegpt,
    sharegpt_pairs,
    text,
    transcripts,
    turn_columns,
)
from attune.data.formats.contract import FormatContract
from attune.data.sources import load
from attune.recipe import plugs
from attune.recipe.schema import Source


class TestContract(FormatContract):
    @pytest.fixture(params=plugs.names("formats"))
    def format_module(self, request: pytest.FixtureRequest) -> ModuleType:
        return plugs.find("formats", request.param)


def turns(example: Conversation) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in example.messages]


def reason(module: ModuleType, row: Any) -> str:
    with pytest.raises(RowError) as error:
        module.to_example(row)
    return str(error.value)


def test_alpaca_joins_instruction_and_input_by_one_line_break():
    row = {"instruction": "Translate. ", "input": " dumpling\n", "output": "饺子"}
    assert turns(alpaca.to_example(row)) == [("user", "Translate. \n dumpling\n"), ("assistant", "饺子")]


@pytest.mark.parametrize("empty", ["", None, float("nan")])
def test_alpaca_without_input_is_the_instruction_alone(empty):
    row = {"instruction": "Hello", "input": empty, "output": "Hi"}
    assert turns(alpaca.to_example(row)) == [("user", "Hello"), ("assistant", "Hi")]


def test_alpaca_with_an_empty_instruction_is_the_input_alone():
    assert turns(alpaca.to_example({"instruction": "", "input": "2+2?", "output": "4"}))[0] == (
        "user",
        "2+2?",
    )


def test_alpaca_history_and_system_come_first():
    row = {"instruction": "c", "output": "d", "history": [["a", "b"]], "system": "S"}
    expected = [("system", "S"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    assert turns(alpaca.to_example(row)) == expected


def test_alpaca_synonyms():
    row = {"instruction": "Sum up.", "context": "Long text.", "response": "Short."}
    assert turns(alpaca.to_example(row)) == [("user", "Sum up.\nLong text."), ("assistant", "Short.")]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (
            {"instruction": "a", "output": ["b", "c"]},
            "output is a list: several answers to one prompt are preference",
        ),
        ({"instruction": "a", "output": " "}, "output is empty."),
        ({"instruction": "", "input": "", "output": "b"}, "instruction and input are empty."),
        ({"instruction": 3, "output": "b"}, "instruction is a number; it must be text."),
        ({"instruction": "a", "output": "b", "history": "x"}, "history is text; it must be a list of pairs"),
        (
            {"instruction": "a", "output": "b", "history": [["x"]]},
            "history is a list; it must be a list of pairs",
        ),
        (
            {"instruction": "a", "output": "b", "chosen": "c", "rejected": "d"},
            "column chosen: preference data",
        ),
        ({"instruction": "a", "output": "b", "label": False}, "column label: true or false, a verdict"),
        ({"instruction": "a", "output": "b", "images": ["1.jpg"]}, "column images: the row refers to media"),
    ],
)
def test_alpaca_refuses_with_a_reason(row, says):
    assert says in reason(alpaca, row)


def test_empty_media_columns_do_no_harm():
    assert alpaca.to_example({"instruction": "a", "output": "b", "images": [], "chosen": None})


@pytest.mark.parametrize("spelled", ["human", "user", "Human", " USER "])
@pytest.mark.parametrize("answers", ["gpt", "assistant", "chatgpt", "bing", "model"])
def test_sharegpt_role_synonyms(spelled, answers):
    row = {"conversations": [{"from": spelled, "value": "a"}, {"from": answers, "value": "b"}]}
    assert turns(sharegpt.to_example(row)) == [("user", "a"), ("assistant", "b")]


def test_sharegpt_takes_role_and_content_as_well_and_the_json_text_of_a_table_cell():
    inside = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    expected = [("system", "S"), ("user", "a"), ("assistant", "b")]
    assert turns(sharegpt.to_example({"conversations": inside, "system": "S"})) == expected
    cell = '[{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]'
    assert turns(sharegpt.to_example({"conversations": cell, "system": "S"})) == expected


def test_sharegpt_tool_calls_observations_and_tools_are_kept_for_the_template():
    example = sharegpt.to_example(sharegpt.SAMPLE[1])
    call = example.messages[2]
    assert (call.role, call.content) == ("assistant", "")
    assert call.extra["tool_calls"] == [
        {"type": "function", "function": {"name": "stock", "arguments": {"item": "basket"}}}
    ]
    assert (example.messages[3].role, example.messages[3].content) == ("tool", "12")
    tool = {"name": "stock", "description": "How many are left", "parameters": {}}
    assert example.tools == ({"type": "function", "function": tool},)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"conversations": "Hello"}, "conversations is text; it must be a list of turns."),
        ({"conversations": ["Hello"]}, "turn 1 is text; it must be an object with role and content."),
        (
            {"conversations": [{"from": "narrator", "value": "a"}]},
            "turn 1: unknown role 'narrator'. Allowed: system",
        ),
        ({"conversations": [{"talker": "a"}]}, "turn 1 has the keys talker; it needs role and content"),
        ({"conversations": [{"from": "human", "value": 7}]}, "turn 1: content is a number; it must be text."),
        ({"conversations": [{"from": "function_call", "value": "run"}]}, "turn 1: a tool call must be JSON"),
        ({"conversations": [], "tools": "none"}, "tools is text; it must be a list of objects"),
        ({"conversations": [], "system": ["S"]}, "system is a list; it must be text."),
    ],
)
def test_sharegpt_refuses_naming_the_turn(row, says):
    assert says in reason(sharegpt, row)


def test_conversation_items_of_both_styles():
    xtuner = {"conversation": [{"system": "S", "input": "a", "output": "b"}, {"input": "c", "output": "d"}]}
    assert turns(conversation.to_example(xtuner)) == [
        ("system", "S"),
        ("user", "a"),
        ("assistant", "b"),
        ("user", "c"),
        ("assistant", "d"),
    ]
    firefly = {"conversation": [{"human": "a", "assistant": "b"}, {"assistant": "d", "human": "c"}]}
    assert [content for _, content in turns(conversation.to_example(firefly))] == ["a", "b", "c", "d"]


def test_messages_bare_list_and_text_parts():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "value": "b"}, "c"]
    row = [{"role": "user", "content": parts}, {"role": "assistant", "content": "d"}]
    assert turns(messages.to_example(row)) == [("user", "abc"), ("assistant", "d")]


@pytest.mark.parametrize("name", ["weight", "loss_weight", "loss"])
def test_messages_weight_zero_is_context_only(name):
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", name: 0}]}
    assert [message.learn for message in messages.to_example(row).messages] == [True, False]


def test_messages_reasoning_and_openai_tool_calls():
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}]
    parts = [{"type": "reasoning", "value": "Hm."}, {"type": "text", "value": "Yes."}]
    row = {
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": parts, "tool_calls": calls},
        ]
    }
    assert messages.to_example(row).messages[1] == Message(
        "assistant",
        "Yes.",
        extra={
            "reasoning_content": "Hm.",
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}}],
        },
    )
    assert calls[0]["function"]["arguments"] == '{"x": 1}', "the row itself is not changed"


def test_messages_refuse_images_and_fractions_of_weight():
    image = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}
    assert "turn 1: the content holds a part of type image_url; a text model takes text parts" in reason(
        messages, image
    )
    half = {"messages": [{"role": "assistant", "content": "a", "weight": 0.5}]}
    assert reason(messages, half) == "turn 1: weight is 0.5; allowed are 0 (context only) and 1 (learnt)."


def test_prompt_completion_texts_and_messages():
    assert turns(prompt_completion.to_example({"question": " a", "answer": "b "})) == [
        ("user", " a"),
        ("assistant", "b "),
    ]
    mixed = {
        "prompt": [{"role": "system", "content": "S"}, {"role": "user", "content": "a"}],
        "completion": "b",
    }
    assert turns(prompt_completion.to_example(mixed)) == [("system", "S"), ("user", "a"), ("assistant", "b")]


def test_prompt_completion_refuses():
    assert reason(prompt_completion, {"query": "a", "answer": ["b"]}) == "answer is a list; it must be text."
    assert reason(prompt_completion, {"query": "", "answer": "b"}) == "query is empty."


def test_text_keeps_every_character():
    assert text.to_example({"content": " a\n\n\tb "}) == Text(" a\n\n\tb ")
    assert text.to_example("c") == Text("c")


def test_text_refuses_nothing_numbers_and_turns():
    assert reason(text, {"text": " \n"}) == "the text is empty."
    assert reason(text, {"text": 5}) == "text is a number; it must be text."
    assert "one turn of a conversation" in reason(text, {"role": "user", "content": "a"})


def test_moss_marks_are_taken_off_and_thoughts_are_reasoning():
    turn = {
        "Human": "<|Human|>: a<eoh>\n",
        "Inner Thoughts": "<|Inner Thoughts|>: Hm. <eot>\n",
        "MOSS": "<|MOSS|>: b \n c<eom>\n",
    }
    plain = {"Human": "None", "MOSS": "d<br>", "Commands": "<|Commands|>: None<eoc>"}
    row = {"meta_instruction": "You are …", "chat": {"turn_2": plain, "turn_1": turn}}
    assert moss.to_example(row).messages == (
        Message("user", "a"),
        Message("assistant", "b \n c", extra={"reasoning_content": "Hm."}),
        Message("user", "None"),
        Message("assistant", "d<br>"),
    )


@pytest.mark.parametrize(
    ("chat", "says"),
    [
        (
            {"turn_1": {"Human": "a", "Commands": "Search(1)", "MOSS": "b"}},
            "turn_1 runs a command, in MOSS's own",
        ),
        ({"turn_1": "a"}, "turn_1 is text; it must be an object with Human and MOSS."),
        ({"first": {}}, "chat is an object; it must be an object of turns: turn_1, turn_2 …"),
        ({"turn_1": {"Human": "a"}}, "turn_1: MOSS is empty."),
    ],
)
def test_moss_refuses_naming_the_turn(chat, says):
    assert says in reason(moss, {"chat": chat})


def test_turn_columns_answer_each_question_in_turn():
    row = {"input": '["a", "c"]', "output": ["b", "d"], "system": "S"}
    assert [said for _, said in turns(turn_columns.to_example(row))] == ["S", "a", "b", "c", "d"]
    assert reason(turn_columns, {"input": ["a"], "output": ["b", "d"]}) == (
        "questions and answers must be two lists of one length."
    )


# --- preferences
# ---------------------------------------------------------------------------------------------


def sides(example: Preference) -> tuple[list[str], list[list[str]]]:
    """The prompt's texts, and those of each answer."""
    return [turn.content for turn in example.prompt], [[turn.content for turn in a] for a in example.answers]


def test_pairs_of_texts_turns_and_lists_are_one():
    answers = [["a"], ["b"]]
    said = [{"role": "assistant", "content": "a"}], {"from": "gpt", "value": "b"}
    for row in (
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        {"prompt": [{"role": "user", "content": "q"}], "chosen": said[0], "rejected": said[1]},
        {"prompt": "\n\nHuman: q\n\nAssistant:", "chosen": "a", "rejected": "b"},
    ):
        assert sides(pairs.to_example(row)) == (["q"], answers)


def test_pairs_with_instruction_input_history_and_system():
    row = {
        "instruction": "i",
        "input": "j",
        "history": [["x", "y"]],
        "system": "S",
        "chosen": "a",
        "rejected": "b",
    }
    assert sides(pairs.to_example(row))[0] == ["S", "x", "y", "i\nj"]


def test_whole_transcripts_beside_their_prompt_are_not_told_twice():
    first = [{"role": "user", "content": "q"}]
    row = {
        "prompt": "q",
        "chosen": [*first, {"role": "assistant", "content": "a"}],
        "rejected": [*first, {"role": "assistant", "content": "b"}],
    }
    assert sides(pairs.to_example(row)) == (["q"], [["a"], ["b"]])


@pytest.mark.parametrize(
    ("scores", "margin"),
    [
        ({"score_chosen": 9, "score_rejected": 4.5}, 4.5),
        ({"chosen_rating": "5", "rejected_rating": "3"}, 2.0),
        ({"margin": -1}, -1.0),
        ({"score_chosen": 9}, None),
        ({"score_chosen": "good", "score_rejected": 1}, None),
    ],
)
def test_scores_make_a_margin(scores, margin):
    assert pairs.to_example({"prompt": "q", "chosen": "a", "rejected": "b", **scores}).margin == margin


def test_transcripts_are_split_exactly_and_share_their_beginning():
    start = "\n\nHuman: q\n\nAssistant: r \n- x\n\nHuman:  s"
    row = {
        "chosen": f"{start}\n\nAssistant: a",
        "rejected": f"{start}\n\nAssistant: b\n\nHuman: and?\n\nAssistant: c",
    }
    example = transcripts.to_example(row)
    assert sides(example) == (["q", "r \n- x", " s"], [["a"], ["b", "and?", "c"]])
    assert [turn.role for turn in example.prompt] == ["user", "assistant", "user"]
    assert transcripts.to_row(example) == row


def test_transcripts_that_are_equal_keep_their_last_answer_for_the_rule_to_find():
    both = "\n\nHuman: q\n\nAssistant: a"
    assert sides(transcripts.to_example({"chosen": both, "rejected": both})) == (["q"], [["a"], ["a"]])


def test_transcripts_of_different_prompts_are_refused():
    row = {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: p\n\nAssistant: a"}
    assert reason(transcripts, row) == (
        "chosen and rejected part in turn 1, which is no answer in both: they do not answer one prompt."
    )


def test_sharegpt_pairs_end_with_one_turn_or_the_other():
    row = {
        "conversations": [{"from": "human", "value": "q"}],
        "system": "S",
        "chosen": {"from": "gpt", "value": "a"},
        "rejected": "b",
    }
    assert sides(sharegpt_pairs.to_example(row)) == (["S", "q"], [["a"], ["b"]])


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "q", "output": ["a", "b", "c"]},
        {"prompt": "q", "responses": ["b", "a", "c"], "scores": [5, 9.5, 1]},
        {"prompt": "q", "completions": ["c", "a", "b"], "ranks": "[3, 1, 2]"},
        {
            "prompt": "q",
            "answers": [{"answer": "c", "rank": 3}, {"answer": "a", "rank": 1}, {"answer": "b", "rank": 2}],
        },
        {"prompt": "q", "output": ["c", "b", "a"], "scores": [1, 2, 3]},
    ],
)
def test_ranked_answers_stand_best_first(row):
    assert sides(ranked.to_example(row)) == (["q"], [["a"], ["b"], ["c"]])


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": "q", "output": "a"}, "output is text; it must be a list of answers."),
        ({"prompt": "q", "responses": ["a", "b"]}, "responses has neither scores nor ranks"),
        ({"prompt": "q", "responses": ["a", "b"], "scores": [1]}, "responses has neither scores nor ranks"),
        ({"prompt": "q", "responses": ["a", "b"], "scores": [2, 2]}, "answers 1 and 2 have the same score"),
        ({"prompt": "q", "output": ["a", ["b"]]}, "output 2 is a list; it must be text."),
        ({"prompt": "q", "output": ["a", ""]}, "output 2 is empty."),
    ],
)
def test_ranked_refuses_with_a_reason(row, says):
    assert says in reason(ranked, row)


@pytest.mark.parametrize(
    ("row", "best"),
    [
        ({"output_1": "a", "output_2": "b", "preference": 1}, "a"),
        ({"output_1": "a", "output_2": "b", "preference": 2.0}, "b"),
        ({"output_1": "a", "output_2": "b", "preference": "-1"}, "b"),
        ({"response_a": "a", "response_b": "b", "winner": "model_b"}, "b"),
        ({"response_1": "a", "response_2": "b", "winner": "response_1"}, "a"),
        ({"response_0": "a", "response_1": "b", "better_response_id": 0}, "a"),
        ({"response_0": "a", "response_1": "b", "better_response_id": 1}, "b"),
    ],
)
def test_compared_puts_the_preferred_first(row, best):
    assert sides(compared.to_example({"prompt": "q", **row}))[1][0] == [best]


@pytest.mark.parametrize("value", [0, 1.5, "tie", "both"])
def test_compared_refuses_a_tie(value):
    row = {"prompt": "q", "output_1": "a", "output_2": "b", "preference": value}
    assert reason(compared, row) == f"preference is {value}: neither answer is preferred."


# --- verdicts, prompts, labels
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "is_good"), [(True, True), (0, False), ("True", True), ("0", False), (1.0, True)]
)
def test_kto_labels(label, is_good):
    example = kto.to_example({"prompt": "q", "completion": "a", "label": label})
    assert example == Verdict((Message("user", "q"),), (Message("assistant", "a"),), is_good)


def test_kto_judges_the_last_turn():
    inside = [
        {"from": who, "value": said}
        for who, said in (("human", "q"), ("gpt", "a"), ("human", "r"), ("gpt", "b"))
    ]
    example = kto.to_example({"conversations": inside, "kto_tag": False, "system": "S"})
    assert [turn.content for turn in example.prompt] == ["S", "q", "a", "r"]
    assert [turn.content for turn in example.answer] == ["b"]


def test_kto_refuses_other_labels_and_answers_to_nothing():
    assert (
        reason(kto, {"prompt": "q", "completion": "a", "label": 2}) == "label is 2; it must be true or false."
    )
    assert (
        reason(kto, {"completion": "a", "label": True}) == "the row has no prompt that the answer belongs to."
    )


def test_prompts_keep_the_other_columns_for_rewards():
    row = {
        "data_source": "x",
        "prompt": [{"role": "user", "content": "q"}],
        "reward_model": {"ground_truth": 72},
    }
    example = prompts.to_example(row)
    assert (example.messages, example.reference) == ((Message("user", "q"),), "72")
    assert example.extra == {"data_source": "x"}
    row = {"instruction": "i", "input": "j", "output": "o", "answer": ["[1]"], "system": "S"}
    example = prompts.to_example(row)
    assert [turn.content for turn in example.messages] == ["S", "i\nj"]
    assert (example.reference, example.extra) == ("[1]", {"output": "o"})


def test_prompts_refuse():
    assert reason(prompts, {"prompt": "q", "answer": ["a", "b"]}) == (
        "answer is a list; a right answer is text or a number."
    )
    assert "several questions without the answers" in reason(prompts, {"turns": ["a", "b"]})
    assert prompts.to_example({"turns": ["a"]}).messages == (Message("user", "a"),)


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (3, "3"),
        ("3", "3"),
        (True, "true"),
        (" sports ", "sports"),
        (3.0, 3.0),
        ("5.000", 5.0),
        (["a", 1], ("a", "1")),
        ("[]", ()),
    ],
)
def test_labels(value, label):
    example = labelled.to_example({"text": "t", "label": value})
    assert example.label == label
    assert type(example.label) is type(label)


@pytest.mark.parametrize("value", ["", " ", {}, [None], float("nan")])
def test_no_labels(value):
    assert "a label is a text or a number" in reason(labelled, {"text": "t", "label": value})


@pytest.mark.parametrize(
    ("row", "text", "pair"),
    [
        ({"sentence1": "a", "sentence2": "b"}, "a", "b"),
        ({"premise": "a", "hypothesis": "b", "idx": 1}, "a", "b"),
        ({"question": "a", "sentence": "b"}, "a", "b"),
        ({"text_a": "a", "text_b": ""}, "a", ""),
        ({"text_a": "a"}, "a", None),
        ({"title": "x", "content": "a"}, "a", None),
    ],
)
def test_the_texts_of_a_label(row, text, pair):
    assert labelled.to_example({**row, "label": 1}) == Labelled("1", text, pair)


def test_images_need_a_path():
    assert images.to_example({"file": "a.png", "class": 3}) == Labelled("3", image="a.png")
    assert reason(images, {"image": {"bytes": "…"}, "label": 1}) == (
        "image is an object; it must be the path of an image file."
    )
    assert (
        reason(images, {"image": "", "label": 1}) == "image is empty; it must be the path of an image file."
    )


# --- writing
# ---------------------------------------------------------------------------------------------

TOOL = {"type": "function", "function": {"name": "f"}}
CALL = Message(
    "assistant", "", extra={"tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {}}}]}
)
HELD = Message("user", "q"), Message("assistant", "a")


@pytest.mark.parametrize(
    ("module", "example", "what"),
    [
        (
            alpaca,
            Conversation((*HELD[:1], CALL, Message("tool", "1"), HELD[1])),
            "turns of tools or a second",
        ),
        (alpaca, Conversation((HELD[0], CALL)), "tool calls, reasoning or names"),
        (alpaca, Conversation((HELD[0], Message("assistant", "a", learn=False), *HELD)), "(weight 0)"),
        (alpaca, Conversation(HELD[1:]), "turns that are no pairs of question and answer"),
        (prompt_completion, Conversation(HELD * 2), "several turns, a system message or tools"),
        (prompt_completion, Conversation(HELD, (TOOL,)), "several turns, a system message or tools"),
        (
            sharegpt,
            Conversation((HELD[0], Message("assistant", "x", extra=CALL.extra))),
            "cannot hold both text and tool calls in a turn",
        ),
        (pairs, Preference(HELD[:1], (HELD[1:],) * 3), "more than two answers"),
        (sharegpt_pairs, Preference(HELD[:1], (HELD[1:], (HELD[1], *HELD))), "answers of several turns"),
        (ranked, Preference(HELD[:1], (HELD[1:],) * 2, margin=1.0), "or a margin"),
        (compared, Preference(HELD[:1], (HELD[1:],) * 2, margin=1.0), "cannot hold a margin"),
        (labelled, Labelled("x", image="a.png"), "cannot hold images"),
        (images, Labelled("x", "t"), "cannot hold texts"),
    ],
)
def test_what_a_form_has_no_place_for_is_refused(module, example, what):
    with pytest.raises(RowError) as error:
        module.to_row(example)
    assert what in str(error.value)
    assert error.value.name == "does_not_fit"


def test_reasons_in_chinese(monkeypatch):
    monkeypatch.setenv("ATTUNE_LANG", "zh")
    assert reason(alpaca, {"instruction": "a", "output": ""}) == "output 为空。"


def test_of_an_answer_in_several_spellings_the_first_is_learnt_and_that_is_told(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [
        {"query": "When?", "answer": [["July 21", "21 July"], ["2017"]]},
        {"query": "Who?", "answer": "She"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    loaded = load([Source(path=str(path))], "conversation")
    assert loaded.examples[0].messages[-1].content == "July 21, 2017"
    assert [one.change for one in loaded.changed] == ["of an answer in several spellings the first is taken."]
