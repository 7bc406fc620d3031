"""Languages by script, and rows out of the prevailing one."""

from __future__ import annotations

import pytest

from attune.data.examples import Labelled, Text
from attune.data.findings import languages
from attune.data.findings.contract import DetectorContract
from attune.data.findings.languages import NO_LANGUAGE, language_of

from .rows import chat, detector, findings, numbers, seen

ZH = chat("包子怎么蒸？", "水开后上锅，大火蒸十二分钟。")
EN = chat("How do I steam a bun?", "Put it over boiling water and wait for twelve minutes.")


class TestContract(DetectorContract):
    @pytest.fixture
    def detector_module(self):
        return languages

    @pytest.fixture
    def seen(self):
        return seen(
            [ZH] * 30 + [EN, chat("包子怎么蒸？", "Put it over the boiling water and wait for a while.")]
        )


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The water should boil before the basket goes on.", "en"),
        ("What is it?", "en"),
        ("水开之后再上蒸笼。", "zh"),
        ("饅頭要蒸多久？", "zh"),
        ("用 Python 的 requests 库发送请求，然后解析 JSON。", "zh"),
        ("他说水开了才能上蒸笼，然后：“The water should boil before the basket goes on the pot.”", "mixed"),
        (
            "The dish is called 饺子 and it is boiled in a large pot of salted water every winter evening, "
            "and everybody likes it very much with vinegar on the side.",
            "en",
        ),
        ("Сколько варить пельмени в кипящей воде?", "other"),
        ("水が沸いたら蒸し器に入れてください。", "other"),
        ("물이 끓으면 찜기를 올리세요, 그리고 기다리세요.", "other"),
        ("Le café est déjà prêt, mais la crème est gâtée.", "other"),
        ("She drank a café au lait in the garden of the hotel and read the paper.", "en"),
        ("SELECT name FROM menu WHERE price < 5;", NO_LANGUAGE),
        ("for i in range(10): print(i ** 2, end='')", NO_LANGUAGE),
        ("12 * 7 = 84", NO_LANGUAGE),
        ("", NO_LANGUAGE),
        ("```python\nwhile the and of to is that with for you this it in:\n```", NO_LANGUAGE),
    ],
)
def test_language_of(text: str, language: str) -> None:
    assert language_of(text) == language


def test_untranslated_rows_of_a_chinese_set_are_odd() -> None:
    finding = findings(languages, [*[ZH] * 60, EN, *[ZH] * 60, EN])["odd_language"]
    assert (finding.num, finding.total, numbers(finding), finding.level) == (2, 122, [61, 122], "warning")
    assert "Nearly all are zh, these are en" in finding.text
    assert finding.rows[0].excerpt == "How do I steam a bun?"


def test_chinese_rows_of_an_english_set_are_odd() -> None:
    assert numbers(findings(languages, [*[EN] * 20, ZH])["odd_language"]) == [21]


def test_a_set_of_two_languages_has_no_odd_rows() -> None:
    assert findings(languages, [*[EN] * 20, *[ZH] * 20]) == {}


def test_few_rows_prove_nothing() -> None:
    assert findings(languages, [*[ZH] * 8, EN]) == {}


def test_code_and_numbers_are_not_odd() -> None:
    rows = [ZH] * 30 + [
        chat("1 + 1 = ?", "2"),
        chat("用 SQL 查菜单", "SELECT name FROM menu WHERE price < 5;"),
    ]
    assert findings(languages, rows) == {}


def test_an_answer_in_another_language() -> None:
    wrong = chat("包子要蒸多久才好？", "Put it over the boiling water and wait for twelve minutes.")
    finding = findings(languages, [*[ZH] * 3, wrong])["answer_in_other_language"]
    assert numbers(finding) == [4]
    assert "→ Put it over" in finding.rows[0].excerpt


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("翻译：水开后上锅蒸十二分钟。", "Put it over the boiling water and wait for twelve minutes."),
        ("用英语介绍包子", "A bun is a small round bread that is filled with meat and then steamed."),
        ("怎样把 steam 变成复数？", "The plural of it is steams, which is hardly ever used."),
        ("How do you say in Chinese: wait for the water to boil", "等水开"),
        (
            "写一个函数，返回两数之和。",
            "def add(first, second): return first + second  # the sum of both numbers",
        ),
    ],
)
def test_what_the_prompt_asks_for_is_right(prompt: str, answer: str) -> None:
    assert findings(languages, [chat(prompt, answer)]) == {}


def test_the_table_counts_both_sides() -> None:
    (table,) = detector(languages, [ZH, ZH, EN, chat("1 + 1", "2")], "conversation").facts()
    assert table.rows == (("zh", "zh", 2, "50.0%"), ("en", "en", 1, "25.0%"), ("–", "–", 1, "25.0%"))


def test_texts_and_labelled_inputs_have_one_side() -> None:
    (table,) = detector(languages, [Text("水开后上锅。")], "text").facts()
    assert table.rows == (("–", "zh", 1, "100.0%"),)
    (table,) = detector(languages, [Labelled("1", "好吃，下次还来。")], "labelled").facts()
    assert table.rows == (("zh", "–", 1, "100.0%"),)
