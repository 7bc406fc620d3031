"""The row formats: one contract for all, then what each makes of its own cases, worked out by hand."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from attune.data.examples import Conversation, Message, RowError, Text
from attune.data.formats import alpaca, conversation, messages, prompt_completion, sharegpt, text
from attune.data.formats.contract import FormatContract
from attune.recipe import plugs


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
        ({"conversations": [{"speaker": "a"}]}, "turn 1 has the keys speaker; it needs role and content"),
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


def test_reasons_in_chinese(monkeypatch):
    monkeypatch.setenv("ATTUNE_LANG", "zh")
    assert reason(alpaca, {"instruction": "a", "output": ""}) == "output 为空。"
