"""What was to be filled in and was not: answers like “N/A”, slots like {{name}}, prompts without a word."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from math import inf

from ..examples import Example, Labelled, inputs_of, outputs_of
from ._finding import excerpt
from ._symptom import Hit, RowDetector, Symptom, meanings

KINDS = ("text", "conversation", "preference", "verdict", "prompt", "labelled")
_SYMPTOMS = {
    "placeholder_answer": Symptom(
        "the whole answer is a placeholder (nooutput, N/A, 待补充): the model learns to say it. | "
        "整个回答是占位符（nooutput、N/A、待补充）：模型会学会这样回答。",
        "Write the answer or take the row out. | 请补写回答或删除该行。",
        warning_from=0.001,
        stop_from=0.2,
    ),
    "placeholder_prompt": Symptom(
        "the whole prompt is a placeholder or punctuation. | 整个提示是占位符或标点。",
        "Write the question or take the row out. | 请补写问题或删除该行。",
        stop_from=0.2,
    ),
    "unfilled_slot": Symptom(
        "a slot that nobody filled stands in the text: {{name}}. | 文本中有未填写的模板变量：{{name}}。",
        "Fill it in every row: sed -i 's/{{name}}/YOUR NAME/g' FILE | "
        "在所有行中填写：sed -i 's/{{name}}/你的名字/g' 文件",
    ),
    "unfinished_text": Symptom(
        "text that was to be written later: lorem ipsum, 此处省略, 待补充, [insert …]. | "
        "有留待以后补写的内容：lorem ipsum、此处省略、待补充、[insert …]。",
        "Write it or take the row out. | 请补写或删除该行。",
    ),
    "blanks_for_names": Symptom(
        "blanks such as [Your Name] or [公司名称]: the model will write them too. | "
        "有 [Your Name]、[公司名称] 一类空位：模型也会这样写。",
        "Right for letters to fill in; else put names there. | 用于填写的信函无妨；否则请填上名称。",
        warning_from=inf,
    ),
}
NAMES = meanings(_SYMPTOMS)

_NOTHING = frozenset(
    """
    nooutput noinput noanswer noresponse na n/a null nan undefined none todo tbd placeholder xxx
    xxxx answer output response insertanswer insertanswerhere youranswerhere 无输出 无输入 此处省略 待补充
    待填写 待完善 略 省略 暂无 占位符
    """.split()  # noqa: SIM905 (a list of so many words is harder to read)
)
_LONGEST = 40
_EDGES = string.punctuation + string.whitespace + "。！？，、；：…—“”‘’（）《》【】～·"
_SLOT = re.compile(
    r"(?<![A-Za-z0-9_\\^{$}])\{\{ ?[A-Za-z_\u4e00-\u9fff][\w.\u4e00-\u9fff -]{1,30} ?\}\}(?!\})"
)
_ABOUT_TEMPLATES = re.compile(
    r"</|\{%|jinja|handlebars|mustache|\bvue|angular|django|\btemplat|latex|模板", re.IGNORECASE
)
_UNFINISHED = re.compile(
    r"lorem ipsum|\[(?:please )?insert [^\]\n]{1,60}\]|<insert [^>\n]{1,60}>"
    r"|[\[【(（](?:此处省略|以下省略|待补充|待填写|待完善|插入)[^\]】)）\n]{0,20}[\]】)）]"
    r"|^\W*(?:此处省略|待补充|待填写|待完善)\W*$",
    re.IGNORECASE | re.MULTILINE,
)
_WANTS_FILLER = re.compile(r"lorem|placeholder|filler|template|占位|模板", re.IGNORECASE)
_BLANK = re.compile(
    r"\[(?:Your|your|My|Company|Sender|Recipient|Customer|Client|Employer|Hiring) [^\]\n,=]{1,30}\]"
    r"|\[(?:Name|Date|Company|Recipient)\]"
    r"|[\[【](?:你的|您的|我的|公司|姓名|日期|地址|客户|收件人|名字)[^\]】\n]{0,12}[\]】]"
)


def is_placeholder(text: str) -> bool:
    """Whether nothing but a placeholder stands there, in whatever brackets."""
    if len(text) > _LONGEST:
        return False
    bare = text.strip(_EDGES).lower().replace(" ", "").replace("_", "")
    return bare in _NOTHING if bare else True


class Detector(RowDetector):
    SYMPTOMS = _SYMPTOMS

    def hits(self, example: Example) -> Iterator[Hit]:
        given, learnt = inputs_of(example), outputs_of(example)
        for text in learnt:
            if len(text) <= _LONGEST and not _is_reply(text) and is_placeholder(text):
                yield "placeholder_answer", text
        if given and _is_empty_prompt(given[-1], isinstance(example, Labelled)):
            yield "placeholder_prompt", given[-1]
        if not isinstance(example, Labelled):
            for text in (*given, *learnt):
                yield from _inside(text, given)


def _inside(text: str, given: list[str]) -> Iterator[Hit]:
    if "{{" in text and (found := _SLOT.search(text)) and not _any(_ABOUT_TEMPLATES, [*given, text]):
        yield "unfilled_slot", excerpt(text, *found.span())
    if "[" in text or "【" in text:
        if found := _BLANK.search(text):
            yield "blanks_for_names", excerpt(text, *found.span())
    elif not ("orem" in text or "省略" in text or "待" in text or "<" in text):
        return
    if (found := _UNFINISHED.search(text)) and not _any(_WANTS_FILLER, given):
        yield "unfinished_text", excerpt(text, *found.span())


def _any(pattern: re.Pattern[str], given: list[str]) -> bool:
    return any(pattern.search(text) for text in given)


def _is_reply(text: str) -> bool:
    """“None” and “Null.” answer many a question; so do “?” and “+”, and an emoji."""
    return text.strip(_EDGES).lower() in ("none", "", "null", "answer", "output", "response")


def _is_empty_prompt(text: str, is_labelled: bool) -> bool:
    """“?” asks nothing; a labelled text may well be “!!!” or an emoji, but not “nan”."""
    return is_placeholder(text) and not (is_labelled and not text.strip(_EDGES))
