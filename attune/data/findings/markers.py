"""Markers of chat templates and special tokens that stand in the text of a row.

A tokenizer cannot tell them from the real ones: a user's text that holds ``<|im_end|>`` ends the user's turn.
"""

# ruff: noqa: E501 (a sentence holds both languages in one line)
from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from math import inf
from typing import Any

from ...recipe.messages import join
from ..examples import Example, texts
from ..images import ImageReader
from ..named import special_markers
from ._finding import Context, Finding, excerpt
from ._symptom import Hit, RowDetector, Symptom, Symptoms, meanings

KINDS = ("text", "conversation", "preference", "verdict", "prompt", "labelled")
_SYMPTOMS = {
    "special_tokens_in_text": Symptom(
        "the text holds special tokens of this model; they become the real ones, and end or open turns that nobody wrote. | "
        "文本中含有该模型的特殊符号；它们会成为真正的特殊 token，结束或开启并不存在的轮次。",
        "Take them out of the text, or write them otherwise (“<|im_end|>” as “< |im_end| >”). | "
        "请从文本中删除，或改变写法（如“<|im_end|>”写作“< |im_end| >”）。",
        stop_from=0,
    ),
    "short_tokens_in_text": Symptom(
        "the text holds tokens of this model that are ordinary notation elsewhere (<s>, <unk>). | "
        "文本中含有该模型的 token，它们在别处只是普通写法（<s>、<unk>）。",
        "Meant as text? Then write them otherwise: the tokenizer makes the real token of them. | "
        "若是普通文字，请改变写法：分词器会把它们变成真正的 token。",
        warning_from=0,
    ),
    "template_markers_in_text": Symptom(
        "the text holds markers of chat templates of other models. | 文本中含有其他模型的对话模板标记。",
        "Leftovers of an earlier rendering? Take them out; the model learns to write them. | "
        "若是先前渲染的残留，请删除；否则模型会学会写出它们。",
        warning_from=0,
    ),
    "already_rendered": Symptom(
        "whole dialogues, already rendered, stand in one text: the template would wrap them once more. | "
        "整段对话已渲染在一个文本中：模板会再包一层。",
        "Give the turns as they are, as messages with roles: {“messages”: [{“role”: “user”, “content”: …}, …]}. | "
        "请以带角色的消息给出各轮：{“messages”: [{“role”: “user”, “content”: …}, …]}。",
        warning_from=0.01,
        stop_from=0.5,
    ),
}
NAMES = meanings(_SYMPTOMS)

_INSIDE_A_TURN = re.compile(
    r"</?(?:think|tool_call|tool_response|tools?|function|arg_key|arg_value|answer|reasoning)>"
)
"""Special in some tokenizers; data of such models writes them on purpose."""
_ORDINARY = re.compile(
    r"<(?:s|unk|pad|mask|sep|cls|blank|image|video|audio)>|\[(?:UNK|PAD|MASK|SEP|CLS)\]|[\w\s.,]+"
)
_MARKED_TURN = re.compile(
    r"<\|im_start\|>(?:system|user|assistant)|<\|start_header_id\|>|\[INST\]|<start_of_turn>"
    r"|<[|｜](?:User|user|Assistant|assistant)[|｜]>"
)
_ASKED_AND_ANSWERED = (
    (
        re.compile(r"###? ?(?:Instruction|Human|User|Question|指令|问题)"),
        re.compile(r"###? ?(?:Response|Assistant|Answer|回答|答案)"),
    ),
    (
        re.compile(r"(?:\A|\n)(?:Human|User|USER|用户|人类) ?[:：]"),
        re.compile(r"\n ?(?:Assistant|ASSISTANT|AI|Bot|助手|机器人) ?[:：]"),
    ),
)
"""Turns told by words: only with both sides they are a dialogue."""
_ROLE_HINTS = (
    "<|",
    "[INST]",
    "<start_of",
    "<｜",
    "## ",
    "##I",
    "##H",
    "Human",
    "User",
    "USER",
    "用户",
    "人类",
)


class Detector(RowDetector):
    SYMPTOMS = _SYMPTOMS

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        if context.kind in ("text", "labelled"):
            # Documents are often joined by an end token on purpose; a classifier learns no turns.
            softer = {name: replace(one, stop_from=inf, warning_from=0) for name, one in _SYMPTOMS.items()}
            self.symptoms = Symptoms(softer)
        own = special_tokens(context.tokenizer)
        self._names = {
            token: "short_tokens_in_text" if _ORDINARY.fullmatch(token) else "special_tokens_in_text"
            for token in own
        }
        self._names |= dict.fromkeys(special_markers() - own, "template_markers_in_text")
        self._any = _alternation(self._names)
        self._signs = {token[0] for token in self._names}
        self._rows: dict[str, Counter[str]] = {name: Counter() for name in _SYMPTOMS}

    def hits(self, example: Example) -> Iterator[Hit]:
        found: dict[str, str] = {}
        for text in texts(example):
            if any(sign in text for sign in self._signs):
                for match in self._any.finditer(text):
                    found.setdefault(match[0], excerpt(text, *match.span()))
            if span := _dialogue(text):
                yield "already_rendered", excerpt(text, *span)
        for token, piece in found.items():
            self._rows[self._names[token]][token] += 1
            yield self._names[token], piece

    def findings(self) -> Iterable[Finding]:
        for finding in super().findings():
            rows = self._rows[finding.name].most_common(5)
            which = join(f"{token} × {num:,}" for token, num in rows)
            yield replace(finding, text=f"{finding.text} {which}") if which else finding


def special_tokens(tokenizer: Any) -> frozenset[str]:
    """The tokens that a tokenizer reads as one even in the midst of text, and that no turn is made of."""
    if tokenizer is None or isinstance(tokenizer, ImageReader):
        return frozenset()
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    tokens = {*tokenizer.all_special_tokens, *(token.content for token in added if token.special)}
    return frozenset(token for token in tokens if token.strip() and not _INSIDE_A_TURN.fullmatch(token))


def _alternation(tokens: Collection[str]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(token) for token in sorted(tokens, key=len, reverse=True)))


def _dialogue(text: str) -> tuple[int, int] | None:
    """Where a text opens the turns of a dialogue."""
    if not any(hint in text for hint in _ROLE_HINTS):
        return None
    if found := _MARKED_TURN.search(text):
        return found.span()
    for asked, answered in _ASKED_AND_ANSWERED:
        if (found := asked.search(text)) and answered.search(text, found.end()):
            return found.start(), found.end() + 12
    return None
