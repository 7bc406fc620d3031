"""Lengths in tokens: what is given and what is learnt, what does not fit the limit, and what is lost by it."""

# ruff: noqa: E501 (a sentence holds both languages in one line)
from __future__ import annotations

from array import array
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ...recipe.messages import say
from ._finding import Context, Fact, Finding, Histogram, Level, Seen, Table, Tally

KINDS = ("text", "conversation", "preference", "verdict", "prompt", "labelled")
NAMES = {
    "prompt_cut": "Prompts lose their beginning to fit data.max_length. | 提示开头被截去以满足 data.max_length。",
    "answer_cut": "Answers are cut at data.max_length; there no stop is learnt. | 回答在 data.max_length 处截断，不学习停止。",
    "learnt_one_by_one": "Conversations are learnt an answer at a time. | 对话按回答逐个学习。",
    "few_learnt_tokens": "Nearly all tokens are prompt. | 几乎所有 token 都是提示。",
}
_MANY = 0.1
"""A share of cut rows from which on training would be about something else than the data."""
_FEW = 0.01


class Detector:
    """Needs encoded examples; without a model it sees no tokens and says nothing."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._given, self._learnt = array("i"), array("i")
        self._prompts, self._answers, self._by_turn = Tally(), Tally(), Tally()
        self._tokens_cut = 0

    def see(self, seen: Seen) -> None:
        encoded = seen.encoded
        if encoded is None:
            return
        self._given.append(encoded.num_prompt)
        self._learnt.append(encoded.num_learnt)
        if encoded.prompt_cut:
            self._tokens_cut += encoded.prompt_cut
            self._prompts.add(seen.origin, _tokens(encoded.num_longest))
        if encoded.answers_cut:
            self._answers.add(seen.origin, _tokens(encoded.num_longest))
        if encoded.by_turn:
            self._by_turn.add(seen.origin, _tokens(encoded.num_longest))

    def findings(self) -> Iterable[Finding]:
        total = len(self._given)
        if self._prompts.num:
            text = say(
                "{n:,} of {total:,} prompts lose their beginning ({tokens:,} tokens in all) to fit {limit:,} "
                "tokens; the instruction may be in it",
                "{total:,} 条提示中有 {n:,} 条为满足 {limit:,} 个 token 被截去开头（共 {tokens:,} 个），"
                "指令可能就在其中",
                n=self._prompts.num,
                total=total,
                tokens=self._tokens_cut,
                limit=self._limit,
            )
            yield self._prompts.finding("prompt_cut", self._level(self._prompts), text, self._cure(), total)
        if self._answers.num:
            text = say(
                "{n:,} of {total:,} answers are cut at {limit:,} tokens; there no stop is learnt",
                "{total:,} 个回答中有 {n:,} 个在 {limit:,} 个 token 处截断，不学习停止",
                n=self._answers.num,
                total=total,
                limit=self._limit,
            )
            yield self._answers.finding("answer_cut", self._level(self._answers), text, self._cure(), total)
        if self._by_turn.num:
            text = say(
                "{n:,} conversations are learnt an answer at a time, each with the prompt that inference sees: "
                "too long as a whole, or the chat template writes earlier turns in another way",
                "{n:,} 段对话按回答逐个学习，各自带推理时的提示：整体过长，或对话模板对历史的写法不同",
                n=self._by_turn.num,
            )
            cure = say("Nothing needs doing; it takes more tokens.", "无需处理；会多用一些 token。")
            yield self._by_turn.finding("learnt_one_by_one", "info", text, cure, total)
        yield from self._share(total)

    def _share(self, total: int) -> Iterable[Finding]:
        given, learnt = sum(self._given), sum(self._learnt)
        if not learnt or learnt >= _FEW * (given + learnt):
            return
        text = say(
            "{share:.2%} of the tokens are learnt ({learnt:,} of {all:,})",
            "只有 {share:.2%} 的 token 被学习（{all:,} 中的 {learnt:,}）",
            share=learnt / (given + learnt),
            learnt=learnt,
            all=given + learnt,
        )
        cure = say(
            "Right for long documents with short answers; else look at rows with --show 3.",
            "若是长文档配短回答则正常；否则请用 --show 3 查看。",
        )
        yield Finding("few_learnt_tokens", "warning", text, cure, total, total)

    def facts(self) -> Iterable[Fact]:
        if not self._given:
            return
        given, learnt = np.asarray(self._given), np.asarray(self._learnt)
        columns = (
            say("tokens", "token"),
            say("sum", "合计"),
            say("median", "中位数"),
            "95%",
            say("longest", "最长"),
        )
        rows = [(say("given", "提示（不学习）"), *_summary(given))] if given.any() else []
        rows += [(say("learnt", "学习"), *_summary(learnt))] if learnt.any() else []
        yield Table(_share_title(int(given.sum()), int(learnt.sum())), columns, tuple(rows))
        if given.any():
            yield _histogram(say("Prompt length", "提示长度"), given)
        if learnt.any():
            yield _histogram(say("Learnt length", "学习长度"), learnt)

    @property
    def _limit(self) -> int:
        return self._context.policy.max_length if self._context.policy else 0

    def _level(self, tally: Tally) -> Level:
        return "stop" if tally.num > _MANY * len(self._given) else "warning"

    def _cure(self) -> str:
        return say(
            "Raise data.max_length (at most the model's window), shorten the rows, or data.overlong=drop.",
            "提高 data.max_length（不超过模型窗口），缩短这些行，或用 data.overlong=drop。",
        )


def _tokens(num: int) -> str:
    return say("{num:,} tokens", "{num:,} 个 token", num=num)


def _summary(values: NDArray[np.int32]) -> tuple[int, int, int, int]:
    middle, high = np.percentile(values, (50, 95))
    return int(values.sum()), int(middle), int(high), int(values.max())


def _share_title(given: int, learnt: int) -> str:
    return say(
        "Tokens: {share:.1%} are learnt",
        "Token：{share:.1%} 被学习",
        share=learnt / max(1, given + learnt),
    )


def _histogram(title: str, values: NDArray[np.int32]) -> Histogram:
    """Bins that double, so that short and long rows are both seen."""
    edges = [0, 16]
    while edges[-1] <= int(values.max()):
        edges.append(edges[-1] * 2)
    counts, _ = np.histogram(values, bins=[*edges[:-1], edges[-1] + 1])
    return Histogram(title, tuple(edges), tuple(int(count) for count in counts), say("tokens", "token"))
