"""Who speaks: questions and answers that seem to have changed places, system messages of some rows only."""

# ruff: noqa: E501 (a sentence holds both languages in one line)
from __future__ import annotations

import re
from collections.abc import Iterable
from math import inf

from ..examples import answers_of, prompt_of
from ._finding import Context, Fact, Finding, Seen, Tally, excerpt
from ._symptom import Symptom, Symptoms, meanings

KINDS = ("conversation", "preference", "verdict")
_SYMPTOMS = {
    "roles_swapped": Symptom(
        "the answer asks and the prompt does not: question and answer seem to have changed places. | "
        "回答像提问而提示不像：问与答似乎颠倒了。",
        "Swap the two columns (or the roles user and assistant) in the file. | 请在文件中交换两列（或 user 与 assistant 两个角色）。",
        stop_from=0,
    ),
    "some_system_messages": Symptom(
        "there is a system message, and none in the others. | 有系统消息，其余行没有。",
        "Right where personas are meant; else give all of them one: data.system=“…”. | "
        "若区分人设则无妨；否则请统一：data.system=“…”。",
        warning_from=inf,
    ),
}
NAMES = meanings(_SYMPTOMS)

_FEWEST = 20
_MANY, _FEW = 0.6, 0.1
_ENDS_ASKING = re.compile(r"[?？吗呢][\"'”’)）]*\s*\Z")
_BEGINS_ASKING = re.compile(
    r"\W*(?:(?:write|give|explain|describe|create|generate|list|name|find|identify|what|who|when|where|why|which|how|is|are"
    r"|can|could|do|does|tell|summari[sz]e|rewrite|translate|classify|compose|design|make|provide|suggest|compare"
    r"|convert|calculate|construct|edit|please)\b"
    r"|请|写|给我|给出|如何|怎么|怎样|什么|为什么|谁|哪|描述|解释|列出|列举|生成|创建|翻译|编写|根据|把|将|帮我|介绍"
    r"|你能|能否|设计|说明|分析|比较|总结|推荐|提供)",
    re.IGNORECASE,
)
_ABOUT_QUESTIONS = re.compile(
    r"(?:generate|write|ask|create|give|form|make|suggest|propose|rewrite|rephrase|convert|提出|生成|写|列出|设计|改写|出).{0,60}"
    r"(?:question|quiz|riddle|quer(?:y|ies)|prompt|instruction|title|sentence|问题|问句|提问|题目|指令|标题|句)",
    re.IGNORECASE | re.DOTALL,
)
"""Prompts whose right answer is a question or a command."""


class Detector:
    """``roles_swapped`` needs most answers to be questions or commands, hardly a prompt to be one, and prompts
    that do not ask for questions.
    """

    def __init__(self, context: Context) -> None:
        self._total = self._asked = self._about_questions = 0
        self._asking, self._system = Tally(), Tally()

    def see(self, seen: Seen) -> None:
        self._total += 1
        prompt = prompt_of(seen.example)
        answer = next((turn.content for turn in answers_of(seen.example)[0] if turn.role == "assistant"), "")
        asked = next((turn.content for turn in prompt if turn.role == "user"), "")
        if prompt and prompt[0].role == "system":
            self._system.add(seen.origin, excerpt(prompt[0].content, 0, 40))
        self._asked += _asks(asked)
        if _asks(answer):
            self._asking.add(seen.origin, f"{excerpt(asked, 0, 24)} → {excerpt(answer, 0, 40)}")
            self._about_questions += bool(_ABOUT_QUESTIONS.search(asked))

    def findings(self) -> Iterable[Finding]:
        total, symptoms = self._total, Symptoms(_SYMPTOMS)
        if (
            total >= _FEWEST
            and self._asking.num >= _MANY * total
            and self._asked <= _FEW * total
            and self._about_questions <= 0.3 * self._asking.num
        ):
            yield symptoms.finding("roles_swapped", self._asking, total)
        if 0 < self._system.num < total:
            yield symptoms.finding("some_system_messages", self._system, total)

    def facts(self) -> Iterable[Fact]:
        return ()


def _asks(text: str) -> bool:
    """A question mark at the end, or a command or a question word at the beginning."""
    return bool(_ENDS_ASKING.search(text[-8:]) or _BEGINS_ASKING.match(text))
