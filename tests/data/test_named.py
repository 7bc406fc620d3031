"""The named templates: chosen by a tokenizer's tokens, rendered as their family renders, refused in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from attune.data.examples import Message, RowError
from attune.data.named import _ASKED_FOR, _NEEDED, SHELF, special_markers, template_names
from attune.data.template import ChatTemplate, problems
from attune.recipe.errors import ModelError
from attune.recipe.fields import fields

from .tiny import tokenizer

ASK, ANSWER = Message("user", "1 + 1?"), Message("assistant", "It is 2.")
SYSTEM, AGAIN, DONE = Message("system", "Be kind."), Message("user", "Sure?"), Message("assistant", " Yes.\n")
TALK = (SYSTEM, ASK, ANSWER, AGAIN, DONE)
CALL = {"id": "abcdefghi", "type": "function", "function": {"name": "add", "arguments": {"a": "二"}}}
CALLS = Message("assistant", "", extra={"tool_calls": [CALL]})
RESULT = Message("tool", "sunny", extra={"name": "add", "tool_call_id": "abcdefghi"})
TOOL = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": {}}}
ALL = ["alpaca", "chatml", "deepseek", "gemma", "glm4", "llama2", "llama3", "mistral", "phi", "plain", "qwen"]
ALL += ["vicuna", "zephyr"]
WITH_TOOLS = {"deepseek", "glm4", "llama3", "mistral", "qwen"}
WITH_REASONING = {"chatml", "deepseek", "glm4", "qwen"}

RENDERED = {
    "alpaca": "Be kind.\n\n### Instruction:\n1 + 1?\n\n### Response:\nIt is 2.</s>\n\n"
    "### Instruction:\nSure?\n\n### Response:\n Yes.\n</s>\n\n",
    "chatml": "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n1 + 1?<|im_end|>\n"
    "<|im_start|>assistant\nIt is 2.<|im_end|>\n<|im_start|>user\nSure?<|im_end|>\n"
    "<|im_start|>assistant\n Yes.\n<|im_end|>\n",
    "deepseek": "Be kind.<｜User｜>1 + 1?<｜Assistant｜>It is 2.<｜end▁of▁sentence｜>"
    "<｜User｜>Sure?<｜Assistant｜> Yes.\n<｜end▁of▁sentence｜>",
    "gemma": "<start_of_turn>user\nBe kind.\n\n1 + 1?<end_of_turn>\n"
    "<start_of_turn>model\nIt is 2.<end_of_turn>\n"
    "<start_of_turn>user\nSure?<end_of_turn>\n<start_of_turn>model\n Yes.\n<end_of_turn>\n",
    "glm4": "[gMASK]<sop><|system|>\nBe kind.<|user|>\n1 + 1?<|assistant|>\nIt is 2."
    "<|user|>\nSure?<|assistant|>\n Yes.\n",
    "llama2": "[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\n1 + 1? [/INST] It is 2. </s>"
    "<s>[INST] Sure? [/INST]  Yes.\n </s>",
    "llama3": "<|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\n1 + 1?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nIt is 2.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nSure?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n Yes.\n<|eot_id|>",
    "mistral": "[INST]Be kind.\n\n1 + 1?[/INST]It is 2.</s>[INST]Sure?[/INST] Yes.\n</s>",
    "phi": "<|system|>\nBe kind.<|end|>\n<|user|>\n1 + 1?<|end|>\n<|assistant|>\nIt is 2.<|end|>\n"
    "<|user|>\nSure?<|end|>\n<|assistant|>\n Yes.\n<|end|>\n",
    "plain": "Be kind.\n\n### User:\n1 + 1?\n\n### Assistant:\nIt is 2.</s>\n\n"
    "### User:\nSure?\n\n### Assistant:\n Yes.\n</s>\n\n",
    "vicuna": "Be kind. USER: 1 + 1? ASSISTANT: It is 2.</s>USER: Sure? ASSISTANT:  Yes.\n</s>",
    "zephyr": "<|system|>\nBe kind.</s>\n<|user|>\n1 + 1?</s>\n<|assistant|>\nIt is 2.</s>\n"
    "<|user|>\nSure?</s>\n<|assistant|>\n Yes.\n</s>\n",
}
RENDERED["qwen"] = RENDERED["chatml"]

CALLED = {
    "deepseek": (
        "<｜Assistant｜>",
        '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>add<｜tool▁sep｜>{"a": "二"}<｜tool▁call▁end｜>'
        "<｜tool▁calls▁end｜><｜end▁of▁sentence｜>",
        "<｜tool▁output▁begin｜>sunny<｜tool▁output▁end｜>",
    ),
    "glm4": ("<|assistant|>", 'add\n{"a": "二"}<|user|>', "<|observation|>\nsunny<|assistant|>"),
    "llama3": (
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        '{"name": "add", "parameters": {"a": "二"}}<|eot_id|>',
        "<|start_header_id|>ipython<|end_header_id|>\n\nsunny<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    "mistral": (
        "[INST]1 + 1?[/INST]",
        '[TOOL_CALLS][{"name": "add", "arguments": {"a": "二"}, "id": "abcdefghi"}]</s>',
        '[TOOL_RESULTS]{"content": "sunny", "call_id": "abcdefghi"}[/TOOL_RESULTS]',
    ),
    "qwen": (
        "<|im_start|>assistant\n",
        '<tool_call>\n{"name": "add", "arguments": {"a": "二"}}\n</tool_call><|im_end|>',
        "<|im_start|>user\n<tool_response>\nsunny\n</tool_response><|im_end|>\n<|im_start|>assistant\n",
    ),
}


def load(name: str, *, bos: bool = True) -> ChatTemplate:
    return ChatTemplate.load(tokenizer(_NEEDED.get(name, ()), None, bos=bos), name)


def test_there_are_these() -> None:
    assert template_names() == ALL == sorted(RENDERED)
    (field,) = (field for field in fields() if field.path == "model.template")
    assert f"a name of ours ({', '.join(ALL)}) or a .jinja file" in field.help


@pytest.mark.parametrize("name", ALL)
def test_each_is_exact_and_silent_about_nothing_but_reasoning(name: str) -> None:
    template = load(name)
    assert template.notice is None
    assert template.silent == (set() if name in WITH_REASONING else {"reasoning"})
    assert template.render(TALK) == "<s>" + RENDERED[name]


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("name", ALL)
def test_each_answer_follows_its_prompt_and_ends_in_the_stop_token(name: str, bos: bool) -> None:
    template = load(name, bos=bos)
    prompt, answer = template.turn(TALK, (), 4)
    whole = template.render(TALK) + template.closing
    assert prompt.startswith("<s>") == bos
    assert not prompt.startswith("<s><s>")
    assert whole.startswith(prompt + answer)  # history is written as it was
    assert whole.startswith("".join(template.turn(TALK, (), 2)))
    assert answer.strip().startswith("Yes.\n")
    assert answer.endswith(template.stop)
    assert template.ids(answer)[-1] == template.stop_id


@pytest.mark.parametrize("name", sorted(WITH_TOOLS))
def test_tools_are_written_in_the_familys_form(name: str) -> None:
    template = load(name)
    talk = (SYSTEM, ASK, CALLS, RESULT, ANSWER)
    before, call, after = CALLED[name]
    prompt, answer = template.turn(talk, (TOOL,), 2)
    assert '"description": "Adds."' in prompt
    assert prompt.count("Be kind.") == 1
    assert prompt.endswith(before.replace("[INST]", "[INST]Be kind.\n\n"))
    assert answer == call
    prompt, answer = template.turn(talk, (TOOL,), 4)
    assert prompt.endswith(after)
    assert answer.endswith("It is 2." + template.stop)


@pytest.mark.parametrize("name", sorted(set(ALL) - WITH_TOOLS))
def test_tools_are_refused_where_the_family_has_no_form(name: str) -> None:
    template = load(name)
    for talk, tools in (((ASK,), (TOOL,)), ((ASK, CALLS), ()), ((ASK, RESULT), ())):
        with pytest.raises(RowError, match=f"{name} has no form for tools"):
            template.render(talk, tools)


@pytest.mark.parametrize("name", ["glm4", "llama3"])
def test_one_call_a_turn_where_the_family_has_no_more(name: str) -> None:
    for message in (
        Message("assistant", "Well.", extra={"tool_calls": [CALL]}),
        Message("assistant", "", extra={"tool_calls": [CALL, CALL]}),
    ):
        with pytest.raises(RowError, match="takes one tool call a turn, and no text beside it"):
            load(name).render((ASK, message))


def test_several_calls_and_results() -> None:
    talk = (ASK, Message("assistant", "Well.", extra={"tool_calls": [CALL, CALL]}), RESULT, RESULT, ANSWER)
    prompt, answer = load("qwen").turn(talk, (TOOL,), 1)
    assert (
        answer
        == "Well."
        + 2 * '\n<tool_call>\n{"name": "add", "arguments": {"a": "二"}}\n</tool_call>'
        + "<|im_end|>"
    )
    prompt, _ = load("qwen").turn(talk, (TOOL,), 4)
    results = 2 * "\n<tool_response>\nsunny\n</tool_response>"
    assert prompt.endswith(f"<|im_start|>user{results}<|im_end|>\n<|im_start|>assistant\n")
    _, answer = load("mistral").turn(talk, (TOOL,), 1)
    assert answer.count('"name": "add"') == 2
    assert "}, {" in answer


@pytest.mark.parametrize("name", ["gemma", "llama2", "mistral"])
def test_a_system_message_has_its_place_in_the_first_question(name: str) -> None:
    for talk in ((ASK, SYSTEM, ANSWER), (SYSTEM, ANSWER), (SYSTEM,)):
        with pytest.raises(RowError, match="takes a system message before the first turn of the user only"):
            load(name).render(talk)


@pytest.mark.parametrize("name", sorted(WITH_REASONING))
def test_reasoning_is_learnt_and_stays_in_history(name: str) -> None:
    thought = Message("assistant", "It is 2.", extra={"reasoning_content": "One and one."})
    template = load(name)
    prompt, answer = template.turn((ASK, thought, AGAIN, thought), (), 3)
    assert (prompt.count("One and one."), answer.count("One and one.")) == (1, 1)
    assert "<think>" in answer
    with pytest.raises(RowError, match="would leave out: reasoning"):
        load("llama3").turn((ASK, thought), (), 1)


@pytest.mark.parametrize("name", [*_ASKED_FOR, "plain"])
def test_a_model_without_template_gets_the_one_of_its_tokens_and_says_so(name: str) -> None:
    made = tokenizer(_ASKED_FOR.get(name, ("[INST]", "<|user|>")), None)
    template = ChatTemplate.load(made)
    assert template.name == name
    assert template.notice is not None
    assert f"no chat template; using '{name}'" in template.notice
    assert f"model.template=<{', '.join(ALL)} or a .jinja file>" in template.notice
    assert made.chat_template == (SHELF / f"{name}.jinja").read_text(encoding="utf-8")


def test_the_models_own_comes_first() -> None:
    made = tokenizer(_NEEDED["llama3"], "{% for m in messages %}{{ m.content }}</s>{% endfor %}")
    assert ChatTemplate.load(made).name == "model"
    assert ChatTemplate.load(made, "llama3").name == "llama3"


def refused(made: Any, name: str) -> str:
    with pytest.raises(ModelError) as caught:
        ChatTemplate.load(made, name)
    with pytest.raises(ModelError):
        problems(made, name)
    return str(caught.value)


def test_unknown_names_and_unusable_files(tmp_path: Path) -> None:
    text = refused(tokenizer(), "chatlm")
    assert f"No chat template 'chatlm'. Named ones: {', '.join(ALL)}; or give a .jinja file" in text
    assert "No chat template '../secret'" in refused(tokenizer(), "../secret")
    assert "No chat template" in refused(tokenizer(), str(tmp_path / "absent.jinja"))
    latin = tmp_path / "latin.jinja"
    latin.write_bytes(b"caf\xe9")
    assert "cannot be read" in refused(tokenizer(), str(latin))


@pytest.mark.parametrize("name", sorted(_NEEDED))
def test_tokens_that_a_tokenizer_lacks(name: str) -> None:
    text = refused(tokenizer(_NEEDED[name][1:], None), name)
    assert (
        f"The template '{name}' needs the tokens {_NEEDED[name][0]}, which this tokenizer does not have"
        in text
    )
    assert "Try model.template=" in text
    assert "model.template=plain" in refused(tokenizer((), None), name)


@pytest.mark.parametrize("name", ["alpaca", "llama2", "mistral", "plain", "vicuna", "zephyr"])
def test_an_end_token_that_a_tokenizer_does_not_name(name: str) -> None:
    text = refused(tokenizer(_NEEDED.get(name, ()), None, eos=None), name)
    assert f"The template '{name}' ends each answer with the tokenizer's end token" in text
    assert "names none. Set eos_token" in text


def test_markers_of_turns() -> None:
    markers = special_markers()
    assert {"<|im_start|>", "[INST]", "<start_of_turn>", "<|eot_id|>", "<｜User｜>", "<|user|>"} <= markers
    assert not {"<think>", "<tool_call>", "<s>", "</s>", "### User:", "USER:"} & markers
    for name in ALL:
        text = load(name).render((SYSTEM, ASK, ANSWER))
        assert any(marker in text for marker in markers) == (name not in {"alpaca", "plain", "vicuna"}), name
