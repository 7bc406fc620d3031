"""A conversation with a model: the history is kept, the answer arrives piece by piece."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..data.examples import Message, RowError
from ..models.load import Loaded, load_for_inference
from ..recipe.errors import DataError
from ..recipe.messages import say
from ..recipe.schema import Generation
from .decode import window
from .stream import Memory, TextPieces, stream


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and what the model answered (as far as it came, where the person interrupted it)."""

    question: str
    answer: str


class Chat:
    """``system`` may change between turns; ``on_notice`` gets sentences for the person (default: the log)."""

    def __init__(
        self,
        loaded: Loaded,
        system: str | None = None,
        generation: Generation | None = None,
        on_notice: Callable[[str], None] | None = None,
    ) -> None:
        self.loaded = loaded
        self.system = system
        self.generation = Generation() if generation is None else generation
        self.on_notice = logging.getLogger("attune").warning if on_notice is None else on_notice
        self.turns: list[Turn] = []
        self._memory = Memory()

    @classmethod
    def load(
        cls,
        path: str,
        system: str | None = None,
        generation: Generation | None = None,
        on_notice: Callable[[str], None] | None = None,
    ) -> Chat:
        """``path``: a run, an adapter or a model folder, or a hub id. Raises ModelError if it is no use."""
        return cls(load_for_inference(path), system, generation, on_notice)

    def say(self, text: str) -> Iterator[str]:
        """The answer in pieces of whole characters; it joins the history when they end or are
        abandoned.

        Raises DataError for an empty message, for one that fills the model's window, and where the model's
        template refuses the conversation.
        """
        if not text.strip():
            raise DataError(
                say(
                    "The message is empty - a model answers words - type some.",
                    "消息为空——模型需要文字才能回答——请输入内容。",
                )
            )
        prompt = self._fit(text)
        pieces, answer, is_whole = TextPieces(self.loaded.tokenizer), "", False
        try:
            tokens = stream(
                self.loaded.model, prompt, self.generation, self.loaded.template.stop_ids, self._memory
            )
            for token in tokens:
                if piece := pieces.add(token):
                    answer += piece
                    yield piece
            if piece := pieces.end():
                answer += piece
                yield piece
            is_whole = True
        finally:
            if is_whole or answer:
                self.turns.append(Turn(text, answer))

    def undo(self) -> Turn | None:
        """Forgets the last turn and returns it; None where there is none."""
        return self.turns.pop() if self.turns else None

    def reset(self) -> None:
        """Forgets all turns; the system message stays."""
        self.turns.clear()

    def messages(self) -> list[Message]:
        """The conversation so far, with the system message."""
        messages = [] if self.system is None else [Message("system", self.system)]
        for turn in self.turns:
            messages += [Message("user", turn.question), Message("assistant", turn.answer)]
        return messages

    def _fit(self, text: str) -> list[int]:
        """The prompt's tokens, with room for an answer; drops the oldest turns where the window is full."""
        most = window(self.loaded.model)
        prompt = self._prompt(text)
        if most is None:
            return prompt
        room = min(self.generation.max_new_tokens, most // 4)
        num_dropped = 0
        while len(prompt) + room > most and num_dropped < len(self.turns):
            num_dropped += 1
            prompt = self._prompt(text, num_dropped)
        if len(prompt) >= most:
            raise DataError(
                say(
                    "The message has {got} tokens with its frame and the system message - the model's window "
                    "of {most} must hold it and an answer - shorten it.",
                    "消息连同格式与系统消息共 {got} 个 token——模型窗口 {most} 须同时容纳消息与回答——请缩短。",
                    got=len(prompt),
                    most=most,
                )
            )
        if num_dropped:
            del self.turns[:num_dropped]
            self.on_notice(
                say(
                    "The model's window of {most} tokens is full: oldest turns dropped: {count}. "
                    "The system message stays.",
                    "模型窗口（{most} 个 token）已满：丢弃了最早的 {count} 轮对话，系统消息保留。",
                    most=most,
                    count=num_dropped,
                )
            )
        return prompt

    def _prompt(self, text: str, num_dropped: int = 0) -> list[int]:
        history = self.messages()
        first = 0 if self.system is None else 1
        del history[first : first + 2 * num_dropped]
        return prompt_ids(self.loaded, [*history, Message("user", text)])


def prompt_ids(loaded: Loaded, messages: list[Message], place: str = "") -> list[int]:
    """What the model is given to answer ``messages``. Raises DataError, beginning with ``place``, where the
    model's template refuses them.
    """
    try:
        return loaded.template.prompt_ids(messages)
    except RowError as error:
        raise DataError(
            say(
                "{place}The conversation cannot be put to this model: {reason} - roles: {roles} - leave out "
                "what the template refuses (often the system message).",
                "{place}无法向该模型提出这段对话：{reason}——角色：{roles}——请去掉模板拒绝的部分（常为系统消息）。",
                place=place,
                reason=error,
                roles=" → ".join(message.role for message in messages),
            )
        ) from None
