"""From an example to token ids, with the learnt tokens marked.

A conversation becomes one example: its prompt is what precedes the first answer, its one branch is everything
from there on, and in the branch each answer and its stop token are learnt. That is exact only where each
rendering of the conversation begins with the rendering that was shorter by a turn, token for token. Where a
template writes history another way than the present (dropped reasoning, say), or where the whole is too long,
every answer becomes an example of its own, whose prompt is what inference would see.

Answers that are compared or judged keep their prompt once, each as a branch of it. A prompt to sample from
and a labelled input are prompts without a branch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ..recipe.messages import say
from .examples import (
    Conversation,
    Example,
    Labelled,
    Message,
    Messages,
    Preference,
    Prompt,
    RowError,
    Text,
    Tools,
)
from .images import ImageReader
from .labels import Labels, Task
from .layout import Segments
from .template import ChatTemplate

Overlong = Literal["keep_prompt_end", "cut_answer", "drop", "stop"]


@dataclass(frozen=True, slots=True)
class Policy:
    """What the person chose about encoding; part of the cache's key."""

    max_length: int
    overlong: Overlong = "keep_prompt_end"
    learn: Literal["answers", "last_answer"] = "answers"
    system: str | None = None
    task: Task | Literal["auto"] = "auto"
    """What the labels are."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """What became of one example: its segments, and which of the named things happened to it."""

    segments: tuple[Segments, ...] = ()
    rejected: str | None = None
    """Why nothing of it can be used."""
    prompt_cut: int = 0
    """Tokens lost from the beginning of prompts."""
    answers_cut: int = 0
    """Answers cut at the limit; their stop token is not learnt."""
    by_turn: bool = False
    """Laid as one example an answer."""
    too_long: bool = False
    """Rejected because it does not fit."""
    broken: str | None = None
    """The rule that a rejected one breaks, by its name."""
    num_prompt: int = field(default=0, compare=False)
    """Tokens that are given, before anything was cut; of a conversation by turns, its longest prompt's."""
    num_learnt: int = field(default=0, compare=False)
    """Tokens that are learnt, of all branches, before anything was cut."""
    num_longest: int = field(default=0, compare=False)
    """Tokens of the prompt and its longest branch, before anything was cut: what must fit the window."""


class TooLong(RowError):  # noqa: N818 (it is what became of the row, no fault of it)
    """An answer does not fit, whatever is done to its prompt; ``measured`` holds its lengths."""

    def __init__(self, reason: str, measured: Encoded) -> None:
        super().__init__(reason, "too_long")
        self.measured = measured


