"""The chat template: what the model sees, the same in training and in inference, token for token.

Assistant spans are found by rendering prefixes of the conversation, never by searching for marker text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..recipe.errors import ModelError
from ..recipe.messages import join, say
from .examples import Message, RowError
from .render import find_silent, find_stop, render, token_ids

SHELF = Path(__file__).parent / "templates"

_NEEDED = {
    "chatml": ("<|im_start|>", "<|im_end|>"),
    "llama3": ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
}
"""Tokens without which a named template would be spelt out in letters and end in no stop token."""


def template_names() -> list[str]:
    """The named templates, sorted."""
    return sorted(path.stem for path in SHELF.glob("*.jinja"))


@dataclass(frozen=True)
class ChatTemplate:
    """A template bound to a tokenizer. ``name`` is ``model`` for the model's own; ``notice`` is what a person
    must know about the choice, or None.
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
    silent: frozenset[str] = frozenset()
    """What the template leaves out without a word: ``system``, ``tools``, ``tool_calls``, ``tool`` turns."""

    @classmethod
    def load(
        cls, tokenizer: Any, name: str | None = None, extra_stop_ids: Sequence[int] = ()
    ) -> ChatTemplate:
        """Chooses the template, writes it into ``tokenizer.chat_template`` (so that it is saved with the
        model) and checks it. Raises ModelError for an unknown name or a template that is not exact.
        """
        chosen, notice = _choose(tokenizer, name)
        fast = getattr(tokenizer, "backend_tokenizer", None)
        if fast is not None:
            # A tokenizer file may carry limits of its own; nothing is cut or padded behind our back.
            fast.no_truncation()
            fast.no_padding()
        suffix, closing, stop_id = _stop(tokenizer, chosen)
        stops = frozenset({stop_id, *extra_stop_ids, *_ids_of(tokenizer.eos_token_id)})
        template = cls(tokenizer, chosen, notice, stop_id, suffix, stops, closing, find_silent(tokenizer))
        template._verify()
        return template

    @cached_property
    def stop(self) -> str:
        """The text of the stop token."""
        return str(self.tokenizer.convert_ids_to_tokens(self.stop_id))

    def render(
        self, messages: Sequence[Message], tools: Sequence[Any] = (), *, generation_prompt: bool = False
    ) -> str:
        """The text. Raises RowError where the template refuses the conversation, with the template's own
        words, and where it would leave a part of it out.
        """
        if self.silent:
            self._must_write(messages, tools)
        try:
            return render(
                self.tokenizer, [m.as_dict() for m in messages], list(tools) or None, generation_prompt
            )
        except RowError as error:
            if self._refuses_system(messages):
                raise RowError(_no_system(str(error))) from None
            raise

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
        present |= {"tools"} if tools else set()
        lost = sorted(self.silent & present)
        if "system" in lost:
            raise RowError(_no_system(say("it would leave it out", "会将其略去")))
        if lost:
            raise RowError(
                say(
                    "the chat template would leave out: {lost}; choose another with "
                    "model.template=<name or .jinja file>",
                    "对话模板会略去：{lost}；请用 model.template=<名称或 .jinja 文件> 换一个",
                    lost=join(lost),
                )
            )

    def _verify(self) -> None:
        """Refuses a template with which training and inference would see different tokens."""
        ask, answer = Message("user", "1 + 1?"), Message("assistant", "2")
        try:
            prompt = self.render([ask], generation_prompt=True)
            full = self.render([ask, answer])
            theirs = self.tokenizer.apply_chat_template(
                [ask.as_dict()], add_generation_prompt=True, tokenize=True, return_dict=False
            )
        except RowError as error:
            raise ModelError(_fails(self.name, str(error))) from None
        ids = self.ids(prompt)
        problems = []
        if list(theirs) != ids:
            problems.append(
                say(
                    "the tokenizer gives other ids for the prompt than for its text",
                    "分词器对提示的编码与对其文本的编码不同",
                )
            )
        if not full.startswith(prompt):
            problems.append(
                say(
                    "an answered conversation does not begin with what the model sees when it must answer "
                    "({seen!r} against {full!r})",
                    "含回答的渲染结果与推理时的提示开头不一致（{seen!r} 与 {full!r}）",
                    **_where_they_part(prompt, full),
                )
            )
        elif answer.content not in full[len(prompt) :]:
            problems.append(say("it does not write the answer as it stands", "没有原样写出回答"))
        bos = self.tokenizer.bos_token_id
        if bos is not None and ids[:2] == [bos, bos]:
            problems.append(say("the prompt begins with the start token twice", "提示开头有两个起始符"))
        if problems:
            raise ModelError(
                say(
                    "The chat template '{name}' cannot be trained exactly: {problems}. {choose}",
                    "对话模板“{name}”无法精确训练：{problems}。{choose}",
                    name=self.name,
                    problems=join(problems),
                    choose=_choose_another(),
                )
            )


