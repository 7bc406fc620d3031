"""The chat template: what the model sees, the same in training and in inference, token for token.

Assistant spans are found by rendering prefixes of the conversation, never by searching for marker text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from ..recipe.errors import ModelError
from ..recipe.messages import join, say
from .examples import Message, RowError
from .named import choose, template_names
from .render import (
    find_call_stop,
    find_silent,
    find_stop,
    holds,
    render,
    token_ids,
    wants_text,
    with_text,
)
from .settle import is_dated, settle

_ASK, _ANSWER = Message("user", "1 + 1?"), Message("assistant", "2")
_VERBATIM = Message("assistant", '☃ a  b\n\n\n<b>&amp; "c"\\n {{d}}\t☃')
"""What a template could be tempted to write otherwise."""


class TemplateProblem(NamedTuple):
    """A check that a template did not pass: ``template_fails``, ``template_no_stop_token``,
    ``template_double_bos``, ``template_differs_from_inference``, ``template_alters_answer`` or
    ``template_ids_differ``; and what a person is told.
    """

    name: str
    text: str


class TemplateError(ModelError):
    """A chat template with which training and inference would see different tokens."""

    def __init__(self, text: str, found: Sequence[TemplateProblem]) -> None:
        super().__init__(text)
        self.found = list(found)

    @property
    def names(self) -> list[str]:
        """The checks that failed."""
        return [problem.name for problem in self.found]


@dataclass(frozen=True)
class ChatTemplate:
    """A template bound to a tokenizer. ``name`` is ``model`` for the model's own; ``notice`` is what a person
    must know about the choice and about what was added to it, or None.
    """

    tokenizer: Any
    name: str
    notice: str | None
    stop_id: int
    """The token after each answer: learnt in training, ends generation in inference."""
    suffix: str
    """What stands after an answer, up to and including the stop token."""
    stop_ids: frozenset[int]
    closing: str = ""
    """The end of ``suffix`` that the template writes only when a turn follows (GLM: ``<|user|>``)."""
    call_stop_id: int | None = None
    """The token after a turn of tool calls, where it is another one (gpt-oss: ``<|call|>``)."""
    as_text: bool = False
    """Whether the template takes the arguments of tool calls as JSON text."""
    silent: frozenset[str] = frozenset()
    """What the template leaves out without a word: ``system``, ``tools``, ``tool_calls``, ``tool`` turns,
    ``reasoning``.
    """

    @classmethod
    def load(
        cls,
        tokenizer: Any,
        name: str | None = None,
        extra_stop_ids: Sequence[int] = (),
        *,
        reasoning: bool | None = None,
    ) -> ChatTemplate:
        """Chooses the template, makes it exact (``settle``), writes it into ``tokenizer.chat_template`` (so
        that it is saved with the model) and checks it. ``reasoning``: whether the answers carry reasoning.

        Raises ModelError for an unknown name, TemplateError for a template that is not exact.
        """
        chosen, notices = choose(tokenizer, name)
        fast = getattr(tokenizer, "backend_tokenizer", None)
        if fast is not None:
            # A tokenizer file may carry limits of its own; nothing is cut or padded behind our back.
            fast.no_truncation()
            fast.no_padding()
        notices += settle(tokenizer, reasoning)
        suffix, closing, stop_id = _stop(tokenizer, chosen)
        as_text = wants_text(tokenizer)
        call_stop = find_call_stop(tokenizer, tokenizer.convert_ids_to_tokens(stop_id), closing, as_text)
        ends = (stop_id, call_stop, tokenizer.eos_token_id, *extra_stop_ids)
        stops = frozenset(token_id for token_id in ends if token_id is not None)
        template = cls(
            tokenizer,
            chosen,
            " ".join(notices) or None,
            stop_id,
            suffix,
            stops,
            closing=closing,
            call_stop_id=call_stop,
            as_text=as_text,
            silent=find_silent(tokenizer, as_text),
        )
        template._verify()
        return template

    @cached_property
    def stop(self) -> str:
        """The text of the stop token."""
        return str(self.tokenizer.convert_ids_to_tokens(self.stop_id))

    @cached_property
    def _stops(self) -> dict[int, str]:
        """The texts of the tokens that end an answer or a text; not of those that a configuration adds, whose
        numbers may be ordinary words of this tokenizer.
        """
        ends = (self.stop_id, self.call_stop_id, self.tokenizer.eos_token_id)
        return {end: str(self.tokenizer.convert_ids_to_tokens(end)) for end in ends if end is not None}

    def render(
        self, messages: Sequence[Message], tools: Sequence[Any] = (), *, generation_prompt: bool = False
    ) -> str:
        """The text. Raises RowError where the template refuses the conversation, with the template's own
        words, and where it would leave a part of it out.
        """
        if self.silent:
            self._must_write(messages, tools)
        chat = [message.as_dict() for message in messages]
        if self.as_text:
            chat = [with_text(message) for message in chat]
        try:
            return render(self.tokenizer, chat, list(tools) or None, generation_prompt)
        except RowError as error:
            if self._refuses_system(messages):
                raise _no_system(str(error)) from None
            raise

    def turn(self, messages: Sequence[Message], tools: Sequence[Any], place: int) -> tuple[str, str]:
        """The prompt that inference sees before the answer at ``place``, and the answer as it is learnt, with
        its stop token. Raises RowError where the two do not fit together, where generation would not stop at
        the answer's end or stop before it, and where the template writes other words than the answer's.
        """
        prompt = self.render(messages[:place], tools, generation_prompt=True)
        answer = self._following(prompt, messages[: place + 1], tools)
        if answer is None and messages[0].role == "system" and place > 1:
            # Mistral writes the system's text only before a user's turn that nothing follows: it is in the
            # prompt, and gone once there is an answer. What is written as the answer is the same without it.
            bare = self.render(messages[1:place], tools, generation_prompt=True)
            answer = self._following(bare, messages[1 : place + 1], tools)
        if answer is None:
            raise _other_prompt(messages[place], place)
        answer = self._ended(answer, place)
        if not holds(answer, messages[place].content):
            raise RowError(
                say(
                    "the chat template writes the answer of turn {turn} otherwise than the data; "
                    "choose another with model.template=<name or .jinja file>",
                    "对话模板写出的第 {turn} 轮回答与数据不同；"
                    "请用 model.template=<名称或 .jinja 文件> 换一个模板",
                    turn=place + 1,
                ),
                "template_alters_answer",
            )
        return prompt, answer

    def _following(self, prompt: str, messages: Sequence[Message], tools: Sequence[Any]) -> str | None:
        """What the template writes behind the prompt; None where it begins otherwise."""
        full = self.render(messages, tools) + self.closing
        return full[len(prompt) :] if full.startswith(prompt) else None

    def _ended(self, answer: str, place: int) -> str:
        """The answer up to and including its stop token."""
        stop = self.stop
        if stop not in answer and self.call_stop_id is not None:
            stop = self._stops[self.call_stop_id]
        words, found, _ = answer.rpartition(stop)
        if not found:
            raise RowError(
                say(
                    "the chat template writes no stop token after turn {turn}",
                    "对话模板在第 {turn} 轮之后没有停止符",
                    turn=place + 1,
                ),
                "template_no_stop_token",
            )
        for early in self._stops.values():
            if early in words:
                raise RowError(
                    say(
                        "the answer of turn {turn} holds the stop token {stop} before its end: generation "
                        "would stop there",
                        "第 {turn} 轮回答在结尾之前含有停止符 {stop}：生成会在那里停止",
                        turn=place + 1,
                        stop=early,
                    ),
                    "stop_token_in_answer",
                )
        return words + stop

    def ids(self, text: str) -> list[int]:
        """Token ids of rendered text; the template itself has written whatever begins a text."""
        return token_ids(self.tokenizer, text)

    def prompt_ids(self, messages: Sequence[Message], tools: Sequence[Any] = ()) -> list[int]:
        """What the model is given when it must answer."""
        return self.ids(self.render(messages, tools, generation_prompt=True))

    def _refuses_system(self, messages: Sequence[Message]) -> bool:
        """Whether it is the system message that the template does not take."""
        if not messages or messages[0].role != "system":
            return False
        question = {"role": "user", "content": "?"}
        try:
            render(self.tokenizer, [messages[0].as_dict(), question], None, True)
        except RowError:
            return True
        return False

    def _must_write(self, messages: Sequence[Message], tools: Sequence[Any]) -> None:
        present: set[str] = {message.role for message in messages}
        present |= {"tool_calls" for message in messages if message.extra.get("tool_calls")}
        present |= {"reasoning" for message in messages if message.is_reasoned}
        present |= {"tools"} if tools else set()
        lost = sorted(self.silent & present)
        if "system" in lost:
            raise _no_system(say("it would leave it out", "会将其略去"))
        if lost:
            raise RowError(
                say(
                    "the chat template would leave out: {lost}; choose another with "
                    "model.template=<name or .jinja file>",
                    "对话模板会略去：{lost}；请用 model.template=<名称或 .jinja 文件> 换一个",
                    lost=join(lost),
                ),
                "template_leaves_out",
            )

    def _verify(self) -> None:
        """Refuses a template with which training and inference would see different tokens."""
        try:
            found = list(self._problems())
        except RowError as error:
            raise _fails(self.name, str(error)) from None
        if found:
            text = say(
                "The chat template '{name}' cannot be trained exactly: {problems}. {choose}",
                "对话模板“{name}”无法精确训练：{problems}。{choose}",
                name=self.name,
                problems=join(problem.text for problem in found),
                choose=_choose_another(),
            )
            raise TemplateError(text, found)

    def _problems(self) -> Iterator[TemplateProblem]:
        prompt, full = self.render([_ASK], generation_prompt=True), self.render([_ASK, _ANSWER])
        theirs = self.tokenizer.apply_chat_template(
            [_ASK.as_dict()], add_generation_prompt=True, tokenize=True, return_dict=False
        )
        ids = self.ids(prompt)
        if list(theirs) != ids:
            text = say(
                "the tokenizer gives other ids for the prompt than for its text",
                "分词器对提示的编码与对其文本的编码不同",
            )
            yield TemplateProblem("template_ids_differ", text)
        if not full.startswith(prompt):
            text = say(
                "an answered conversation does not begin with what the model sees when it must answer "
                "({seen!r} against {full!r})",
                "含回答的渲染结果与推理时的提示开头不一致（{seen!r} 与 {full!r}）",
                **_where_they_part(prompt, full),
            )
            yield TemplateProblem("template_differs_from_inference", text)
        elif _VERBATIM.content not in self.render([_ASK, _VERBATIM])[len(prompt) :]:
            yield TemplateProblem("template_alters_answer", _alters())
        if is_dated(self.tokenizer.chat_template):
            text = say(
                "its prompt changes with the date, which it asks for in a way that cannot be fixed",
                "其提示随日期变化，且无法固定",
            )
            yield TemplateProblem("template_differs_from_inference", text)
        bos = self.tokenizer.bos_token_id
        if bos is not None and ids[:2] == [bos, bos]:
            text = say("the prompt begins with the start token twice", "提示开头有两个起始符")
            yield TemplateProblem("template_double_bos", text)


def problems(tokenizer: Any, name: str | None = None) -> list[TemplateProblem]:
    """The checks that the template fails, none for one that can be trained; the tokenizer stays as it is.

    Raises ModelError for an unknown name, or one that the tokenizer has no tokens for.
    """
    try:
        ChatTemplate.load(copy(tokenizer), name)
    except TemplateError as error:
        return error.found
    return []


def _stop(tokenizer: Any, name: str) -> tuple[str, str, int]:
    """``find_stop``, with its failures as TemplateError."""
    try:
        found = find_stop(tokenizer)
    except RowError as error:
        raise _fails(name, str(error)) from None
    if found is None:
        raise _fails(name, _alters(), "template_alters_answer")
    if not isinstance(found, str):
        return found
    text = say(
        "The chat template '{name}' writes no stop token after an answer (it writes {tail!r}): the model "
        "would never learn to stop. {choose}",
        "对话模板“{name}”在回答之后没有停止符（写的是 {tail!r}）：模型将学不会停下。{choose}",
        name=name,
        tail=found[:80],
        choose=_choose_another(),
    )
    raise TemplateError(text, [TemplateProblem("template_no_stop_token", text)])


def _where_they_part(prompt: str, full: str) -> dict[str, object]:
    """The prompt and the answered conversation from a little before the first difference."""
    same = next((i for i, (a, b) in enumerate(zip(prompt, full, strict=False)) if a != b), len(full))
    start = max(0, same - 12)
    return {"seen": prompt[start : same + 24], "full": full[start : same + 24]}


def _fails(name: str, reason: str, check: str = "template_fails") -> TemplateError:
    text = say(
        "The chat template '{name}' fails on a plain question and answer: {reason}. {choose}",
        "对话模板“{name}”无法渲染一问一答：{reason}。{choose}",
        name=name,
        reason=reason.rstrip("."),
        choose=_choose_another(),
    )
    return TemplateError(text, [TemplateProblem(check, text)])


def _choose_another() -> str:
    return say(
        "Choose another with model.template=<name or .jinja file>; named ones: {names}.",
        "请用 model.template=<名称或 .jinja 文件> 换一个；内置：{names}。",
        names=join(template_names()),
    )


def _alters() -> str:
    return say("it does not write the answer as it stands", "没有原样写出回答")


def _other_prompt(message: Message, place: int) -> RowError:
    if message.is_reasoned:
        return RowError(
            say(
                "the answer of turn {turn} carries reasoning, for which the chat template's prompt "
                "has no place",
                "第 {turn} 轮回答带有推理过程，而对话模板的提示没有为其留出位置",
                turn=place + 1,
            ),
            "template_differs_from_inference",
        )
    return RowError(
        say(
            "the chat template renders the answer of turn {turn} otherwise than inference would",
            "对话模板对第 {turn} 轮回答的渲染与推理时不同",
            turn=place + 1,
        ),
        "template_differs_from_inference",
    )


def _no_system(reason: str) -> RowError:
    text = say(
        "the chat template takes no system message ({reason}): put its text into the first turn of the user, "
        "or choose another template with model.template=<name or .jinja file>",
        "对话模板不接受系统消息（{reason}）：请把其内容写入用户的第一轮，"
        "或用 model.template=<名称或 .jinja 文件> 换一个模板",
        reason=reason.rstrip("."),
    )
    return RowError(text, "template_takes_no_system")