@dataclass(frozen=True, slots=True)
class Encoder:
    """Encodes examples one by one; holds no state, so that many processes may share the work."""

    tokenizer: Any
    """Of transformers; an ``ImageReader`` for a model of images."""
    template: ChatTemplate | None
    policy: Policy
    labels: Labels | None = None
    """What labels become; without it they are not read."""

    def encode(self, example: Example) -> Encoded:
        """Never raises for a row: a row that cannot be used says why in ``rejected``."""
        try:
            return self._encode(example)
        except TooLong as error:
            return replace(error.measured, rejected=str(error), too_long=True, broken=error.name)
        except RowError as error:
            return Encoded(rejected=str(error), broken=error.name)

    def _encode(self, example: Example) -> Encoded:
        if isinstance(example, Text):
            windows = tuple(self._text(example.text))
            num = sum(window.num_tokens - 1 for window in windows)
            return Encoded(windows, num_learnt=num, num_longest=num + 1)
        if isinstance(example, Conversation):
            return self._conversation(example)
        if isinstance(example, Labelled):
            return self._labelled(example)
        assert self.template is not None, "turns need a chat template"
        if isinstance(example, Prompt):
            messages = self._with_system(example.messages)
            return self._fitted([Segments(self.template.prompt_ids(messages, example.tools), ())])
        if isinstance(example, Preference):
            answers, value = example.answers, math.nan if example.margin is None else example.margin
        else:
            answers, value = (example.answer,), float(example.is_good)
        piece = self._branches(self._with_system(example.prompt), answers, example.tools)
        return self._fitted([replace(piece, values=(value,))])

    def _with_system(self, messages: Messages) -> Messages:
        """With the system message that the person gives to conversations without one."""
        if self.policy.system is None or any(message.role == "system" for message in messages):
            return messages
        return (Message("system", self.policy.system), *messages)

    def _labelled(self, example: Labelled) -> Encoded:
        """The tokens of a text, or of a pair as the tokenizer joins them. Of one that is too long the
        beginning goes (or the end, with ``cut_answer``), never what the tokenizer puts around it.
        """
        values = () if self.labels is None else self.labels.values(example.label)
        if isinstance(self.tokenizer, ImageReader) or example.image is not None:
            return self._image(example, values)
        given = (example.text,) if example.pair is None else (example.text, example.pair)
        written = self.tokenizer(*given, return_special_tokens_mask=True)
        ids, limit = list(written["input_ids"]), self.policy.max_length
        measured = Encoded(num_prompt=len(ids), num_longest=len(ids))
        excess = len(ids) - limit
        if excess > 0:
            own = [place for place, mark in enumerate(written["special_tokens_mask"]) if not mark]
            if self.policy.overlong in ("drop", "stop") or len(own) < excess:
                raise TooLong(_too_long(len(ids), 0, limit), measured)
            lost = set(own[:excess] if self.policy.overlong == "keep_prompt_end" else own[-excess:])
            ids = [token for place, token in enumerate(ids) if place not in lost]
        return replace(measured, segments=(Segments(ids, (), values),), prompt_cut=max(0, excess))

    def _image(self, example: Labelled, values: tuple[float, ...]) -> Encoded:
        """What stands for the image. Raises RowError where model and example are not both of images."""
        if example.image is None:
            raise RowError(
                say(
                    "a text, and this model reads images: name a model of texts, or the column of the paths "
                    "(data.train: [{{path: …, columns: {{image_path: <column>}}}}])",
                    "这是文本，而该模型读取图片：请换用文本模型，或指明图片路径所在的列"
                    "（data.train: [{{path: …, columns: {{image_path: <列名>}}}}]）",
                ),
                "text_in_image_data",
            )
        if not isinstance(self.tokenizer, ImageReader):
            raise RowError(
                say(
                    "an image, and this model reads texts: name a model of images, such as "
                    "google/vit-base-patch16-224",
                    "这是图片，而该模型读取文本：请换用图片模型，如 google/vit-base-patch16-224",
                ),
                "image_in_text_data",
            )
        ids = self.tokenizer.ids(example.image)
        segments = (Segments(ids, (), values, image=example.image),)
        return Encoded(segments, num_prompt=len(ids), num_longest=len(ids))

    def _branches(self, prompt: Messages, answers: Sequence[Messages], tools: Tools) -> Segments:
        """One prompt and a branch an answer, whose assistant's turns are learnt."""
        branches: list[tuple[Sequence[int], Sequence[bool]]] = []
        asked: Sequence[int] = ()
        for answer in answers:
            messages = (*prompt, *answer)
            places = [place for place in _answers(messages) if place >= len(prompt)]
            whole = self._whole(messages, tools, places)
            if whole is None or (asked and list(asked) != list(whole.prompt)):
                raise RowError(
                    say(
                        "the chat template writes earlier turns of an answer otherwise than inference sees "
                        "them: compare single answers",
                        "对话模板改写了回答中较早的轮次，与推理时不同：请只比较单轮回答",
                    ),
                    "history_rewritten",
                )
            asked = whole.prompt
            branches += whole.branches
        return Segments(asked, tuple(branches))

    def _text(self, text: str) -> list[Segments]:
        """A document: every token that has one before it is learnt, and the end token. A long one is cut into
        windows that overlap by one token, so that each is learnt exactly once; nothing is lost.
        """
        if not text.strip():
            raise RowError(say("no text", "没有文本"), "empty_text")
        ids = list(self.tokenizer(text)["input_ids"])
        end = self.tokenizer.eos_token_id
        if end is not None and ids[-1:] != [end]:
            ids.append(end)
        if len(ids) < 2:
            raise RowError(
                say("a single token: nothing follows it that could be learnt", "只有一个 token，无可学习"),
                "nothing_learnt",
            )
        size = self.policy.max_length
        windows = (ids[start : start + size] for start in range(0, len(ids) - 1, size - 1))
        return [Segments((), ((window, [True] * len(window)),)) for window in windows]

    def _conversation(self, conversation: Conversation) -> Encoded:
        messages = self._with_system(conversation.messages)
        learnt = [place for place in _answers(messages) if messages[place].learn]
        if self.policy.learn == "last_answer":
            learnt = learnt[-1:]
        if not learnt:
            raise RowError(say("no answer to learn", "没有可学习的回答"), "nothing_learnt")
        whole = self._whole(messages, conversation.tools, learnt)
        if whole is not None and (
            whole.num_tokens <= self.policy.max_length or self.policy.overlong != "keep_prompt_end"
        ):
            return self._fitted([whole])
        return self._fitted(self._by_turn(messages, conversation.tools, learnt))

    def _fitted(self, pieces: Sequence[Segments]) -> Encoded:
        """The pieces within the limit, and what that took."""
        longest = max(range(len(pieces)), key=lambda place: _longest(pieces[place]))
        learnt = sum(sum(marks) for piece in pieces for _, marks in piece.branches)
        measured = Encoded(
            by_turn=len(pieces) > 1,
            num_prompt=_given(pieces[longest]),
            num_learnt=learnt,
            num_longest=_longest(pieces[longest]),
        )
        fitted = [self._fit(piece, measured) for piece in pieces]
        return replace(
            measured,
            segments=tuple(piece for piece, _, _ in fitted),
            prompt_cut=sum(cut for _, cut, _ in fitted),
            answers_cut=sum(is_cut for _, _, is_cut in fitted),
        )

    def _whole(
        self, messages: Sequence[Message], tools: Sequence[Any], learnt: Sequence[int]
    ) -> Segments | None:
        """The conversation as one example, or None where that would differ from what inference sees."""
        prompt: list[int] = []
        ids: list[int] = []
        learn: list[bool] = []
        for place in learnt:
            asked, answered = self._turn(messages, tools, place)
            if not ids:
                prompt = ids = asked
                learn = [False] * len(ids)
            elif asked[: len(ids)] != ids:
                return None
            learn = learn + [False] * (len(asked) - len(learn)) + [True] * len(answered)
            ids = asked + answered
        start = len(prompt)
        return Segments(ids[:start], ((ids[start:], learn[start:]),))

    def _by_turn(
        self, messages: Sequence[Message], tools: Sequence[Any], learnt: Sequence[int]
    ) -> list[Segments]:
        """One example an answer, each with the prompt that inference would see."""
        turns = (self._turn(messages, tools, place) for place in learnt)
        return [Segments(asked, ((answered, [True] * len(answered)),)) for asked, answered in turns]

    def _turn(
        self, messages: Sequence[Message], tools: Sequence[Any], place: int
    ) -> tuple[list[int], list[int]]:
        """Ids of the prompt of the answer at ``place`` and of that answer with its stop token."""
        template = self.template
        assert template is not None, "conversations need a chat template"
        prompt, answer = template.turn(messages, tools, place)
        asked, both = template.ids(prompt), template.ids(prompt + answer)
        if both[: len(asked)] == asked:
            answered = both[len(asked) :]
        else:
            answered = self._answer_alone(asked, both, answer, place)
        if not template.stop_ids.issuperset(answered[-1:]):
            raise RowError(_no_stop(place), "template_no_stop_token")
        return asked, answered

    def _answer_alone(self, asked: list[int], both: list[int], answer: str, place: int) -> list[int]:
        """The answer's ids where the tokenizer would merge the end of the prompt with its beginning, which
        inference cannot. A special token before it keeps a tokenizer from writing the space of a text's
        beginning; what comes out must be the same text.
        """
        template = self.template
        assert template is not None
        wanted = self.tokenizer.decode(both)
        anchored = template.ids(template.stop + answer)[1:]
        for answered in (anchored, template.ids(answer)):
            if self.tokenizer.decode(asked + answered) == wanted:
                return answered
        raise RowError(
            say(
                "the tokenizer cannot write the answer of turn {turn} apart from its prompt",
                "分词器无法将第 {turn} 轮回答与其提示分开编码",
                turn=place + 1,
            ),
            "answer_not_separable",
        )

    def _fit(self, piece: Segments, measured: Encoded) -> tuple[Segments, int, bool]:
        """The piece within the limit, the prompt tokens that were lost, and whether an answer was cut."""
        limit, policy = self.policy.max_length, self.policy.overlong
        num, prompt = _longest(piece), len(piece.prompt)
        if num <= limit:
            return piece, 0, False
        room = limit - prompt
        if policy == "cut_answer" and room > 0 and all(any(learn[:room]) for _, learn in piece.branches):
            cut = tuple((ids[:room], learn[:room]) for ids, learn in piece.branches)
            return replace(piece, branches=cut), 0, True
        keep = limit - (num - prompt)
        if policy == "keep_prompt_end" and keep > 0:
            return replace(piece, prompt=piece.prompt[-keep:]), prompt - keep, False
        raise TooLong(_too_long(prompt, num - prompt, limit), measured)


