"""Chat templates: chosen, checked, refused in words; every real one is exact or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from attune.data.encode import Encoder, Policy
from attune.data.examples import Conversation, Message, RowError
from attune.data.template import ChatTemplate, template_names
from attune.recipe.errors import ModelError

from .tiny import CHATML, stand_in, tokenizer

ASK, ANSWER = Message("user", "1 + 1?"), Message("assistant", "It is 2.")
SYSTEM = Message("system", "Be kind.")
LLAMA3 = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
TURN = "{% for m in messages %}[{{ m.role }}]{{ m.content }}"


def test_named_templates() -> None:
    assert template_names() == ["chatml", "llama3", "plain"]


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


@pytest.mark.parametrize(
    ("special", "name", "rendered"),
    [
        (
            ("<|im_start|>", "<|im_end|>"),
            "chatml",
            "<|im_start|>user\n1 + 1?<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            LLAMA3,
            "llama3",
            "<|start_header_id|>user<|end_header_id|>\n\n1 + 1?<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        ((), "plain", "### User:\n1 + 1?\n\n### Assistant:\n"),
    ],
)
def test_a_model_without_template_gets_a_named_one_and_says_so(
    special: tuple[str, ...], name: str, rendered: str
) -> None:
    made = tokenizer(special, None)
    template = ChatTemplate.load(made)
    assert template.name == name
    assert template.notice is not None
    assert f"no chat template; using '{name}'" in template.notice
    assert "model.template=<chatml, llama3, plain" in template.notice
    assert template.render([ASK], generation_prompt=True) == rendered
    assert made.chat_template  # it is saved with the model


@pytest.mark.parametrize("name", ["chatml", "llama3", "plain"])
@pytest.mark.parametrize("bos", [False, True])
def test_named_templates_begin_as_the_tokenizer_does(name: str, bos: bool) -> None:
    made = tokenizer(("<|im_start|>", "<|im_end|>", *LLAMA3), None, bos=bos)
    template = ChatTemplate.load(made, name)
    ids = template.prompt_ids([ASK])
    assert (made.convert_ids_to_tokens(ids[0]) == "<s>") == bos
    assert made.convert_ids_to_tokens(ids[1]) != "<s>"
    assert template.render([SYSTEM, ASK, ANSWER]).count("Be kind.") == 1


def test_a_jinja_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.jinja"
    path.write_text("\ufeff" + CHATML, encoding="utf-8")
    made = tokenizer(template="something else")
    assert ChatTemplate.load(made, str(path)).name == str(path)
    assert made.chat_template == CHATML


def refused(made: Any, name: str | None = None) -> str:
    with pytest.raises(ModelError) as caught:
        ChatTemplate.load(made, name)
    return str(caught.value)


def test_unknown_names_and_unusable_files(tmp_path: Path) -> None:
    text = refused(tokenizer(), "chatlm")
    assert "No chat template 'chatlm'. Named ones: chatml, llama3, plain; or give a .jinja file" in text
    assert "No chat template '../secret'" in refused(tokenizer(), "../secret")
    assert "No chat template" in refused(tokenizer(), str(tmp_path / "absent.jinja"))
    latin = tmp_path / "latin.jinja"
    latin.write_bytes(b"caf\xe9")
    assert "cannot be read" in refused(tokenizer(), str(latin))
    text = refused(tokenizer(()), "chatml")
    assert "needs the tokens <|im_start|>, <|im_end|>, which this tokenizer does not have" in text
    assert "model.template=plain" in text
    assert "names none. Set eos_token" in refused(tokenizer((), None, eos=None), "plain")


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (TURN + "{% endfor %}", "writes no stop token after an answer (it writes '')"),
        ("{{ raise_exception('tools first') }}", "fails on a plain question and answer"),
        ("{% for m in messages %}", "fails on a plain question and answer"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ messages[9].content }}", "has no element 9"),
        ("{{ messages[0]['content'].nothing() }}", "no attribute 'nothing'"),
        (
            TURN + "</s>{% endfor %}{% if add_generation_prompt %}[assistant]<think>{% endif %}",
            "does not begin with what the model sees when it must answer "
            "('>[assistant]<think>' against '>[assistant]2</s>')",
        ),
        ("{{ bos_token }}<s>" + TURN + "</s>{% endfor %}", "start token twice"),
        (
            "[x]{% for m in messages %}{{ m.content | upper }}</s>{% endfor %}",
            "does not write the answer as it stands",
        ),
    ],
)
def test_a_template_that_is_not_exact_is_refused(template: str, words: str) -> None:
    text = refused(tokenizer(template=template, bos=True))
    assert words in text
    assert "model.template=<name or .jinja file>; named ones: chatml, llama3, plain" in text


def test_a_system_message_that_the_template_does_not_take() -> None:
    refusal = "{% if m.role == 'system' %}{{ raise_exception('No system') }}{% endif %}"
    refuses = CHATML.replace("%}<", "%}" + refusal + "<", 1)
    ignores = CHATML.replace("%}<", "%}{% if m.role != 'system' %}<", 1)
    ignores = ignores.replace("{% endfor", "{% endif %}{% endfor")
    for source in (refuses, ignores):
        template = ChatTemplate.load(tokenizer(template=source))
        assert template.silent == (
            {"system", "tools", "tool_calls"} if source is ignores else template.silent
        )
        with pytest.raises(
            RowError, match=r"takes no system message .*: put its text into the first turn of the user"
        ):
            template.render([SYSTEM, ASK])
        assert template.render([ASK])


def test_what_a_template_would_leave_out_is_refused() -> None:
    template = ChatTemplate.load(tokenizer())
    assert template.silent == {"tools", "tool_calls"}
    with pytest.raises(RowError, match="would leave out: tools; choose another with"):
        template.render([ASK], [{"type": "function"}])
    calling = Message("assistant", "", extra={"tool_calls": [{"function": {"name": "f", "arguments": {}}}]})
    with pytest.raises(RowError, match="would leave out: tool_calls"):
        template.render([ASK, calling])


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


def test_every_real_template_is_exact_or_refused(shared: Path) -> None:
    folder = shared / "data" / "tok_chat_templates"
    turns = (ASK, ANSWER, Message("user", "再问：2 + 2？"), Message("assistant", "四。\nIt is 4."))
    exact = []
    for path in sorted(folder.glob("*/*.jinja")):
        source = path.read_text(encoding="utf-8")
        if path.parent.name == "chujiezheng":  # whose files are indented for reading; their README says so
            source = source.replace("    ", "").replace("\n", "")
        made = stand_in(source)
        template = load_or_sentence(made)
        if template is None:
            continue
        check_exact(made, template, turns)
        exact.append(path.stem)
    assert len(exact) >= 50, exact
    wanted = {
        "Qwen-Qwen3-0.6B",
        "google-gemma-2-2b-it",
        "openai-gpt-oss-120b",
        "GLM-4.6",
        "llama-2-chat",
        "zephyr",
    }
    assert wanted <= set(exact)


def load_or_sentence(made: Any) -> ChatTemplate | None:
    """The template, or None where it is refused in words that tell what to do; anything else is an error."""
    try:
        return ChatTemplate.load(made)
    except ModelError as refusal:
        words = str(refusal)
    assert "model.template=<name or .jinja file>" in words, made.chat_template
    return None


def check_exact(made: Any, template: ChatTemplate, turns: tuple[Message, ...]) -> None:
    """Each answer is learnt once, with its stop token, after exactly what inference sees."""
    done = Encoder(made, template, Policy(100_000)).encode(Conversation(turns))
    assert done.rejected is None, (made.chat_template, done.rejected)
    seen = []
    for piece in done.segments:
        ((ids, learn),) = piece.branches
        row, marks = [*piece.prompt, *ids], [False] * len(piece.prompt) + list(learn)
        for place, is_learnt in enumerate(marks):
            if is_learnt and not marks[place - 1]:
                end = next((p for p in range(place, len(row)) if not marks[p]), len(row))
                seen.append((row[:place], row[place:end]))
    assert len(seen) == 2
    for (prompt, answer), place in zip(seen, (1, 3), strict=True):
        assert prompt == template.prompt_ids(turns[:place])
        assert answer[-1] == template.stop_id
        text = made.decode(answer)
        assert turns[place].content in text
        assert text.endswith(template.suffix)
