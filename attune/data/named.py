"""The choice of a chat template: the model's own, or one of the named ones, which need certain tokens.

A template is one file of ``templates/``; it says nothing about the token that begins a text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..recipe.errors import ModelError
from ..recipe.messages import join, say

SHELF = Path(__file__).parent / "templates"

_CHATML = ("<|im_start|>", "<|im_end|>")
_TOOLS_OF_MISTRAL = (
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_CALLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
)
_TOOLS_OF_DEEPSEEK = tuple(
    f"<｜tool▁{part}▁{end}｜>" for part in ("calls", "call", "output") for end in ("begin", "end")
)
_NEEDED = {
    "chatml": _CHATML,
    "qwen": _CHATML,
    "llama3": ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "gemma": ("<start_of_turn>", "<end_of_turn>"),
    "mistral": ("[INST]", "[/INST]", *_TOOLS_OF_MISTRAL),
    "deepseek": (
        "<｜User｜>",
        "<｜Assistant｜>",
        "<｜end▁of▁sentence｜>",
        *_TOOLS_OF_DEEPSEEK,
        "<｜tool▁sep｜>",
    ),
    "glm4": ("[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"),
    "phi": ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
}
"""Tokens without which a named template would be spelt out in letters and end in no stop token. Templates not
named here write plain words, and the tokenizer's end token after an answer.
"""

_ASKED_FOR = {
    "llama3": _NEEDED["llama3"],
    "gemma": _NEEDED["gemma"],
    "mistral": _NEEDED["mistral"],
    "deepseek": _NEEDED["deepseek"],
    "glm4": _NEEDED["glm4"],
    "qwen": (*_CHATML, "<tool_call>", "</tool_call>"),
    "chatml": _CHATML,
    "phi": _NEEDED["phi"],
}
"""Tokens that leave no doubt about the family, the most telling ones first."""

_MORE_MARKERS = (
    "<<SYS>>",
    "<</SYS>>",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<|eom_id|>",
    "<|im_sep|>",
    "<|im_middle|>",
    "<|start|>",
    "<|channel|>",
    "<|message|>",
    "<|return|>",
    "<|START_OF_TURN_TOKEN|>",
    "<|END_OF_TURN_TOKEN|>",
    "<|start_of_role|>",
    "<|end_of_role|>",
    "<|end_of_turn|>",
    "<|turn>",
    "<turn|>",
    "<｜begin▁of▁sentence｜>",
)
"""Of families for which there is no named template, and of tokenizers rather than templates."""


def template_names() -> list[str]:
    """The named templates, sorted."""
    return sorted(path.stem for path in SHELF.glob("*.jinja"))


def special_markers() -> frozenset[str]:
    """The strings by which chat templates mark turns. In the text of a row they would be read as turns that
    nobody wrote. Markers inside a turn (``<think>``, ``<tool_call>``) are none, nor are ``<s>`` and ``</s>``,
    which HTML has too.
    """
    return frozenset(_MORE_MARKERS).union(*_NEEDED.values())


def choose(tokenizer: Any, name: str | None) -> tuple[str, list[str]]:
    """Sets ``tokenizer.chat_template`` to the template of that name or file; without one to the model's own
    (``default`` of several), else to the one that its tokens ask for. Returns the name (``model`` for the
    model's own) and what to say about the choice. Raises ModelError where there is no such template, or where
    the tokenizer lacks what it needs.
    """
    if name is None and tokenizer.chat_template:
        if isinstance(tokenizer.chat_template, dict):
            several = tokenizer.chat_template
            tokenizer.chat_template = several.get("default") or next(iter(several.values()))
        return "model", []
    notices = []
    if name is None:
        name = _asked_for(tokenizer)
        notices.append(
            say(
                "This model has no chat template; using '{name}', which is saved with the result. "
                "Another: model.template=<{names} or a .jinja file>.",
                "该模型没有对话模板；使用“{name}”，并随结果一起保存。"
                "更换：model.template=<{names} 或 .jinja 文件>。",
                name=name,
                names=join(template_names()),
            )
        )
    tokenizer.chat_template = _source_of(tokenizer, name)
    return name, notices


def _asked_for(tokenizer: Any) -> str:
    """The name of the template that the tokenizer's tokens ask for; ``plain`` where they ask for none."""
    return next((name for name, tokens in _ASKED_FOR.items() if not _lacking(tokenizer, tokens)), "plain")


def _source_of(tokenizer: Any, name: str) -> str:
    """The text of a named template or of a ``.jinja`` file."""
    if name.endswith(".jinja"):
        return _read(Path(name)) if Path(name).is_file() else _unknown(name)
    if name not in template_names():
        return _unknown(name)
    text = _read(SHELF / f"{name}.jinja")
    _must_fit(tokenizer, name, text)
    # A template of ours says nothing about the start token: it begins the text exactly where the tokenizer
    # itself would add it.
    start = tokenizer("x")["input_ids"][:1]
    begins = tokenizer.bos_token_id is not None and start == [tokenizer.bos_token_id]
    return "{{- bos_token -}}\n" + text if begins else text


def _must_fit(tokenizer: Any, name: str, text: str) -> None:
    if lacking := _lacking(tokenizer, _NEEDED.get(name, ())):
        raise ModelError(
            say(
                "The template '{name}' needs the tokens {tokens}, which this tokenizer does not have. "
                "Try model.template={other}.",
                "模板“{name}”需要此分词器没有的符号 {tokens}。可用 model.template={other}。",
                name=name,
                tokens=join(lacking),
                other=_asked_for(tokenizer),
            )
        )
    if "eos_token" in text and not tokenizer.eos_token:
        raise ModelError(
            say(
                "The template '{name}' ends each answer with the tokenizer's end token, and this tokenizer "
                "names none. Set eos_token in its tokenizer_config.json, or give a .jinja file.",
                "模板“{name}”用分词器的结束符结束每个回答，而此分词器没有指定结束符。请在 "
                "tokenizer_config.json 中设置 eos_token，或给出 .jinja 文件。",
                name=name,
            )
        )


def _lacking(tokenizer: Any, tokens: tuple[str, ...]) -> list[str]:
    vocabulary = tokenizer.get_vocab()
    return [token for token in tokens if token not in vocabulary]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(
            say(
                "The chat template {name} cannot be read ({reason}); it must be a text file in UTF-8.",
                "无法读取对话模板 {name}（{reason}）；应为 UTF-8 文本文件。",
                name=path,
                reason=error,
            )
        ) from None


def _unknown(name: str) -> str:
    raise ModelError(
        say(
            "No chat template '{name}'. Named ones: {names}; or give a .jinja file that exists.",
            "没有对话模板“{name}”。内置：{names}；或给出存在的 .jinja 文件。",
            name=name,
            names=join(template_names()),
        )
    )
