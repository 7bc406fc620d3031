"""From an example to token ids, with the learnt tokens marked.

A conversation becomes one example: its prompt is what precedes the first answer, its one branch is everything
from there on, and in the branch each answer and its stop token are learnt. That is exact only where each
rendering of the conversation begins with the rendering that was shorter by a turn, token for token. Where a
template writes history another way than the present (dropped reasoning, say), or where the whole is too long,
every answer becomes an example of its own, whose prompt is what inference would see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..recipe.messages import say
from .examples import Conversation, Example, Message, RowError, Text
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


class TooLong(RowError):  # noqa: N818 (it is what became of the row, no fault of it)
    """An answer does not fit, whatever is done to its prompt."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """Encodes examples one by one; holds no state, so that many processes may share the work."""

    tokenizer: Any
    template: ChatTemplate | None
    policy: Policy

    def encode(self, example: Example) -> Encoded:
        """Never raises for a row: a row that cannot be used says why in ``rejected``."""
        try:
            if isinstance(example, Text):
                return Encoded(tuple(self._text(example.text)))
            return self._conversation(example)
        except TooLong as error:
            return Encoded(rejected=str(error), too_long=True)
        except RowError as error:
            return Encoded(rejected=str(error))

    def _text(self, text: str) -> list[Segments]:
        """A document: every token that has one before it is learnt, and the end token. A long one is cut into
        windows that overlap by one token, so that each is learnt exactly once; nothing is lost.
        """
        if not text.strip():
            raise RowError(say("no text", "没有文本"))
        ids = list(self.tokenizer(text)["input_ids"])
        end = self.tokenizer.eos_token_id
        if end is not None and ids[-1:] != [end]:
            ids.append(end)
        if len(ids) < 2:
            raise RowError(
                say("a single token: nothing follows it that could be learnt", "只有一个 token，无可学习")
            )
        size = self.policy.max_length
        windows = (ids[start : start + size] for start in range(0, len(ids) - 1, size - 1))
        return [Segments((), ((window, [True] * len(window)),)) for window in windows]

    def _conversation(self, conversation: Conversation) -> Encoded:
        messages = conversation.messages
        if self.policy.system is not None and all(message.role != "system" for message in messages):
            messages = (Message("system", self.policy.system), *messages)
        answers = [place for place, message in enumerate(messages) if message.role == "assistant"]
        learnt = [place for place in answers if messages[place].learn]
        if self.policy.learn == "last_answer":
            learnt = learnt[-1:]
        if not learnt:
            raise RowError(say("no answer to learn", "没有可学习的回答"))
        for place in learnt:
            self._must_not_stop_early(messages[place], place)
        whole = self._whole(messages, conversation.tools, answers, set(learnt))
        if whole is not None and whole.num_tokens <= self.policy.max_length:
            return Encoded((whole,))
        if whole is not None and self.policy.overlong != "keep_prompt_end":
            pieces = [whole]
        else:
            pieces = self._by_turn(messages, conversation.tools, learnt)
        fitted = [self._fit(piece) for piece in pieces]
        return Encoded(
            tuple(piece for piece, _, _ in fitted),
            prompt_cut=sum(cut for _, cut, _ in fitted),
            answers_cut=sum(is_cut for _, _, is_cut in fitted),
            by_turn=len(pieces) > 1,
        )

    def _must_not_stop_early(self, message: Message, place: int) -> None:
        assert self.template is not None, "conversations need a chat template"
        if self.template.stop in message.content:
            raise RowError(
                say(
                    "the answer of turn {turn} holds the stop token {stop}: the model would learn to stop "
                    "there; take it out",
                    "第 {turn} 轮回答中含有停止符 {stop}：模型会学会在那里停下；请将其删除",
                    turn=place + 1,
                    stop=self.template.stop,
                )
            )

    def _whole(
        self, messages: Sequence[Message], tools: Sequence[Any], answers: Sequence[int], learnt: set[int]
    ) -> Segments | None:
        """The conversation as one example, or None where that would differ from what inference sees."""
        prompt: list[int] = []
        ids: list[int] = []
        learn: list[bool] = []
        for place in answers:
            if place > max(learnt):
                break
            asked, answered = self._turn(messages, tools, place)
            if not ids:
                prompt = ids = asked
                learn = [False] * len(ids)
            elif asked[: len(ids)] != ids:
                return None
            learn = learn + [False] * (len(asked) - len(learn)) + [place in learnt] * len(answered)
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
        before = template.render(messages[:place], tools, generation_prompt=True)
        after = template.render(messages[: place + 1], tools) + template.closing
        if not after.startswith(before):
            raise RowError(
                say(
                    "the chat template renders the answer of turn {turn} otherwise than inference would",
                    "对话模板对第 {turn} 轮回答的渲染与推理时不同",
                    turn=place + 1,
                )
            )
        stop = after.rfind(template.suffix)
        if stop < len(before):
            raise RowError(_no_stop(place))
        after = after[: stop + len(template.suffix)]
        asked, both = template.ids(before), template.ids(after)
        if both[: len(asked)] == asked:
            answered = both[len(asked) :]
        else:
            answered = self._answer_alone(asked, both, after[len(before) :], place)
        if answered[-1:] != [template.stop_id]:
            raise RowError(_no_stop(place))
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
            )
        )

    def _fit(self, piece: Segments) -> tuple[Segments, int, bool]:
        """The piece within the limit, the prompt tokens that were lost, and whether its answer was cut."""
        limit, policy = self.policy.max_length, self.policy.overlong
        if piece.num_tokens <= limit:
            return piece, 0, False
        ((ids, learn),) = piece.branches
        if policy == "cut_answer" and len(piece.prompt) < limit:
            room = limit - len(piece.prompt)
            if any(learn[:room]):
                return Segments(piece.prompt, ((ids[:room], learn[:room]),)), 0, True
        if policy == "keep_prompt_end" and len(ids) < limit:
            keep = limit - len(ids)
            return Segments(piece.prompt[-keep:], ((ids, learn),)), len(piece.prompt) - keep, False
        raise TooLong(
            say(
                "{num:,} tokens (prompt {prompt:,}, answer {answer:,}), the limit is {limit:,}; "
                "data.overlong=cut_answer cuts the answer, and data.max_length may be as large as the "
                "model's window",
                "{num:,} 个 token（提示 {prompt:,}，回答 {answer:,}），上限 {limit:,}；"
                "data.overlong=cut_answer 会截断回答，data.max_length 最大可到模型窗口",
                num=piece.num_tokens,
                prompt=len(piece.prompt),
                answer=len(ids),
                limit=limit,
            )
        )


def _no_stop(place: int) -> str:
    return say(
        "the chat template writes no stop token after turn {turn}",
        "对话模板在第 {turn} 轮之后没有停止符",
        turn=place + 1,
    )
