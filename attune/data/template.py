"""The chat template: what the model sees, the same in training and in inference, token for token.

Assistant spans are found by rendering prefixes of the conversation, never by searching for marker text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..recipe.errors import ModelError
from ..recipe.messages import join, say
from .examples import Message, RowError

SHELF = Path(__file__).parent / "templates"

_NEEDED = {"chatml": ("<|im_start|>", "<|im_end|>"), "llama3": ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")}
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
    """What the template writes after an answer, up to and including the stop token."""
    stop_ids: frozenset[int]

    @classmethod
    def load(cls, tokenizer: Any, name: str | None = None, extra_stop_ids: Sequence[int] = ()) -> ChatTemplate:
        """Chooses the template, writes it into ``tokenizer.chat_template`` (so that it is saved with the model)
        and checks it. Raises ModelError for an unknown name or a template that is not exact.
        """
        chosen, notice = _choose(tokenizer, name)
        suffix, stop_id = _find_stop(tokenizer, chosen)
        stops = frozenset({stop_id, *extra_stop_ids, *_ids_of(tokenizer.eos_token_id)})
        template = cls(tokenizer, chosen, notice, stop_id, suffix, stops)
        template._verify()
        return template

    def render(self, messages: Sequence[Message], tools: Sequence[Any] = (), *, generation_prompt: bool = False) -> str:
        """The text. Raises RowError with the template's own words where it refuses the conversation."""
        return _render(self.tokenizer, [m.as_dict() for m in messages], list(tools) or None, generation_prompt)

    def ids(self, text: str) -> list[int]:
        """Token ids of rendered text; the template itself has written whatever begins a text."""
        fast = getattr(self.tokenizer, "backend_tokenizer", None)
        if fast is not None:
            return list(fast.encode(text, add_special_tokens=False).ids)
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def prompt_ids(self, messages: Sequence[Message], tools: Sequence[Any] = ()) -> list[int]:
        """What the model is given when it must answer."""
        return self.ids(self.render(messages, tools, generation_prompt=True))

    def _verify(self) -> None:
        """Asserts, on conversations of one and two turns, that training and inference see the same tokens."""
        ask, answer = Message("user", "1 + 1?"), Message("assistant", "2")
        prompt = self.prompt_ids([ask])
        theirs = self.tokenizer.apply_chat_template([ask.as_dict()], add_generation_prompt=True, tokenize=True, return_dict=False)
        full = self.render([ask, answer])
        problems = []
        if list(theirs) != prompt:
            problems.append(say("the tokenizer gives other ids for the prompt than for its text", "分词器对提示的编码与对其文本的编码不同"))
        if not full.startswith(self.render([ask], generation_prompt=True)):
            problems.append(
                say(
                    "an answered conversation does not begin with what the model sees when it must answer",
                    "含回答的渲染结果与推理时的提示开头不一致",
                )
            )
        bos = self.tokenizer.bos_token_id
        if bos is not None and prompt[:2] == [bos, bos]:
            problems.append(say("the prompt begins with the start token twice", "提示开头有两个起始符"))
        if problems:
            raise ModelError(
                say(
                    "The chat template '{name}' cannot be trained exactly: {problems}. Choose another with model.template=<name or .jinja file>; named ones: {names}.",
                    "对话模板“{name}”无法精确训练：{problems}。请用 model.template=<名称或 .jinja 文件> 换一个；内置：{names}。",
                    name=self.name,
                    problems=join(problems),
                    names=join(template_names()),
                )
            )


