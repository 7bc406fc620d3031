"""From examples to token ids: exactly the answers and their stop tokens are learnt, whatever the text."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attune.data.encode import Encoded, Encoder, Policy
from attune.data.examples import Conversation, Message, Text
from attune.data.layout import Segments
from attune.data.template import ChatTemplate

from .tiny import CHATML, tokenizer

TOKENIZER = tokenizer()
TEMPLATE = ChatTemplate.load(TOKENIZER)
STOP = "<|im_end|>"
# Qwen3's habit: reasoning is written in the last answer only.
FORGETFUL = tokenizer(
    template=CHATML.replace(
        "{{ m.content }}",
        "{{ m.content if m.role != 'assistant' or loop.last else m.content.split('</think>')[-1] }}",
    )
)


def encoder(made: Any = TOKENIZER, **policy: Any) -> Encoder:
    template = TEMPLATE if made is TOKENIZER else ChatTemplate.load(made)
    return Encoder(made, template, Policy(**{"max_length": 4096, **policy}))


def talk(*contents: str, system: str | None = None) -> Conversation:
    """User and assistant in turns."""
    turns = [Message("system", system)] if system is not None else []
    turns += [Message(("user", "assistant")[place % 2], text) for place, text in enumerate(contents)]  # type: ignore[arg-type]
    return Conversation(tuple(turns))


def learnt(piece: Segments, made: Any = TOKENIZER) -> str:
    ((ids, learn),) = piece.branches
    return str(made.decode([token for token, is_learnt in zip(ids, learn, strict=True) if is_learnt]))


def everything(piece: Segments, made: Any = TOKENIZER) -> str:
    ((ids, _),) = piece.branches
    return str(made.decode([*piece.prompt, *ids]))


def only(done: Encoded) -> Segments:
    assert done.rejected is None, done.rejected
    (piece,) = done.segments
    return piece


def test_one_turn_by_hand() -> None:
    piece = only(encoder().encode(talk("1 + 1?", "2")))
    assert TOKENIZER.decode(piece.prompt) == "<|im_start|>user\n1 + 1?<|im_end|>\n<|im_start|>assistant\n"
    ((ids, learn),) = piece.branches
    assert TOKENIZER.decode(ids) == "2<|im_end|>"
    assert list(learn) == [True] * len(ids)


def test_turns_are_one_example() -> None:
    done = encoder().encode(talk("a?", "b.", "c?", "d.", "e?", "f.", system="Be kind."))
    piece = only(done)
    assert learnt(piece) == f"b.{STOP}d.{STOP}f.{STOP}"
    assert (
        everything(piece)
        == TEMPLATE.render(talk("a?", "b.", "c?", "d.", "e?", "f.", system="Be kind.").messages)[:-1]
    )
    assert TOKENIZER.decode(piece.prompt).endswith("a?<|im_end|>\n<|im_start|>assistant\n")
    assert done == Encoded((piece,))


# Newlines and spaces, which merge over the border of prompt and answer, and the whole of Unicode.
CONTENT = st.one_of(
    st.text(st.sampled_from("\n \ta.你é😀"), min_size=1, max_size=12),
    st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30),
).filter(lambda text: "<|im_" not in text and "</s>" not in text)


@settings(max_examples=150, deadline=None)
@given(contents=st.lists(CONTENT, min_size=2, max_size=7), system=st.none() | CONTENT)
def test_exactly_the_answers_are_learnt(contents: list[str], system: str | None) -> None:
    conversation = talk(*contents[: len(contents) // 2 * 2], system=system)
    turns = conversation.messages
    places = [place for place, turn in enumerate(turns) if turn.role == "assistant"]
    done = encoder().encode(conversation)
    assert done.rejected is None
    assert "".join(learnt(piece) for piece in done.segments) == "".join(
        turns[p].content + STOP for p in places
    )
    assert len(done.segments) in (1, len(places))
    if len(done.segments) > 1:
        for piece, place in zip(done.segments, places, strict=True):
            assert list(piece.prompt) == TEMPLATE.prompt_ids(turns[:place])
    else:
        prefix_of = [*done.segments[0].prompt, *done.segments[0].branches[0][0]]
        for place in places:
            asked = TEMPLATE.prompt_ids(turns[:place])
            assert prefix_of[: len(asked)] == asked


def test_a_token_over_the_border_is_split_as_inference_splits_it() -> None:
    piece = only(encoder().encode(talk("Hi", "\n\n1 + 1")))
    whole = TEMPLATE.ids("assistant\n\n\n1")
    assert whole[: len(TEMPLATE.ids("assistant\n"))] != TEMPLATE.ids("assistant\n")  # it would merge
    assert list(piece.prompt) == TEMPLATE.prompt_ids([Message("user", "Hi")])
    assert learnt(piece) == "\n\n1 + 1" + STOP


def test_a_template_that_forgets_reasoning_goes_by_turn() -> None:
    done = encoder(FORGETFUL).encode(talk("a?", "<think>x</think>b", "c?", "<think>y</think>d"))
    assert done.by_turn
    first, second = done.segments
    assert learnt(first, FORGETFUL) == "<think>x</think>b<|im_end|>"
    assert learnt(second, FORGETFUL) == "<think>y</think>d<|im_end|>"
    seen = FORGETFUL.decode(second.prompt)
    assert "<|im_start|>assistant\nb<|im_end|>" in seen
    assert "think" not in seen


def test_weight_0_is_read_and_not_learnt() -> None:
    a, b, c, d = talk("a?", "b.", "c?", "d.").messages
    piece = only(encoder().encode(Conversation((a, Message("assistant", "b.", learn=False), c, d))))
    assert learnt(piece) == "d." + STOP
    assert everything(piece) == everything(only(encoder().encode(Conversation((a, b, c, d)))))
    # After the last learnt answer nothing is needed.
    piece = only(encoder().encode(Conversation((a, b, c, Message("assistant", "d.", learn=False)))))
    assert everything(piece).endswith("b." + STOP)
    nothing = Conversation((a, Message("assistant", "b.", learn=False)))
    assert encoder().encode(nothing).rejected == "no answer to learn"


def test_learn_last_answer() -> None:
    piece = only(encoder(learn="last_answer").encode(talk("a?", "b.", "c?", "d.")))
    assert learnt(piece) == "d." + STOP
    assert "b." in everything(piece)


def test_default_system_message() -> None:
    piece = only(encoder(system="Be kind.").encode(talk("a?", "b.")))
    assert everything(piece).startswith("<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user")
    piece = only(encoder(system="Be kind.").encode(talk("a?", "b.", system="Be rude.")))
    assert "Be kind." not in everything(piece)


def test_an_answer_that_holds_the_stop_token_is_refused() -> None:
    done = encoder().encode(talk("a?", "b", "c?", "yes<|im_end|>no"))
    assert done.rejected is not None
    assert (
        "the answer of turn 4 holds the stop token <|im_end|> before its end: generation would stop there"
        in done.rejected
    )
    assert encoder().encode(talk("what is <|im_end|>?", "b")).rejected is None


def test_the_templates_refusal_is_the_reason() -> None:
    source = CHATML.replace(
        "%}<", "%}{% if m.role == 'system' %}{{ raise_exception('No system') }}{% endif %}<", 1
    )
    done = encoder(tokenizer(template=source), system="Be kind.").encode(talk("a?", "b"))
    assert done.rejected is not None
    assert "takes no system message (the chat template refuses it: No system)" in done.rejected


LONG = talk("x" * 30, "yy")  # lengths are taken from the tokens themselves below


def sizes(conversation: Conversation) -> tuple[int, int]:
    piece = only(encoder().encode(conversation))
    return len(piece.prompt), len(piece.branches[0][0])


def test_overlong_keep_prompt_end() -> None:
    prompt, answer = sizes(LONG)
    limit = prompt + answer - 3
    done = encoder(max_length=limit).encode(LONG)
    piece = only(done)
    assert list(piece.prompt) == list(only(encoder().encode(LONG)).prompt)[3:]
    assert learnt(piece) == "yy" + STOP
    assert done.prompt_cut == 3
    assert not done.by_turn


def test_overlong_history_before_the_only_learnt_answer() -> None:
    conversation = talk("a" * 30, "b" * 30, "c?", "d.")
    done = encoder(max_length=20, learn="last_answer").encode(conversation)
    piece = only(done)
    assert piece.num_tokens == 20
    assert learnt(piece) == "d." + STOP
    whole = only(encoder(learn="last_answer").encode(conversation))
    assert [*piece.prompt, *piece.branches[0][0]] == [*whole.prompt, *whole.branches[0][0]][-20:]
    assert done.prompt_cut == whole.num_tokens - 20
    assert not done.by_turn


def test_overlong_cut_answer() -> None:
    conversation = talk("xx", "y" * 40)
    prompt, answer = sizes(conversation)
    done = encoder(max_length=prompt + answer - 2, overlong="cut_answer").encode(conversation)
    piece = only(done)
    assert TOKENIZER.decode(piece.prompt).startswith("<|im_start|>user\nxx")
    assert piece.num_tokens == prompt + answer - 2
    assert STOP not in learnt(piece)
    assert ("y" * 40).startswith(learnt(piece))
    assert done.answers_cut == 1


@pytest.mark.parametrize("overlong", ["drop", "stop"])
def test_overlong_drop_and_stop(overlong: Any) -> None:
    prompt, answer = sizes(LONG)
    done = encoder(max_length=prompt + answer - 1, overlong=overlong).encode(LONG)
    assert done.too_long
    assert done.segments == ()
    assert done.rejected == (
        f"{prompt + answer} tokens (prompt {prompt}, answer {answer}), the limit is {prompt + answer - 1}; "
        "data.overlong=cut_answer cuts the answer, and data.max_length may be as large as the model's window"
    )
    assert encoder(max_length=prompt + answer, overlong=overlong).encode(LONG).rejected is None


def test_an_answer_longer_than_the_limit_is_never_cut_in_silence() -> None:
    done = encoder(max_length=16).encode(talk("x", "y" * 60))
    assert done.too_long
    assert done.rejected is not None
    done = encoder(max_length=16, overlong="cut_answer").encode(talk("x" * 60, "y"))
    assert done.too_long  # the prompt alone fills the limit


def test_a_long_conversation_goes_by_turn() -> None:
    conversation = talk("a" * 10, "b" * 10, "c" * 10, "d" * 10)
    whole = only(encoder().encode(conversation))
    done = encoder(max_length=whole.num_tokens - 1).encode(conversation)
    assert done.by_turn
    assert [learnt(piece) for piece in done.segments] == ["b" * 10 + STOP, "d" * 10 + STOP]
    assert done.prompt_cut == 1
    cut = encoder(max_length=whole.num_tokens - 1, overlong="cut_answer").encode(conversation)
    assert learnt(only(cut)) == "b" * 10 + STOP + "d" * 10


@settings(deadline=None)
@given(
    text=st.text(st.characters(exclude_categories=("Cs",)), min_size=2, max_size=80), size=st.integers(8, 30)
)
def test_every_token_of_a_text_is_learnt_once(text: str, size: int) -> None:
    done = Encoder(TOKENIZER, None, Policy(size)).encode(Text(text))
    if not text.strip():
        assert done.rejected == "no text"
        return
    whole = [*TOKENIZER(text)["input_ids"], TOKENIZER.eos_token_id]
    targets: list[int] = []
    for piece in done.segments:
        ((ids, learn),) = piece.branches
        assert not piece.prompt
        assert all(learn)
        assert 2 <= len(ids) <= size
        targets += ids[1:]
    assert targets == whole[1:]


def test_texts_at_their_borders() -> None:
    endless = Encoder(tokenizer(eos=None), None, Policy(8))
    assert "a single token" in str(endless.encode(Text("a")).rejected)
    begun = tokenizer(bos=True)
    ((ids, _),) = only(Encoder(begun, None, Policy(32)).encode(Text("a"))).branches
    assert begun.decode(ids) == "<s>a</s>"