def _choose(tokenizer: Any, name: str | None) -> tuple[str, str | None]:
    """Sets ``tokenizer.chat_template``; returns the name and what to say about it."""
    if name is None and tokenizer.chat_template:
        if isinstance(tokenizer.chat_template, dict):
            several = tokenizer.chat_template
            tokenizer.chat_template = several.get("default") or next(iter(several.values()))
        return "model", None
    notice = None
    if name is None:
        name = next((n for n in ("llama3", "chatml") if _has_tokens(tokenizer, n)), "plain")
        notice = say(
            "This model has no chat template; using '{name}', which is saved with the result. "
            "Another: model.template=<{names} or a .jinja file>.",
            "该模型没有对话模板；使用“{name}”，并随结果一起保存。"
            "更换：model.template=<{names} 或 .jinja 文件>。",
            name=name,
            names=join(template_names()),
        )
    tokenizer.chat_template = _source(tokenizer, name)
    return name, notice


def _source(tokenizer: Any, name: str) -> str:
    """The text of a named template or of a ``.jinja`` file."""
    is_own = not name.endswith(".jinja")
    path = SHELF / f"{name}.jinja" if is_own else Path(name)
    if (is_own and name not in template_names()) or not path.is_file():
        raise ModelError(
            say(
                "No chat template '{name}'. Named ones: {names}; or give a .jinja file that exists.",
                "没有对话模板“{name}”。内置：{names}；或给出存在的 .jinja 文件。",
                name=name,
                names=join(template_names()),
            )
        )
    if is_own and not _has_tokens(tokenizer, name):
        raise ModelError(
            say(
                "The template '{name}' needs the tokens {tokens}, which this tokenizer does not have. "
                "Try model.template=plain.",
                "模板“{name}”需要此分词器没有的符号 {tokens}。可用 model.template=plain。",
                name=name,
                tokens=join(_NEEDED[name]),
            )
        )
    if name == "plain" and not tokenizer.eos_token:
        raise ModelError(
            say(
                "The template 'plain' ends each answer with the tokenizer's end token, and this tokenizer "
                "names none. Set eos_token in its tokenizer_config.json, or give a .jinja file.",
                "模板 plain 用分词器的结束符结束每个回答，而此分词器没有指定结束符。请在 "
                "tokenizer_config.json 中设置 eos_token，或给出 .jinja 文件。",
            )
        )
    try:
        source = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(
            say(
                "The chat template {name} cannot be read ({reason}); it must be a text file in UTF-8.",
                "无法读取对话模板 {name}（{reason}）；应为 UTF-8 文本文件。",
                name=name,
                reason=error,
            )
        ) from None
    # A template of ours says nothing about the start token: it begins the text exactly where the tokenizer
    # itself would add it.
    start = tokenizer("x")["input_ids"][:1]
    begins = is_own and tokenizer.bos_token_id is not None and start == [tokenizer.bos_token_id]
    return "{{- bos_token -}}\n" + source if begins else source


def _stop(tokenizer: Any, name: str) -> tuple[str, str, int]:
    """``find_stop``, with its failures as ModelError."""
    try:
        found = find_stop(tokenizer)
    except RowError as error:
        raise ModelError(_fails(name, str(error))) from None
    if not isinstance(found, str):
        return found
    raise ModelError(
        say(
            "The chat template '{name}' writes no stop token after an answer (it writes {tail!r}): the model "
            "would never learn to stop. {choose}",
            "对话模板“{name}”在回答之后没有停止符（写的是 {tail!r}）：模型将学不会停下。{choose}",
            name=name,
            tail=found[:80],
            choose=_choose_another(),
        )
    )


def _has_tokens(tokenizer: Any, name: str) -> bool:
    vocabulary = tokenizer.get_vocab()
    return all(token in vocabulary for token in _NEEDED.get(name, ()))


def _ids_of(token_id: int | list[int] | None) -> list[int]:
    if token_id is None:
        return []
    return list(token_id) if isinstance(token_id, list) else [token_id]


def _where_they_part(prompt: str, full: str) -> dict[str, object]:
    """The prompt and the answered conversation from a little before the first difference."""
    same = next((i for i, (a, b) in enumerate(zip(prompt, full, strict=False)) if a != b), len(full))
    start = max(0, same - 12)
    return {"seen": prompt[start : same + 24], "full": full[start : same + 24]}


def _fails(name: str, reason: str) -> str:
    return say(
        "The chat template '{name}' fails on a plain question and answer: {reason}. {choose}",
        "对话模板“{name}”无法渲染一问一答：{reason}。{choose}",
        name=name,
        reason=reason.rstrip("."),
        choose=_choose_another(),
    )


def _choose_another() -> str:
    return say(
        "Choose another with model.template=<name or .jinja file>; named ones: {names}.",
        "请用 model.template=<名称或 .jinja 文件> 换一个；内置：{names}。",
        names=join(template_names()),
    )


def _no_system(reason: str) -> str:
    return say(
        "the chat template takes no system message ({reason}): put its text into the first turn of the user, "
        "or choose another template with model.template=<name or .jinja file>",
        "对话模板不接受系统消息（{reason}）：请把其内容写入用户的第一轮，"
        "或用 model.template=<名称或 .jinja 文件> 换一个模板",
        reason=reason.rstrip("."),
    )