def _choose(tokenizer: Any, name: str | None) -> tuple[str, str | None]:
    """Sets ``tokenizer.chat_template``; returns the name and what to say about it."""
    if name is None and tokenizer.chat_template:
        if isinstance(tokenizer.chat_template, dict):
            tokenizer.chat_template = tokenizer.chat_template.get("default") or next(iter(tokenizer.chat_template.values()))
        return "model", None
    notice = None
    if name is None:
        name = next((n for n in ("llama3", "chatml") if _has_tokens(tokenizer, n)), "plain")
        notice = say(
            "This model has no chat template; using '{name}', which is saved with the result. Another: model.template=<{names} or a .jinja file>.",
            "该模型没有对话模板；使用“{name}”，并随结果一起保存。更换：model.template=<{names} 或 .jinja 文件>。",
            name=name,
            names=join(template_names()),
        )
    path = Path(name) if name.endswith(".jinja") else SHELF / f"{name}.jinja"
    if not path.is_file():
        raise ModelError(
            say(
                "No chat template '{name}'. Named ones: {names}; or give a .jinja file that exists.",
                "没有对话模板“{name}”。内置：{names}；或给出存在的 .jinja 文件。",
                name=name,
                names=join(template_names()),
            )
        )
    if not name.endswith(".jinja") and not _has_tokens(tokenizer, name):
        raise ModelError(
            say(
                "The template '{name}' needs the tokens {tokens}, which this tokenizer does not have. Try model.template=plain.",
                "模板“{name}”需要此分词器没有的符号 {tokens}。可用 model.template=plain。",
                name=name,
                tokens=join(_NEEDED[name]),
            )
        )
    source = path.read_text(encoding="utf-8")
    # A template of ours says nothing about the start token: it begins the text exactly where the tokenizer
    # itself would add it.
    start = tokenizer("x")["input_ids"][:1]
    if not name.endswith(".jinja") and tokenizer.bos_token_id is not None and start == [tokenizer.bos_token_id]:
        source = "{{- bos_token -}}\n" + source
    tokenizer.chat_template = source
    return name, notice


def _has_tokens(tokenizer: Any, name: str) -> bool:
    vocabulary = tokenizer.get_vocab()
    return all(token in vocabulary for token in _NEEDED.get(name, ()))


def _find_stop(tokenizer: Any, name: str) -> tuple[str, int]:
    """What follows an answer up to the stop token, and that token's id. Found by rendering, not by name."""
    probe = "\u2603snowman\u2603"
    try:
        text = _render(tokenizer, [{"role": "user", "content": "?"}, {"role": "assistant", "content": probe}], None, False)
    except RowError as error:
        raise ModelError(
            say("The chat template '{name}' fails on a plain question and answer: {error}.", "对话模板“{name}”无法渲染一问一答：{error}。", name=name, error=error)
        ) from None
    tail = text.rpartition(probe)[2]
    special = set(tokenizer.all_special_ids) | {
        token_id for token_id, token in tokenizer.added_tokens_decoder.items() if token.special or str(token).startswith("<")
    }
    ids = list(tokenizer(tail, add_special_tokens=False)["input_ids"]) if tail else []
    for token_id in ids:
        if token_id in special:
            token = tokenizer.convert_ids_to_tokens(token_id)
            cut = tail.find(token)
            if cut >= 0:
                return tail[: cut + len(token)], token_id
    raise ModelError(
        say(
            "The chat template '{name}' writes no stop token after an answer (it writes {tail!r}): the model would never learn to stop. Choose another with model.template=<name or .jinja file>; named ones: {names}.",
            "对话模板“{name}”在回答之后没有停止符（写的是 {tail!r}）：模型将学不会停下。请用 model.template=<名称或 .jinja 文件> 换一个；内置：{names}。",
            name=name,
            tail=tail,
            names=join(template_names()),
        )
    )


def _render(tokenizer: Any, messages: list[dict[str, Any]], tools: list[Any] | None, generation_prompt: bool) -> str:
    import jinja2

    try:
        text = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=generation_prompt)
    except (jinja2.exceptions.TemplateError, TypeError, KeyError, ValueError) as error:
        reason = str(error).strip() or type(error).__name__
        raise RowError(say("the chat template refuses it: {reason}", "对话模板拒绝了它：{reason}", reason=reason)) from None
    return str(text)


def _ids_of(token_id: int | list[int] | None) -> list[int]:
    if token_id is None:
        return []
    return list(token_id) if isinstance(token_id, list) else [token_id]