def _answers(messages: Sequence[Message]) -> list[int]:
    return [place for place, message in enumerate(messages) if message.role == "assistant"]


def _longest(piece: Segments) -> int:
    """Tokens of the prompt and its longest branch: the places that the model's window must hold."""
    return len(piece.prompt) + max((len(ids) for ids, _ in piece.branches), default=0)


def _given(piece: Segments) -> int:
    """Tokens of the longest branch and its prompt that are not learnt."""
    longest = max(piece.branches, key=lambda branch: len(branch[0]), default=((), ()))
    return len(piece.prompt) + len(longest[0]) - sum(longest[1])


def _too_long(prompt: int, answer: int, limit: int) -> str:
    return say(
        "{num:,} tokens (prompt {prompt:,}, answer {answer:,}), the limit is {limit:,}; "
        "data.overlong=cut_answer cuts the answer, and data.max_length may be as large as the "
        "model's window",
        "{num:,} 个 token（提示 {prompt:,}，回答 {answer:,}），上限 {limit:,}；"
        "data.overlong=cut_answer 会截断回答，data.max_length 最大可到模型窗口",
        num=prompt + answer,
        prompt=prompt,
        answer=answer,
        limit=limit,
    )


def _no_stop(place: int) -> str:
    return say(
        "the chat template writes no stop token after turn {turn}",
        "对话模板在第 {turn} 轮之后没有停止符",
        turn=place + 1,
    )
