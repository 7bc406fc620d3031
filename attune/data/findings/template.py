"""The chat template at work: a row as the model will see it, the stop token, what the template leaves out."""

# ruff: noqa: E501 (a sentence holds both languages in one line)
from __future__ import annotations

from collections.abc import Iterable

from ...recipe.messages import join, say
from ..examples import Messages, RowError, answers_of, prompt_of
from ._finding import Context, Fact, Finding, Quote, Seen, Table

KINDS = ("conversation", "preference", "verdict", "prompt")
NAMES = {
    "template_adapted": "A chat template was chosen for the model, or something added to its own. | 为模型选用了对话模板，或在其自带模板上做了补充。",
    "stop_token_is_pad": "The stop token is the padding token too. | 停止符同时是填充符。",
    "stop_token_not_declared": "The tokenizer's end token is another than the template's stop. | 分词器的结束符与模板的停止符不同。",
}


class Detector:
    """What it says follows from the template alone; the first example is rendered for the eye."""

    def __init__(self, context: Context) -> None:
        self._template = context.template
        self._first: tuple[Messages, tuple[dict[str, object], ...]] | None = None
        self._total = 0

    def see(self, seen: Seen) -> None:
        self._total += 1
        if self._first is None:
            answers = answers_of(seen.example)
            turns = (*prompt_of(seen.example), *(answers[0] if answers else ()))
            self._first = turns, getattr(seen.example, "tools", ())

    def findings(self) -> Iterable[Finding]:
        template = self._template
        if template is None or not self._total:
            return
        if template.notice:
            cure = say("Name the one you want: model.template=NAME", "用 model.template=名称 指定所需模板")
            yield self._finding("template_adapted", template.notice, cure)
        if template.tokenizer.pad_token_id == template.stop_id:
            text = say(
                "the stop token {stop} is the padding token too; attune learns it all the same, but tools that "
                "mask padding by its id never do",
                "停止符 {stop} 同时是填充符；attune 仍会学习它，但按编号屏蔽填充的工具学不到",
                stop=template.stop,
            )
            cure = say(
                "Nothing needs doing here; for other tools set another pad_token.",
                "此处无需处理；供其他工具使用时请另设 pad_token。",
            )
            yield self._finding("stop_token_is_pad", text, cure)
        if template.tokenizer.eos_token_id != template.stop_id:
            text = say(
                "answers end with {stop}, the tokenizer's end token is {end}; the result's generation_config names both",
                "回答以 {stop} 结束，而分词器的结束符是 {end}；结果的 generation_config 会写明两者",
                stop=template.stop,
                end=template.tokenizer.eos_token,
            )
            cure = say("Nothing needs doing.", "无需处理。")
            yield self._finding("stop_token_not_declared", text, cure)

    def _finding(self, name: str, text: str, cure: str) -> Finding:
        return Finding(name, "info", text, cure, self._total, self._total)

    def facts(self) -> Iterable[Fact]:
        template = self._template
        if template is None or self._first is None:
            return
        rows = [
            (say("template", "模板"), template.name),
            (say("stop token", "停止符"), f"{template.stop} ({template.stop_id})"),
            (say("training equals inference", "训练与推理一致"), say("verified", "已验证")),
        ]
        if template.silent:
            rows.append((say("refused, since left out", "因会被略去而拒绝"), join(sorted(template.silent))))
        yield Table(say("Chat template", "对话模板"), (), tuple(rows))
        try:
            text = template.render(*self._first)
        except RowError as error:
            text = str(error)
        yield Quote(say("The first row, rendered", "首行渲染结果"), text + template.closing)
