"""Two languages: which is spoken, and that every message in the package has both."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from attune.recipe import messages
from attune.recipe.messages import join, language, pick, say, speaking

PACKAGE = Path(messages.__file__).parents[1]


def sentences() -> Iterator[tuple[str, str | None, str | None, set[str]]]:
    """Place, English text, Chinese text (None where it is no literal) and keywords of every ``say(...)``."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "say":
                texts = [part.value if isinstance(part, ast.Constant) else None for part in node.args]
                place = f"{path.relative_to(PACKAGE)}:{node.lineno}"
                keywords = {keyword.arg or "**" for keyword in node.keywords}
                yield place, texts[0], texts[1] if len(texts) == 2 else None, keywords


def placeholders(text: str) -> set[str]:
    names = {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
    return {re.split(r"[.\[]", name)[0] for name in names}


def test_every_message_has_both_languages() -> None:
    found = list(sentences())
    assert len(found) > 100
    wrong = []
    for place, english, chinese, keywords in found:
        if english is None or chinese is None:
            wrong.append(f"{place}: not two literal texts")
        elif re.search(r"[\u4e00-\u9fff]", english):
            wrong.append(f"{place}: Chinese where English belongs: {english}")
        elif english == chinese and re.search(r"[a-z]{3}", english):
            wrong.append(f"{place}: the same text twice: {english}")
        elif placeholders(english) != placeholders(chinese):
            wrong.append(f"{place}: {placeholders(english)} in English, {placeholders(chinese)} in Chinese")
        elif "**" not in keywords and placeholders(english) != keywords:
            wrong.append(f"{place}: placeholders {placeholders(english)}, values {keywords}")
    assert "\n".join(wrong) == ""


def test_say(monkeypatch: pytest.MonkeyPatch) -> None:
    assert say("No file {path}.", "没有文件 {path}。", path="a{b}") == "No file a{b}."
    monkeypatch.setenv("ATTUNE_LANG", "zh")
    assert say("No file {path}.", "没有文件 {path}。", path="a{b}") == "没有文件 a{b}。"


@pytest.mark.parametrize(
    ("environment", "spoken"),
    [
        ({"ATTUNE_LANG": "zh", "LANG": "en_US.UTF-8"}, "zh"),
        ({"ATTUNE_LANG": "en", "LANG": "zh_CN.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LC_ALL": "en_GB.UTF-8", "LANG": "zh_CN.UTF-8"}, "en"),
        ({"LC_MESSAGES": "zh_TW", "LANG": "C"}, "zh"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
    ],
)
def test_the_language(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], spoken: str) -> None:
    for name in ("ATTUNE_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    messages._language.cache_clear()
    assert language() == spoken
    messages._language.cache_clear()


def test_speaking_another_language_for_a_while() -> None:
    with speaking("zh"):
        assert (language(), join("ab")) == ("zh", "a、b")
        with speaking("en"):
            assert language() == "en"
        assert language() == "zh"
    assert (language(), join("ab")) == ("en", "a, b")


def test_pick() -> None:
    assert pick("English. | 中文。") == "English."
    assert pick("Only English.") == "Only English."
    with speaking("zh"):
        assert pick("English. | 中文。") == "中文。"
        assert pick("Only English.") == "Only English."
