"""What is added to a template (a date, a switch, another end of the prompt): saved, said, only if needed."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer
from transformers.utils import chat_template_utils

from attune.data.examples import Message, RowError
from attune.data.settle import DATE, settle
from attune.data.template import ChatTemplate, problems

from .tiny import CHATML, tokenizer

ASK, ANSWER = Message("user", "1 + 1?"), Message("assistant", "It is 2.")
REASONED = Message("assistant", "It is 2.", extra={"reasoning_content": "One and one."})
AGAIN = Message("user", "Sure?")
TAGS = ("<|im_start|>", "<|im_end|>", "<think>", "</think>")

TURNS = CHATML.partition("{% if add")[0]
HYBRID = TURNS.replace(
    "{{ m.content }}",
    "{% if m.role == 'assistant' %}"
    "{{ '<think>\\n' + m.reasoning_content + '\\n</think>\\n\\n' if m.reasoning_content else '</think>' }}"
    "{% endif %}{{ m.content }}",
)
"""A template as GLM 4.7 has it: a thought that was not had is only closed."""
SWITCHED = HYBRID + (
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{{ '<think>' if enable_thinking is not defined or enable_thinking else '</think>' }}{% endif %}"
)
OPENED = TURNS + "{% if add_generation_prompt %}<|im_start|>assistant\n{{ '<think>\\n' }}{% endif %}"
"""As the distilled models of DeepSeek R1 have it: always opened, never written."""


def made(template: str, **options: Any) -> Any:
    return tokenizer(TAGS, template, **options)


def elsewhere(template: ChatTemplate, folder: Path) -> Any:
    """The tokenizer as another tool loads it."""
    template.tokenizer.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def prompt_elsewhere(template: ChatTemplate, folder: Path, **options: Any) -> str:
    return str(
        elsewhere(template, folder).apply_chat_template(
            [ASK.as_dict()], tokenize=False, add_generation_prompt=True, **options
        )
    )


@pytest.mark.parametrize("reasoning", [None, False, True])
def test_nothing_is_added_to_an_exact_template(reasoning: bool | None) -> None:
    template = ChatTemplate.load(made(CHATML), reasoning=reasoning)
    assert template.tokenizer.chat_template == CHATML
    assert template.notice is None


def test_a_switch_closes_the_thought_that_answers_do_not_have(tmp_path: Path) -> None:
    template = ChatTemplate.load(made(SWITCHED))
    prompt, answer = template.turn((ASK, ANSWER), (), 1)
    assert prompt.endswith("<|im_start|>assistant\n</think>")
    assert answer == "It is 2.<|im_end|>"
    assert template.notice is not None
    assert "now begins with {% set enable_thinking = enable_thinking | default(false) %}" in template.notice
    assert prompt_elsewhere(template, tmp_path) == prompt
    assert prompt_elsewhere(template, tmp_path, enable_thinking=True).endswith("assistant\n<think>")


@pytest.mark.parametrize("start", ["", "\n", "\n\n", "  ", "\n  "])
def test_a_switch_is_the_same_as_a_variable_that_is_passed(start: str) -> None:
    source = start + SWITCHED
    given = [message.as_dict() for message in (ASK, ANSWER, AGAIN)]
    passed = made(source).apply_chat_template(
        given, tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
    template = ChatTemplate.load(made(source))
    assert template.render((ASK, ANSWER, AGAIN), generation_prompt=True) == passed


def test_looking_for_problems_changes_nothing() -> None:
    tried = made(SWITCHED)
    assert problems(tried) == []
    assert tried.chat_template == SWITCHED


def test_what_was_saved_is_exact_and_stays_as_it_is(tmp_path: Path) -> None:
    for number, source in enumerate((SWITCHED, OPENED)):
        template = ChatTemplate.load(made(source))
        again = ChatTemplate.load(elsewhere(template, tmp_path / str(number)))
        assert again.tokenizer.chat_template == template.tokenizer.chat_template != source
        assert again.notice is None


@pytest.mark.parametrize("name", ["thinking", "reasoning", "open_thinking"])
def test_switches_of_other_families(name: str) -> None:
    template = ChatTemplate.load(made(SWITCHED.replace("enable_thinking", name)))
    assert template.turn((ASK, ANSWER), (), 1)[0].endswith("assistant\n</think>")
    assert f"set {name} = {name} | default(false)" in str(template.notice)


def test_tools_that_a_template_must_be_given() -> None:
    source = CHATML.replace("{% for", "Tools:{% for t in tools %}{{ t | tojson }}{% endfor %}\n{% for", 1)
    template = ChatTemplate.load(made(source))
    assert template.render((ASK,)).startswith("Tools:<|im_start|>user")
    assert '{"a": 1}' in template.render((ASK,), ({"a": 1},))
    assert "set tools = tools or []" in str(template.notice)


def test_answers_with_reasoning_leave_it_to_the_model_whether_to_think(tmp_path: Path) -> None:
    with pytest.raises(RowError, match="carries reasoning"):
        ChatTemplate.load(made(SWITCHED)).turn((ASK, REASONED), (), 1)
    template = ChatTemplate.load(made(SWITCHED), reasoning=True)
    talk = (ASK, REASONED, AGAIN, ANSWER)
    prompt, answer = template.turn(talk, (), 1)
    assert prompt.endswith("<|im_start|>assistant\n")
    assert answer == "<think>\nOne and one.\n</think>\n\nIt is 2.<|im_end|>"
    assert template.turn(talk, (), 3)[1] == "</think>It is 2.<|im_end|>"
    assert r"the prompt now ends with '<|im_start|>assistant\n'" in str(template.notice)
    assert prompt_elsewhere(template, tmp_path) == prompt


def test_answers_without_reasoning_have_a_closed_thought_where_the_template_can() -> None:
    # Qwen 3: by itself it leaves the thought to the model, and its answers begin with an empty one.
    empty = "'<think>\\n\\n</think>\\n\\n'"
    source = HYBRID.replace("'</think>' }}", f"{empty} }}}}")
    source += "{% if add_generation_prompt %}<|im_start|>assistant\n{{ " + empty
    source += " if enable_thinking is defined and not enable_thinking }}{% endif %}"
    written = "<think>\n\n</think>\n\n"
    for reasoning in (None, True):
        template = ChatTemplate.load(made(source), reasoning=reasoning)
        assert template.notice is None
        assert template.turn((ASK, ANSWER), (), 1)[1] == f"{written}It is 2.<|im_end|>"
    template = ChatTemplate.load(made(source), reasoning=False)
    prompt, answer = template.turn((ASK, ANSWER), (), 1)
    assert prompt.endswith(f"assistant\n{written}")
    assert answer == "It is 2.<|im_end|>"


def test_a_switch_that_makes_a_template_write_reasoning() -> None:
    # DeepSeek V4: without thinking it leaves the reasoning of an answer out.
    source = TURNS.replace("{{ m.content }}", "{{ m.reasoning_content if thinking }}{{ m.content }}")
    source += CHATML.removeprefix(TURNS)
    assert "reasoning" in ChatTemplate.load(made(source)).silent
    template = ChatTemplate.load(made(source), reasoning=True)
    assert template.silent == {"tools", "tool_calls"}
    assert template.turn((ASK, REASONED), (), 1)[1] == "One and one.It is 2.<|im_end|>"
    assert "set thinking = thinking | default(true)" in str(template.notice)


def test_a_template_that_never_writes_reasoning_is_still_exact() -> None:
    for source, notice in ((CHATML, "None"), (OPENED, "the prompt now ends with")):
        template = ChatTemplate.load(made(source), reasoning=True)
        assert "reasoning" in template.silent
        assert notice in str(template.notice)


@pytest.mark.parametrize("end", ["", "\n", "\n\n", "{# the end #}\n"])
def test_the_prompt_ends_as_the_template_begins_an_answer(end: str, tmp_path: Path) -> None:
    source = OPENED + end
    before = made(source)
    template = ChatTemplate.load(made(source))
    prompt, answer = template.turn((ASK, ANSWER), (), 1)
    assert prompt == template.render((ASK,)) + "<|im_start|>assistant\n"
    assert answer == "It is 2.<|im_end|>"
    told = [message.as_dict() for message in (ASK, ANSWER, AGAIN)]
    unchanged = before.apply_chat_template(told, tokenize=False)
    assert template.render((ASK, ANSWER, AGAIN)) == unchanged
    assert prompt_elsewhere(template, tmp_path) == prompt
    assert r"the prompt now ends with '<|im_start|>assistant\n', in training" in str(template.notice)


def test_the_end_of_the_prompt_is_shared_by_answers_and_tool_calls() -> None:
    # The text of an answer stands in tags that calls do not have, and the two begin with the same letter.
    source = OPENED.replace(
        "{{ m.content }}",
        "{% if m.tool_calls %}<think>{{ m.tool_calls[0].function.name }}{% else %}"
        "{{ '</think>' if m.role == 'assistant' }}{{ m.content }}{% endif %}",
    )
    template = ChatTemplate.load(made(source))
    assert template.turn((ASK, ANSWER), (), 1)[0].endswith("<|im_start|>assistant\n")
    assert template.turn((ASK, ANSWER), (), 1)[1] == "</think>It is 2.<|im_end|>"
    call = {"id": "a", "type": "function", "function": {"name": "add", "arguments": {}}}
    talk = (ASK, Message("assistant", "", extra={"tool_calls": [call]}))
    assert template.turn(talk, (), 1)[1] == "<think>add<|im_end|>"


def test_after_the_result_of_a_tool_the_prompt_ends_as_it_does_there() -> None:
    # DeepSeek V3: the answer goes on behind the result, without a header.
    source = "{% for m in messages %}{% if m.role == 'tool' %}({{ m.content }}){% else %}"
    source += "{{ '[' + m.role + ']' if loop.first or loop.previtem.role != 'tool' else '+' }}"
    source += "{% for c in m.tool_calls or [] %}{{ c.function.name }}!{% endfor %}{{ m.content }}</s>"
    source += "{% endif %}{% endfor %}{% if add_generation_prompt %}[assistant]<think>{% endif %}"
    template = ChatTemplate.load(made(source))
    call = {"id": "a", "type": "function", "function": {"name": "add", "arguments": {}}}
    calls, result = Message("assistant", "", extra={"tool_calls": [call]}), Message("tool", "7")
    talk = (ASK, calls, result, ANSWER)
    assert template.turn(talk, (), 1) == ("[user]1 + 1?</s>[assistant]", "add!</s>")
    assert template.turn(talk, (), 3) == ("[user]1 + 1?</s>[assistant]add!</s>(7)+", "It is 2.</s>")


def test_quotes_and_backslashes_in_the_end_of_a_prompt() -> None:
    header = "{{ '\\'\\\\\"' }}[ROLE]"
    source = f"{{% for m in messages %}}{header}{{{{ m.content }}}}</s>{{% endfor %}}".replace(
        "ROLE", "{{ m.role }}"
    )
    source += f"{{% if add_generation_prompt %}}{header}<think>{{% endif %}}".replace("ROLE", "assistant")
    assert ChatTemplate.load(made(source)).turn((ASK, ANSWER), (), 1)[0].endswith("</s>'\\\"[assistant]")


class Clock:
    """Stands for ``datetime`` where transformers asks for the day."""

    day = 1

    @classmethod
    def now(cls) -> datetime.datetime:
        return datetime.datetime(2026, 11, cls.day)


@pytest.mark.parametrize("call", ["strftime_now('%d %b %Y')", 'strftime_now( "%d %b %Y" )'])
def test_a_date_is_the_same_on_every_day(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_template_utils, "datetime", Clock)
    dated = f"{{% if strftime_now is defined %}}Today: {{{{ {call} }}}}\n{{% endif %}}{CHATML}"

    def prompts(source: str, folder: Path, *, is_loaded: bool) -> list[str]:
        said = []
        for Clock.day in (1, 2):
            template = made(source)
            if is_loaded:
                template = elsewhere(ChatTemplate.load(template), folder / str(Clock.day))
            said.append(template.apply_chat_template([ASK.as_dict()], tokenize=False))
        return said

    first, second = prompts(dated, tmp_path, is_loaded=False)
    assert first.startswith("Today: 01 Nov 2026\n")
    assert second.startswith("Today: 02 Nov 2026\n")
    first, second = prompts(dated, tmp_path, is_loaded=True)
    assert first == second
    assert first.startswith(f"Today: {DATE:%d %b %Y}\n<|im_start|>user")
    notice = ChatTemplate.load(made(dated)).notice
    assert "writes the day's date: it is fixed at 2024-07-26, in training, in inference" in str(notice)


def test_all_that_was_added_is_said_in_the_language_of_the_person(monkeypatch: pytest.MonkeyPatch) -> None:
    source = "{{ strftime_now('%Y') }}" + SWITCHED.replace("m.content }}", "m.content | trim }}")
    parts = str(ChatTemplate.load(made(source)).notice).split(". The chat")
    assert len(parts) == 3
    monkeypatch.setenv("ATTUNE_LANG", "zh")
    notice = str(ChatTemplate.load(made(source)).notice)
    assert "现固定为 2024-07-26" in notice
    assert "对话模板开头加上了 {% set enable_thinking" in notice
    assert "去掉回答首尾的空白" in notice


def test_a_template_that_nothing_makes_exact_keeps_its_prompt() -> None:
    source = "{{ 1 / 0 }} enable_thinking tools"
    broken = made(source)
    assert settle(broken) == settle(broken, True) == settle(broken, False) == []
    assert broken.chat_template == source
