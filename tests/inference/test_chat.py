"""Chat and the front door: history, undo, a full window, refusals, and loading from a folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import attune
from attune.data.examples import Message
from attune.data.template import ChatTemplate
from attune.inference.chat import Chat, Turn
from attune.inference.generate import generate
from attune.models.load import Loaded
from attune.recipe.errors import DataError
from attune.recipe.schema import Generation

SHORT = Generation(max_new_tokens=8)


def test_an_answer_is_that_of_generate(talker: Loaded) -> None:
    chat = Chat(talker, system="Be brief.", generation=SHORT)
    first = "".join(chat.say("你好"))
    assert first
    assert [first] == generate(talker, ["你好"], SHORT, system="Be brief.")
    second = "".join(chat.say("And now?"))
    history = [
        Message("system", "Be brief."),
        Message("user", "你好"),
        Message("assistant", first),
        Message("user", "And now?"),
    ]
    assert [second] == generate(talker, [history], SHORT)
    assert chat.messages() == [*history, Message("assistant", second)]


def test_undo_takes_back_one_turn_and_reset_all(talker: Loaded) -> None:
    chat = Chat(talker, system="S", generation=SHORT)
    first = "".join(chat.say("1"))
    second = "".join(chat.say("2"))
    assert chat.undo() == Turn("2", second)
    assert "".join(chat.say("2")) == second
    chat.reset()
    assert chat.messages() == [Message("system", "S")]
    assert chat.undo() is None
    assert "".join(chat.say("1")) == first


def test_an_interrupted_answer_is_kept_as_far_as_it_came(talker: Loaded) -> None:
    chat = Chat(talker, generation=Generation(max_new_tokens=60))
    pieces = chat.say("Hello")
    assert isinstance(pieces, Iterator)
    begun = next(pieces)
    pieces.close()
    assert chat.turns == [Turn("Hello", begun)]


def test_a_full_window_drops_the_oldest_turns_and_says_so(talker: Loaded) -> None:
    told: list[str] = []
    chat = Chat(talker, system="KEEP", generation=SHORT, on_notice=told.append)
    chat.turns = [Turn("x" * 40, "y" * 40), Turn("z" * 20, "w" * 20)]
    "".join(chat.say("v" * 40))
    assert told == [
        "The model's window of 256 tokens is full: oldest turns dropped: 1. The system message stays."
    ]
    assert [message.content for message in chat.messages()[:3]] == ["KEEP", "z" * 20, "w" * 20]


def test_the_notice_is_bilingual(talker: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTUNE_LANG", "zh")
    told: list[str] = []
    chat = Chat(talker, generation=SHORT, on_notice=told.append)
    chat.turns = [Turn("x" * 150, "y" * 40)]
    "".join(chat.say("v" * 40))
    assert told == ["模型窗口（256 个 token）已满：丢弃了最早的 1 轮对话，系统消息保留。"]


def test_a_message_that_fills_the_window_is_refused_and_nothing_is_lost(talker: Loaded) -> None:
    chat = Chat(talker, generation=SHORT)
    chat.turns = [Turn("a", "b")]
    with pytest.raises(DataError, match=r"The message has 3\d\d tokens .* window of 256 .* - shorten it\."):
        "".join(chat.say("x" * 300))
    assert chat.turns == [Turn("a", "b")]


def test_an_empty_message_is_refused(talker: Loaded) -> None:
    with pytest.raises(DataError, match="The message is empty - a model answers words - type some"):
        next(Chat(talker).say(" \n"))


REFUSES_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{{ '<' + m.role + '>' + m.content + ('<eos>' if m.role == 'assistant' else '') }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)


def test_a_template_that_refuses_is_quoted(talker: Loaded) -> None:
    talker.tokenizer.chat_template = REFUSES_SYSTEM
    strict = replace(talker, template=ChatTemplate.load(talker.tokenizer))
    with pytest.raises(DataError) as caught:
        next(Chat(strict, system="S").say("Hello"))
    assert "System role not supported" in str(caught.value)
    assert "roles: system → user - leave out what the template refuses" in str(caught.value)
    with pytest.raises(DataError, match=r"^Prompt 2: The conversation cannot be put to this model"):
        generate(strict, [[Message("user", "a")], [Message("system", "S"), Message("user", "b")]])


def test_samples(talker: Loaded) -> None:
    generation = Generation(max_new_tokens=6, temperature=1.0)
    answers = generate(talker, ["a", "b"], generation, num_samples=3)
    assert [len(samples) for samples in answers] == [3, 3]
    assert [samples[0] for samples in answers] == generate(talker, ["a", "b"], generation)


def test_one_string_is_not_a_list(talker: Loaded) -> None:
    with pytest.raises(DataError, match=r"prompts is one string - a list .* - write \['Hello'\]\."):
        generate(talker, "Hello")


def test_a_system_message_is_only_added(talker: Loaded) -> None:
    own = [Message("system", "mine"), Message("user", "q")]
    assert generate(talker, [own], SHORT, system="other") == generate(talker, [own], SHORT)


def test_from_a_folder(talker: Loaded, tmp_path: Path) -> None:
    talker.model.save_pretrained(tmp_path)
    talker.tokenizer.save_pretrained(tmp_path)
    expected = generate(talker, ["你好"], SHORT)
    assert attune.generate(str(tmp_path), ["你好"], SHORT) == expected
    assert ["".join(Chat.load(str(tmp_path), generation=SHORT).say("你好"))] == expected
