"""The check from the front doors: data, and the model that it is for, to a report; and rows as tokens."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..data import check as checks
from ..data.check import Report
from ..data.encode import Encoder
from ..data.examples import (
    Example,
    Labelled,
    Origin,
    Preference,
    Text,
    answers_of,
    kind_of_example,
    prompt_of,
)
from ..data.images import ImageReader
from ..data.layout import Segments
from ..data.sources import OnProgress, Stream, Taken
from ..data.template import ChatTemplate
from ..models.inputs import load_input
from ..models.load import load_config
from ..recipe import plugs
from ..recipe.errors import DataError, RecipeError
from ..recipe.messages import say
from ..recipe.schema import Data, Model
from .parts import encode_policy, has_reasoning

PRIVATE = "private"
"""The family of findings that looks for personal data."""

Is = Literal["given", "learnt", "stop"]


@dataclass(frozen=True, slots=True)
class Part:
    """A prompt or a branch: its tokens in order, each with what it is. Without a model: its turns."""

    title: str
    pieces: tuple[tuple[str, Is], ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """A row as the model will see it, or the reason why it cannot be used."""

    origin: Origin
    kind: str
    parts: tuple[Part, ...] = ()
    reason: str | None = None


def check(
    data: Data,
    model: Model | None = None,
    kind: str | None = None,
    *,
    private: bool = True,
    sample: int | None = checks.LARGE_SAMPLE,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Report:
    """What would make training on ``data`` wrong. ``kind``: a name of ``examples.KINDS``, or None for
    whatever the data is; ``private`` False leaves personal data alone; ``sample``: so many examples are
    compared with each other for near duplicates (None: all).

    Raises ModelError for a model that cannot be opened, RecipeError for an unknown name in ``data.accept``.
    """
    families = set(plugs.names("findings")) - (set() if private else {PRIVATE})
    return checks.check(
        data,
        kind,
        _encoder_of(data, model),
        seed=seed,
        families=families,
        sample=sample,
        on_progress=on_progress,
    )


def show(data: Data, model: Model | None = None, kind: str | None = None, num: int = 3) -> list[Shown]:
    """The first ``num`` rows as the model will see them. Raises DataError where no file can be read,
    ModelError for a model or template that cannot be used.
    """
    stream = Stream(data.train, kind)
    rows = list(itertools.islice(stream, num))
    if not rows and stream.problems:
        raise DataError(stream.problems)
    make = _encoder_of(data, model)
    encoder = make(stream.kind or "conversation") if make else None
    return [_shown(taken, encoder) for taken in rows]


def _encoder_of(data: Data, model: Model | None) -> Callable[[str], Encoder] | None:
    """Makes the encoder once the kind of the data is known; the model itself is opened at once."""
    if model is None:
        return None
    config = load_config(model)
    tokenizer, policy = load_input(model, config), encode_policy(data, config)

    def encoder(kind: str) -> Encoder:
        has_turns = kind not in ("text", "labelled")
        if not has_turns:
            return Encoder(tokenizer, None, policy)
        if isinstance(tokenizer, ImageReader):
            raise RecipeError(
                say(
                    "{model} reads images, and the data is of the kind {kind}. Name a language model, or "
                    "data of images and labels.",
                    "{model} 读取图片，而数据类型是 {kind}。请换用语言模型，或使用带标签的图片数据。",
                    model=model.path,
                    kind=kind,
                )
            )
        template = ChatTemplate.load(tokenizer, model.template, reasoning=has_reasoning(data, kind))
        return Encoder(tokenizer, template, policy)

    return encoder


def _shown(taken: Taken, encoder: Encoder | None) -> Shown:
    if taken.example is None:
        assert taken.rejected is not None
        return Shown(taken.origin, "", reason=taken.rejected.reason)
    kind = kind_of_example(taken.example)
    if encoder is None or (isinstance(encoder.tokenizer, ImageReader) and kind == "labelled"):
        return Shown(taken.origin, kind, tuple(_turns(taken.example)))
    encoded = encoder.encode(taken.example)
    if encoded.rejected is not None:
        return Shown(taken.origin, kind, reason=encoded.rejected)
    parts: list[Part] = []
    for segments in encoded.segments:
        parts += _tokens(segments, encoder, isinstance(taken.example, Preference))
    return Shown(taken.origin, kind, tuple(parts))


def _tokens(segments: Segments, encoder: Encoder, is_ranked: bool) -> Iterator[Part]:
    """The prompt with its branch; where there are several branches, each apart."""
    stop = encoder.template.stop_id if encoder.template else encoder.tokenizer.eos_token_id
    given = list(segments.prompt), [False] * len(segments.prompt)
    if len(segments.branches) == 1:
        ((ids, learn),) = segments.branches
        yield Part("", _pieces(encoder.tokenizer, [*given[0], *ids], [*given[1], *learn], stop))
        return
    yield Part(say("prompt", "提示"), _pieces(encoder.tokenizer, *given, stop))
    for place, (ids, learn) in enumerate(segments.branches):
        yield Part(_branch(place, is_ranked), _pieces(encoder.tokenizer, ids, learn, stop))


def _branch(place: int, is_ranked: bool) -> str:
    if not is_ranked:
        return say("answer", "回答")
    return say("answer {rank}, the best first", "回答 {rank}（由好到差）", rank=place + 1)


def _pieces(
    tokenizer: Any, ids: Sequence[int], learn: Sequence[bool], stop: int | None
) -> tuple[tuple[str, Is], ...]:
    """Each token as text; tokens that are parts of one character are one piece."""
    pieces: list[tuple[str, Is]] = []
    waiting: list[int] = []
    for token, is_learnt in zip(ids, learn, strict=True):
        waiting.append(token)
        text = tokenizer.decode(waiting)
        if text.endswith("\ufffd") and len(waiting) < 4:
            continue
        pieces.append((text, "stop" if is_learnt and token == stop else "learnt" if is_learnt else "given"))
        waiting = []
    if waiting:
        pieces.append((tokenizer.decode(waiting), "learnt" if learn[-1] else "given"))
    return tuple(pieces)


def _turns(example: Example) -> Iterator[Part]:
    """The example without tokens: its texts, and which of them are learnt."""
    if isinstance(example, Text):
        yield Part("", ((example.text, "learnt"),))
    elif isinstance(example, Labelled):
        yield Part(say("input", "输入"), ((example.text or example.image or "", "given"),))
        if example.pair is not None:
            yield Part(say("second sentence", "第二句"), ((example.pair, "given"),))
        yield Part(say("label", "标签"), ((str(example.label), "learnt"),))
    else:
        for turn in prompt_of(example):
            yield Part(turn.role, ((turn.content, "given"),))
        for answer in answers_of(example):
            for turn in answer:
                is_learnt = turn.role == "assistant" and turn.learn
                yield Part(turn.role, ((turn.content, "learnt" if is_learnt else "given"),))
