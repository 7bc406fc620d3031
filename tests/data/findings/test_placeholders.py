"""What was to be filled in and was not."""

from __future__ import annotations

import pytest

from attune.data.examples import Labelled, Prompt
from attune.data.findings import placeholders
from attune.data.findings.contract import DetectorContract

from .rows import CLEAN, ask, chat, findings, numbers, pair, seen


class TestContract(DetectorContract):
    @pytest.fixture
    def detector_module(self):
        return placeholders

    @pytest.fixture
    def seen(self):
        rows = [
            chat("Draw it.", "<nooutput>"),
            chat("...", "What?"),
            chat("Who?", "I am {{name}}."),
            chat("Go on", "待补充"),
        ]
        return seen([*CLEAN, *rows, chat("Write a letter", "Dear [Your Name], lorem ipsum")])


@pytest.mark.parametrize(
    "answer",
    [
        "<noinput>",
        "<nooutput>",
        "No output",
        "N/A",
        "n/a.",
        "NaN",
        "TODO",
        "（待补充）",
        "无输出",
        "此处省略",
        "[Insert answer here]",
        "XXX",
    ],
)
def test_a_placeholder_for_an_answer(answer: str) -> None:
    finding = findings(placeholders, [*CLEAN, chat("Draw a logo.", answer)])["placeholder_answer"]
    assert (finding.num, numbers(finding), finding.rows[0].excerpt) == (1, [9], answer)


@pytest.mark.parametrize(
    "answer",
    [
        "None",
        "None.",
        "Null",
        "?",
        "+",
        "👍",
        "无",
        "Not available",
        "nan bread",
        "Nan is my grandmother",
        "8",
    ],
)
def test_short_answers_are_answers(answer: str) -> None:
    assert findings(placeholders, [chat("Are there errors?", answer)]) == {}


def test_clean_rows() -> None:
    assert findings(placeholders, CLEAN) == {}


def test_levels() -> None:
    good, bad = chat("Why?", "Because."), chat("Why?", "N/A")
    assert findings(placeholders, [good] * 1999 + [bad])["placeholder_answer"].level == "info"
    assert findings(placeholders, [good] * 99 + [bad])["placeholder_answer"].level == "warning"
    assert findings(placeholders, [good] * 3 + [bad])["placeholder_answer"].level == "stop"


@pytest.mark.parametrize("prompt", ["...", "???", "。。。", "nan", "N/A", "<noinput>", "“”"])
def test_a_prompt_without_a_word(prompt: str) -> None:
    assert numbers(findings(placeholders, [*CLEAN, chat(prompt, "Pardon?")])["placeholder_prompt"]) == [9]


@pytest.mark.parametrize("prompt", ["👍", "1+1", "好", "Q", "c'est ça"])
def test_a_short_prompt_is_one(prompt: str) -> None:
    assert findings(placeholders, [chat(prompt, "Good.")]) == {}


def test_labelled_texts() -> None:
    assert numbers(
        findings(placeholders, [Labelled("1", "好！"), Labelled("0", "nan")], "labelled")[
            "placeholder_prompt"
        ]
    ) == [2]
    assert (
        findings(
            placeholders, [Labelled("1", "!!!"), Labelled("0", "此处省略一万字，[Your Name]")], "labelled"
        )
        == {}
    )


def test_both_answers_of_a_pair_are_looked_at() -> None:
    assert "placeholder_answer" in findings(placeholders, [pair("Yes.", "N/A")], "preference")


@pytest.mark.parametrize(
    "text", ["I am {{name}}.", "我是{{ name }}，由{{author}}开发。", "您好，{{用户名}}！"]
)
def test_a_slot_that_nobody_filled(text: str) -> None:
    finding = findings(placeholders, [*CLEAN, chat("Who are you?", text)])["unfilled_slot"]
    assert numbers(finding) == [9]
    assert "sed -i" in finding.cure


@pytest.mark.parametrize(
    "text",
    [
        r"\frac{{a+b}}{{c}} and x^{{name}}",
        "<p>{{ user.name }}</p>",
        "In Jinja: {{ name }}",
        "{% if x %}{{ name }}{% endif %}",
        "f'{{{name}}}'",
        "a = {{1, 2}, {3, 4}}",
        "int grid[2][2] = {{0, 1}, {1, 0}};",
    ],
)
def test_braces_of_code(text: str) -> None:
    assert findings(placeholders, [chat("Show me the code.", text)]) == {}


@pytest.mark.parametrize(
    "text",
    [
        "Lorem ipsum dolor sit amet",
        "Name it <insert name here>",
        "[Insert an image]",
        "正文（此处省略三百字）结束",
        "第一步。\n待补充\n",
        "[插入图片]",
    ],
)
def test_text_that_was_to_be_written(text: str) -> None:
    assert numbers(findings(placeholders, [*CLEAN, chat("Go on.", text)])["unfinished_text"]) == [9]


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("Give me some lorem ipsum", "Lorem ipsum dolor sit amet"),
        ("Sort it", "Use list.insert(0, x) # [insert] at 0"),
        ("评价一下", "功能还有待补充，此处省略一万字也说不完它的好。"),
    ],
)
def test_text_that_is_meant(prompt: str, text: str) -> None:
    assert findings(placeholders, [chat(prompt, text)]) == {}


def test_blanks_of_letters_are_only_good_to_know() -> None:
    finding = findings(
        placeholders,
        [chat("Write a letter", "Dear Ann,\nSincerely,\n[Your Name]"), chat("写信", "此致\n[公司名称]")],
    )
    assert set(finding) == {"blanks_for_names"}
    assert (finding["blanks_for_names"].level, finding["blanks_for_names"].num) == ("info", 2)


def test_code_in_brackets_is_no_blank() -> None:
    code = "const [name, setName] = useState(0); a[date] = b[i]"
    assert findings(placeholders, [chat("Code", code)]) == {}


def test_prompts_to_sample_from() -> None:
    assert "placeholder_prompt" in findings(placeholders, [Prompt(ask("nan"))], "prompt")
