"""A chat template is checked, refused in words, and gives each answer after exactly what inference sees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attune.data.encode import Encoder, Policy
from attune.data.examples import Conversation, Message, RowError
from attune.data.template import ChatTemplate, TemplateError, problems

from .tiny import CHATML, tokenizer

ASK, ANSWER = Message("user", "1 + 1?"), Message("assistant", "It is 2.")
SYSTEM = Message("system", "Be kind.")
TURN = "{% for m in messages %}[{{ m.role }}]{{ m.content }}"


def test_the_models_own_comes_first_and_needs_no_notice() -> None:
    template = ChatTemplate.load(tokenizer())
    assert (template.name, template.notice, template.suffix) == ("model", None, "<|im_end|>")
    assert template.stop == "<|im_end|>"
    assert template.stop_ids == {template.stop_id, template.tokenizer.eos_token_id}
    assert template.closing == ""


def test_one_of_several_templates_of_a_model() -> None:
    made = tokenizer()
    made.chat_template = {"rag": "{{ 1 / 0 }}", "default": CHATML}
    ChatTemplate.load(made)
    assert made.chat_template == CHATML


def test_a_jinja_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.jinja"
    path.write_text("\ufeff" + CHATML, encoding="utf-8")
    made = tokenizer(template="something else")
    assert ChatTemplate.load(made, str(path)).name == str(path)
    assert made.chat_template == CHATML


@pytest.mark.parametrize(
    ("template", "check", "words"),
    [
        (TURN + "{% endfor %}", "no_stop_token", "writes no stop token after an answer (it writes '')"),
        ("{{ raise_exception('tools first') }}", "fails", "fails on a plain question and answer"),
        ("{% for m in messages %}", "fails", "fails on a plain question and answer"),
        ("{{ 1 / 0 }}", "fails", "division by zero"),
        ("{{ messages[9].content }}", "fails", "has no element 9"),
        ("{{ messages[0]['content'].nothing() }}", "fails", "no attribute 'nothing'"),
        (
            # It always asks, and no switch that it knows changes how.
            TURN + "</s>{% endfor %}[assistant]<think>",
            "differs_from_inference",
            "does not begin with what the model sees when it must answer "
            "('>[assistant]<think>' against '>[assistant]2</s>[assistant]<think>')",
        ),
        (
            TURN + "{{ strftime_now(m.role) }}</s>{% endfor %}",
            "differs_from_inference",
            "its prompt changes with the date, which it asks for in a way that cannot be fixed",
        ),
        ("{{ bos_token }}<s>" + TURN + "</s>{% endfor %}", "double_bos", "start token twice"),
        (
            "[x]{% for m in messages %}{{ m.content | upper }}</s>{% endfor %}",
            "alters_answer",
            "does not write the answer as it stands",
        ),
        (
            TURN.replace("m.content", "m.content | replace('\n\n', '\n')") + "</s>{% endfor %}",
            "alters_answer",
            "does not write the answer as it stands",
        ),
    ],
)
def test_a_template_that_is_not_exact_is_refused(template: str, check: str, words: str) -> None:
    made = tokenizer(template=template, bos=True)
    found = problems(made)
    assert made.chat_template == template
    with pytest.raises(TemplateError) as caught:
        ChatTemplate.load(made)
    text = str(caught.value)
    assert words in text
    assert "model.template=<name or .jinja file>; named ones: alpaca, chatml, " in text
    assert caught.value.names == [problem.name for problem in found] == [f"template_{check}"]
    assert words in found[0].text


def test_all_that_is_wrong_with_a_template_is_said_at_once() -> None:
    source = (
        "{{ bos_token }}<s>"
        + TURN.replace("m.content", "m.content | replace('\n\n', ' ')")
        + "</s>{% endfor %}"
    )
    names = [problem.name for problem in problems(tokenizer(template=source, bos=True))]
    assert names == ["template_alters_answer", "template_double_bos"]
    assert problems(tokenizer()) == []


def test_a_tokenizer_that_encodes_its_prompt_otherwise() -> None:
    class Odd(type(tokenizer())):  # type: ignore[misc]
        def apply_chat_template(self, *args: Any, tokenize: bool = True, **options: Any) -> Any:
            made = super().apply_chat_template(*args, tokenize=tokenize, **options)
            return made[1:] if tokenize else made

    made = tokenizer()
    made.__class__ = Odd
    assert [problem.name for problem in problems(made)] == ["template_ids_differ"]
    assert "other ids for the prompt than for its text" in problems(made)[0].text


def test_a_system_message_that_the_template_does_not_take() -> None:
    refusal = "{% if m.role == 'system' %}{{ raise_exception('No system') }}{% endif %}"
    refuses = CHATML.replace("%}<", "%}" + refusal + "<", 1)
    ignores = CHATML.replace("%}<", "%}{% if m.role != 'system' %}<", 1)
    ignores = ignores.replace("{% endfor", "{% endif %}{% endfor")
    for source in (refuses, ignores):
        template = ChatTemplate.load(tokenizer(template=source))
        assert template.silent == (
            {"system", "tools", "tool_calls", "reasoning"} if source is ignores else template.silent
        )
        with pytest.raises(
            RowError, match=r"takes no system message .*: put its text into the first turn of the user"
        ):
            template.render([SYSTEM, ASK])
        assert template.render([ASK])


def test_what_a_template_would_leave_out_is_refused() -> None:
    template = ChatTemplate.load(tokenizer())
    assert template.silent == {"tools", "tool_calls", "reasoning"}
    with pytest.raises(RowError, match="would leave out: tools; choose another with"):
        template.render([ASK], [{"type": "function"}])
    calling = Message("assistant", "", extra={"tool_calls": [{"function": {"name": "f", "arguments": {}}}]})
    with pytest.raises(RowError, match="would leave out: tool_calls"):
        template.render([ASK, calling])
    with pytest.raises(RowError, match="would leave out: reasoning"):
        template.render([ASK, replace(ANSWER, extra={"reasoning_content": "One and one."})])


def test_a_stop_that_the_template_leaves_to_the_next_turn() -> None:
    # As GLM does: an answer ends where the next turn's header begins.
    source = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
    source += "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    made = tokenizer(("<|user|>", "<|assistant|>", "<|system|>"), source)
    template = ChatTemplate.load(made)
    assert (template.stop, template.suffix, template.closing) == ("<|user|>", "<|user|>", "<|user|>")
    talk = Conversation((ASK, ANSWER, Message("user", "Sure?"), Message("assistant", "Yes.")))
    ((piece,), ((ids, learn),)) = pieces(Encoder(made, template, Policy(512)), talk)
    assert made.decode(piece.prompt) == "<|user|>1 + 1?<|assistant|>"
    learnt = made.decode([token for token, is_learnt in zip(ids, learn, strict=True) if is_learnt])
    assert learnt == "It is 2.<|user|>Yes.<|user|>"


def test_limits_of_a_tokenizer_file_cut_nothing() -> None:
    made = tokenizer()
    made.backend_tokenizer.enable_truncation(4)
    made.backend_tokenizer.enable_padding(length=64)
    template = ChatTemplate.load(made)
    assert made.decode(template.ids("What is the capital of France?")) == "What is the capital of France?"


def pieces(encoder: Encoder, talk: Conversation) -> Any:
    done = encoder.encode(talk)
    assert done.rejected is None, done.rejected
    return done.segments, [branch for piece in done.segments for branch in piece.branches]


def test_a_turn_by_hand() -> None:
    talk = (SYSTEM, ASK, ANSWER, Message("user", "Sure?"), Message("assistant", " Yes. "))
    template = ChatTemplate.load(tokenizer())
    assert template.notice is None
    asked = (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n1 + 1?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert template.turn(talk, (), 2) == (asked, "It is 2.<|im_end|>")
    asked += "It is 2.<|im_end|>\n<|im_start|>user\nSure?<|im_end|>\n<|im_start|>assistant\n"
    assert template.turn(talk, (), 4) == (asked, " Yes. <|im_end|>")


THINKS = "{{ m.content.split('</think>')[-1].strip() }}"


@pytest.mark.parametrize(
    ("written", "content", "is_held"),
    [
        ("{{ m.content | trim }}", " Yes.\n", True),
        (THINKS, "<think>Well.</think>Yes.", False),
        (THINKS, "<think>Yes.</think>Yes.", False),
        ("{{ m.content | replace('</think>', '\n</think>\n\n') }}", "<think>Well.</think>Yes.", True),
        ("{{ 'No.' if m.content == 'Yes.' else m.content }}", "Yes.", False),
    ],
)
def test_an_answer_must_be_written_as_it_stands(written: str, content: str, is_held: bool) -> None:
    source = CHATML.replace("{{ m.content }}", written)
    template = ChatTemplate.load(tokenizer(template=source))
    talk = (ASK, Message("assistant", content))
    if is_held:
        _, answer = template.turn(talk, (), 1)
        assert [word for word in ("Well.", "Yes.") if word in content] == [
            word for word in ("Well.", "Yes.") if word in answer
        ]
    else:
        with pytest.raises(RowError, match=r"writes the answer of turn 2 otherwise than the data; choose"):
            template.turn(talk, (), 1)


def test_white_space_that_a_template_takes_away_is_said() -> None:
    template = ChatTemplate.load(tokenizer(template=CHATML.replace("m.content }}", "m.content | trim }}")))
    assert template.notice is not None
    assert "takes away white space at the ends of an answer: it is not learnt" in template.notice
    assert template.turn((ASK, Message("assistant", " Yes.\n")), (), 1)[1] == "Yes.<|im_end|>"


def test_a_turn_that_does_not_fit_its_prompt() -> None:
    late = CHATML.replace("{{ m.content }}", "{{ m.content }}{{ 'late' if loop.length > 3 and loop.first }}")
    template = ChatTemplate.load(tokenizer(template=late))
    with pytest.raises(RowError, match="renders the answer of turn 4 otherwise than inference would"):
        template.turn((ASK, ANSWER, ASK, ANSWER), (), 3)
    closed = CHATML.replace("assistant\n{% endif", "assistant\n<think></think>{% endif")
    thought = (
        "{% if m.role == 'assistant' %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}"
    )
    template = ChatTemplate.load(tokenizer(template=closed.replace("{{ m.content }}", thought)))
    assert template.turn((ASK, ANSWER), (), 1)[1] == "It is 2.<|im_end|>"
    with pytest.raises(
        RowError, match=r"turn 2 carries reasoning, for which the chat template's prompt has no place"
    ):
        template.turn((ASK, replace(ANSWER, extra={"reasoning_content": "Well."})), (), 1)


def test_the_stop_token_stands_at_the_end_and_nowhere_else() -> None:
    template = ChatTemplate.load(tokenizer())
    with pytest.raises(RowError, match="turn 2 holds the stop token </s> before its end"):
        template.turn((ASK, Message("assistant", "a</s>b")), (), 1)
    endless = CHATML.replace("<|im_end|>", "{% if m.content != 'on' %}<|im_end|>{% endif %}")
    with pytest.raises(RowError, match="writes no stop token after turn 2"):
        ChatTemplate.load(tokenizer(template=endless)).turn((ASK, Message("assistant", "on")), (), 1)
    # A configuration's number may be an ordinary word of this tokenizer, or none at all.
    made = tokenizer()
    template = ChatTemplate.load(made, extra_stop_ids=[made.convert_tokens_to_ids("I"), 99_999])
    assert template.turn((ASK, Message("assistant", "I: None.")), (), 1)[1] == "I: None.<|im_end|>"


def test_a_system_text_that_is_written_before_the_last_question_only() -> None:
    # As Mistral does: with an answer behind it, the system's text is gone.
    source = (
        "{% set system = messages[0].content if messages[0].role == 'system' else '' %}"
        "{% for m in messages if m.role != 'system' %}[{{ m.role }}]"
        "{{ system if m.role == 'user' and loop.last }}{{ m.content }}</s>{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    template = ChatTemplate.load(tokenizer(template=source))
    assert template.turn((SYSTEM, ASK, ANSWER), (), 2) == (
        "[user]Be kind.1 + 1?</s>[assistant]",
        "It is 2.</s>",
    )


def calling(arguments: Any) -> Message:
    call = {"id": "a", "type": "function", "function": {"name": "add", "arguments": arguments}}
    return Message("assistant", "", extra={"tool_calls": [call]})


CALLS = "{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.name }}ARGUMENTS{% endfor %}"


@pytest.mark.parametrize(
    ("arguments", "as_text"),
    [
        ("{{ c.function.arguments | tojson }}", False),
        ("{{ c.function.arguments }}", True),  # an object would be written as Python writes it
        ("{{ '' + c.function.arguments }}", True),  # an object would be an error
    ],
)
def test_arguments_of_tool_calls_as_the_template_takes_them(arguments: str, as_text: bool) -> None:
    source = CHATML.replace("{{ m.content }}", CALLS.replace("ARGUMENTS", arguments))
    template = ChatTemplate.load(tokenizer(template=source))
    assert template.as_text == as_text
    assert template.silent == {"tools", "reasoning"}
    for given in ({"a": [1, True, "二"]}, '{"a": [1, true, "二"]}')[: 1 + as_text]:
        answer = template.turn((ASK, calling(given)), (), 1)[1]
        assert answer == 'add{"a": [1, true, "二"]}<|im_end|>'


def test_tool_calls_that_end_in_a_token_of_their_own() -> None:
    source = CHATML.replace("{{ m.content }}", CALLS.replace("ARGUMENTS", "()"))
    source = source.replace("<|im_end|>", "{{ '<|call|>' if m.tool_calls else '<|im_end|>' }}")
    template = ChatTemplate.load(tokenizer(("<|im_start|>", "<|im_end|>", "<|call|>"), source))
    assert template.stop == "<|im_end|>"
    assert template.call_stop_id in template.stop_ids
    assert template.turn((ASK, calling({})), (), 1)[1] == "add()<|call|>"
    assert template.turn((ASK, ANSWER), (), 1)[1] == "It is 2.<|im_end|>"


def test_of_several_stop_tokens_in_a_row_the_tokenizers_end_token() -> None:
    source = CHATML.replace("<|im_end|>", "<|end|><|im_end|>")
    made = tokenizer(("<|im_start|>", "<|im_end|>", "<|end|>"), source)
    assert ChatTemplate.load(made).suffix == "<|end|>"
    made = tokenizer(("<|im_start|>", "<|im_end|>", "<|end|>"), source, eos="<|im_end|>")
    assert ChatTemplate.load(made).suffix == "<|end|><|im_end|>"
