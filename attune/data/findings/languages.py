"""Languages, told by script: Chinese, English, mixed, other; and the rows that fall out of the data's own.

Code, numbers and names count for nothing, so that an answer in SQL is in no language.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from ...recipe.messages import join, say
from ..examples import Example, Labelled, inputs_of, outputs_of
from ._finding import SHOWN_ROWS, Context, Fact, Finding, Seen, Table, Tally, excerpt
from ._symptom import Symptom, Symptoms, meanings

KINDS = ("text", "conversation", "preference", "verdict", "prompt", "labelled")
_SYMPTOMS = {
    "odd_language": Symptom(
        "in another language than nearly all rows. | 语言与绝大多数行不同。",
        "Translate these rows or take them out, if the model is to keep to one language. | "
        "若模型应只用一种语言，请翻译或删除这些行。",
        warning_from=0.01,
    ),
    "answer_in_other_language": Symptom(
        "the answer is in another language than its prompt, which asks for no translation. | "
        "回答与提示语言不同，而提示并未要求翻译。",
        "Look at these rows: the model learns to change the language. | 请检查这些行：模型会学会改换语言。",
        warning_from=0.01,
    ),
}
NAMES = meanings(_SYMPTOMS)

NO_LANGUAGE = "–"
_PREVAILING = 0.9
_FEWEST = 10
"""Rows below which nothing prevails."""
_LONG = 600
"""Signs of a text that are looked at."""
_ENOUGH = 120
"""Of them, where all are ASCII."""
_HAN = re.compile("[\u3400-\u9fff]+")
_OTHER = re.compile("[\u0370-\u1fff\u3040-\u30ff\uac00-\ud7af]+")
"""Greek, Cyrillic, Arabic, Indic, Thai …, kana and Hangul."""
_KANA = re.compile("[\u3040-\u30ff]")
_ACCENTED = re.compile("[\u00c0-\u024f\u1e00-\u1eff]")
_CODE = re.compile("```.*?(?:```|$)", re.DOTALL)
_LATIN_WORD = re.compile("[a-z]{2}")
_CODE_SIGNS = re.compile(r"[{}=;<>_\\]|\w\(")
_WORD_LETTERS = 1.6
"""Chinese signs that say as much as one English word."""
_ASKS = (
    *(
        "translat",
        "language",
        "english",
        "chinese",
        "mandarin",
        "french",
        "spanish",
        "german",
        "italian",
        "japanese",
    ),
    *(
        "korean",
        "latin",
        "bilingual",
        "译",
        "英文",
        "英语",
        "中文",
        "汉语",
        "语言",
        "双语",
        "法语",
        "日语",
        "德语",
    ),
    *("西班牙语", "拼音", "单词", "词汇", "语法"),
)
"""Words of prompts that ask for another language, or are about one."""
_EDGES = ".,:;!?\"'()[]…*-"


def language_of(text: str) -> str:
    """``zh``, ``en``, ``mixed``, ``other``, or ``NO_LANGUAGE``; Latin letters with accents are ``other``."""
    text = text[:_LONG]
    if "```" in text:
        text = _CODE.sub(" ", text)
    if text.isascii():
        return "en" if _num_words(text[:_ENOUGH]) else NO_LANGUAGE
    han = sum(map(len, _HAN.findall(text)))
    other = sum(map(len, _OTHER.findall(text)))
    if han and other and len(_KANA.findall(text)) * 10 > han:
        return "other"
    if not han and other > 10 and other * 2 > sum(map(str.isalpha, text)):
        return "other"
    words = _num_words(_HAN.sub(" ", text)) if han else _num_words(text)
    if not han:
        written = text.split()
        accented = sum(1 for word in written if _ACCENTED.search(word))
        return "other" if accented > max(1, 0.08 * len(written)) else "en" if words else NO_LANGUAGE
    share = han / (han + _WORD_LETTERS * words)
    return "zh" if share > 0.7 else "en" if share < 0.1 else "mixed"


def _num_words(text: str) -> int:
    """Words of prose in Latin letters; 0 where most of it is code, numbers or names."""
    words = [word if word.isalpha() else word.strip(_EDGES) for word in text.split()]
    plain = [word for word in words if word.isalpha() and word.isascii() and not word.isupper()]
    lower = sum(map(str.islower, plain))
    return len(plain) if lower >= 2 and 5 * len(plain) >= 3 * len(words) else 0


class Detector:
    """Counts rows by the languages of what is given and what is learnt."""

    def __init__(self, context: Context) -> None:
        self._symptoms = Symptoms(_SYMPTOMS)
        self._pairs: dict[tuple[str, str], int] = {}
        self._pure: Counter[str] = Counter()
        self._outside = {"zh": Tally(), "en": Tally()}

    def see(self, seen: Seen) -> None:
        given, learnt = _sides(seen.example)
        pair = language_of(given), language_of(learnt)
        self._pairs[pair] = self._pairs.get(pair, 0) + 1
        languages = {language for language in pair if language != NO_LANGUAGE}
        asks = _asks_for_language(given)
        if len(languages) == 1:
            language = languages.pop()
            self._pure[language] += 1
            for prevailing, tally in self._outside.items():
                if language not in (prevailing, "mixed") and not asks:
                    tally.add(seen.origin, excerpt(given or learnt, 0, 40) if tally.num < SHOWN_ROWS else "")
        differs = pair in (("zh", "en"), ("en", "zh"))
        hit = differs and _is_pure(given, pair[0]) and _is_pure(learnt, pair[1]) and not asks
        piece = f"{excerpt(given, 0, 24)} → {excerpt(learnt, 0, 24)}" if hit else ""
        self._symptoms.row(seen.origin, [("answer_in_other_language", piece)] if hit else ())

    def findings(self) -> Iterable[Finding]:
        yield from self._symptoms.findings()
        num = self._pure.total()
        for language, odd in self._outside.items():
            if odd.num and num >= _FEWEST and self._pure[language] >= _PREVAILING * num:
                detail = say(
                    " Nearly all are {language}, these are {odd}.",
                    "绝大多数为 {language}，这些为 {odd}。",
                    language=language,
                    odd=join(sorted(set(self._pure) - {language, "mixed"})),
                )
                yield self._symptoms.finding("odd_language", odd, self._symptoms.total, detail)

    def facts(self) -> Iterable[Fact]:
        total = sum(self._pairs.values())
        if total:
            columns = say("given", "提示"), say("learnt", "回答"), say("rows", "行数"), say("share", "比例")
            ordered = sorted(self._pairs.items(), key=lambda entry: -entry[1])
            rows = tuple((*pair, num, f"{num / total:.1%}") for pair, num in ordered)
            yield Table(say("Languages", "语言"), columns, rows)


def _sides(example: Example) -> tuple[str, str]:
    given = inputs_of(example)
    if isinstance(example, Labelled):
        return " ".join(given), ""
    return "\n".join(given), "\n".join(outputs_of(example)[:4])


def _asks_for_language(prompt: str) -> bool:
    lower = prompt[:_LONG].lower()
    return any(word in lower for word in _ASKS)


def _is_pure(text: str, language: str) -> bool:
    """No Chinese and no code in an English text; no English word in a Chinese one."""
    if language == "en":
        return not (_HAN.search(text) or _CODE_SIGNS.search(text))
    return not _LATIN_WORD.search(text)
