"""Characters that no person wrote: wrongly decoded text, lost and invisible characters, HTML entities."""

# ruff: noqa: E501 (a sentence holds both languages in one line)
from __future__ import annotations

import re
from collections.abc import Iterator
from math import inf

from ..examples import Example, texts
from ._finding import excerpt
from ._symptom import Hit, RowDetector, Symptom, meanings

KINDS = ("text", "conversation", "preference", "verdict", "prompt", "labelled")
_SYMPTOMS = {
    "mojibake": Symptom(
        "text was decoded with a wrong encoding (“cafÃ©”, “锟斤拷”). | 文本用错误的编码解码过（“cafÃ©”、“锟斤拷”）。",
        "Read the original file with its own encoding; where there is none, ftfy.fix_text(text) repairs most of it. | "
        "用正确的编码重读原始文件；没有原始文件时，ftfy.fix_text(text) 可修复大部分。",
        stop_from=0.2,
    ),
    "lost_characters": Symptom(
        "characters are lost: � (U+FFFD) or □ stand in their place. | 有字符丢失，只剩 �（U+FFFD）或 □。",
        "Take these rows from the original again, or take them out: they cannot be restored. | "
        "从原始数据重新取这些行，或将其删除：丢失的字符无法恢复。",
        stop_from=0.2,
    ),
    "invisible_characters": Symptom(
        "invisible characters: zero-width, direction marks, soft hyphens, a BOM inside the text. | "
        "含不可见字符：零宽字符、方向控制符、软连字符或文中的 BOM。",
        r'Take them out: re.sub("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]", "", text) | '
        r'将其删除：re.sub("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]", "", text)',
    ),
    "control_characters": Symptom(
        "control characters. | 含控制字符。",
        r'Take them out: re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", "", text) | '
        r'将其删除：re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", "", text)',
    ),
    "private_use_characters": Symptom(
        "private-use characters: signs of one font (icons, formulas of a PDF) that mean nothing elsewhere. | "
        "含私用区字符：某一字体自有的符号（图标、PDF 公式），在别处没有含义。",
        r'Replace them by what they stood for, or take them out: re.sub("[\ue000-\uf8ff]", "", text) | '
        r'换成其原意，或将其删除：re.sub("[\ue000-\uf8ff]", "", text)',
    ),
    "html_entities": Symptom(
        "HTML entities stand in the text (&#39; for an apostrophe). | 文本中有 HTML 实体（如 &#39; 代替引号）。",
        "Unescape them: html.unescape(text) | 将其还原：html.unescape(text)",
    ),
    "literal_escapes": Symptom(
        r"escapes stand as letters (\n, \u4f60) where a line break or a character is meant. | "
        r"转义符以字母形式出现（\n、\u4f60），本应是换行或字符。",
        r'The rows were encoded twice: load the texts once more with json.loads, or text.replace("\\n", "\n"). | '
        r'这些行被编码了两次：请对文本再做一次 json.loads，或 text.replace("\\n", "\n")。',
    ),
    "line_separators": Symptom(
        "line separators (U+2028, U+2029). | 含行分隔符（U+2028、U+2029）。",
        "attune reads them as they are; other tools may break rows there: text.replace('\\u2028', '\\n'). | "
        "attune 会原样读取；其他工具可能在此断行：text.replace('\\u2028', '\\n')。",
        warning_from=inf,
    ),
}
NAMES = meanings(_SYMPTOMS)

_BYTES = {
    char: byte
    for byte in range(0x80, 0xA0)
    for char in {bytes([byte]).decode("cp1252", "ignore"), chr(byte)}
    if char
}
"""The byte that a character was, for the half of Windows-1252 that differs from Latin-1."""
_TAIL = "[\u00a0-\u00bf" + "".join(_BYTES) + "]"
_LATIN = re.compile(
    "[ÂÃ][\u0080-\u00bf]"  # accented letters, no-break spaces; no quotation marks: “NÃ”” may be Portuguese
    f"|â[€\u0080]{_TAIL}"  # quotation marks, dashes, dots
    f"|[äåæçèé]{_TAIL}{{2}}(?:[ãäåæçèéï]{_TAIL}{{2}})+"  # two Chinese signs or more
    f"|(?:[ÐÑ]{_TAIL}){{3,}}"  # Cyrillic
    f"|ð[Ÿ\u009f]{_TAIL}{{2}}"  # emoji
    "|ï»¿"  # a BOM
)
_GBK = re.compile("锟斤拷|[銆锛鈥锟浣鐨鏄鎴鍦浜涓浠杩鍙鏈璇闂瑕澶灏瀛鍚鐢鑳绛鍥][^\x00-\x7f]+")
"""Chinese in UTF-8 that was read as GBK is full of these signs: two bytes of a frequent beginning."""
_CHINESE = re.compile("[\u2010-\u2026\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]+")

_THAI = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_PLAIN = "\x21-\x7e\u00a1-\u024f\u4e00-\u9fff"
_SIGNS = (
    ("lost_characters", re.compile("\ufffd+|□{2,}")),
    (
        "invisible_characters",
        # South-East Asian scripts break lines at zero-width spaces; joiners shape emoji, Arabic and Indic.
        re.compile(
            f"[\u00ad\u2060-\u2064\ufeff]|(?<![{_THAI}])\u200b|(?<=[{_PLAIN}])[\u200c\u200d](?=[{_PLAIN}])"
        ),
    ),
    ("control_characters", re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")),
    ("private_use_characters", re.compile("[\ue000-\uf8ff\U000f0000-\U0010ffff]+")),
    ("line_separators", re.compile("[\u2028\u2029]")),
)
_DIRECTION = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_SUSPECT = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2069□\ue000-\uf8ff\ufeff\ufffd"
    "\U000f0000-\U0010ffffÂÃâäåæçèéÐÑðï銆锛鈥锟浣鐨鏄鎴鍦浜涓浠杩鍙鏈璇闂瑕澶灏瀛鍚鐢鑳绛鍥]"
)
"""One pass that clears nearly every text."""
_CONTROL = _SIGNS[2][1]
_ENTITY = re.compile(
    r"&(?:#\d{2,6}|#x[0-9a-fA-F]{2,6}|amp|lt|gt|quot|apos|nbsp|[mn]dash|hellip|[lr][sd]quo);"
)
_ABOUT_HTML = re.compile(r"</|\bx?html\b|\bxml\b|entit(?:y|ies)|escap|实体|转义", re.IGNORECASE)
_ESCAPED_BREAK = re.compile(r"\\n(?=\\n|[A-Z0-9\u4e00-\u9fff#*•-])|(?<=[.,:;!?。，：；！？])\\n(?![\"'`])")
_ESCAPED_CHARS = re.compile(r"(?:\\u[4-9][0-9a-fA-F]{3}){2,}")


class Detector(RowDetector):
    SYMPTOMS = _SYMPTOMS

    def hits(self, example: Example) -> Iterator[Hit]:
        for text in texts(example):
            if text.isascii():
                if found := _CONTROL.search(text):
                    yield "control_characters", _shown(text, *found.span())
            elif _SUSPECT.search(text):
                yield from _strange(text)
            if "&" in text and (found := _ENTITY.search(text)) and not _ABOUT_HTML.search(text):
                yield "html_entities", excerpt(text, *found.span())
            if "\\" in text and (span := _escape(text)):
                yield "literal_escapes", excerpt(text, *span)


def _strange(text: str) -> Iterator[Hit]:
    for name, sign in _SIGNS:
        if found := sign.search(text):
            yield name, _shown(text, *found.span())
    if (found := _DIRECTION.search(text)) and not _RIGHT_TO_LEFT.search(text):
        yield "invisible_characters", _shown(text, *found.span())
    for found in _LATIN.finditer(text):
        if meant := _read_as_latin(found[0]):
            yield "mojibake", f"{excerpt(text, *found.span())} ({found[0]} = {meant})"
            break
    for found in _GBK.finditer(text):
        if found[0] == "锟斤拷":
            yield "mojibake", excerpt(text, *found.span())
        elif meant := _read_as_gbk(found[0]):
            yield "mojibake", f"{excerpt(text, *found.span())} ({found[0][:12]} = {meant[:8]})"


def _read_as_latin(piece: str) -> str | None:
    """What was meant, if the piece is UTF-8 that was read as Latin-1 or Windows-1252."""
    try:
        return bytes(_BYTES.get(char, ord(char) & 0xFF) for char in piece).decode("utf-8")
    except UnicodeDecodeError:
        return None


def _read_as_gbk(piece: str) -> str | None:
    """What was meant, if the piece begins with UTF-8 that was read as GBK: three Chinese signs that come out
    of it are no chance; two are none where they are all of it.
    """
    written = piece[:24].encode("gb18030", "ignore")
    try:
        meant, is_whole = written.decode("utf-8"), True
    except UnicodeDecodeError as error:
        meant, is_whole = written[: error.start].decode("utf-8"), False
    chinese = _CHINESE.match(meant)
    num = len(chinese[0]) if chinese else 0
    return meant if num >= 3 or (is_whole and num == len(meant) >= 2) else None


def _escape(text: str) -> tuple[int, int] | None:
    """A line break written as two letters, in a text that has no real one and no other reason for it (a
    formula, a path, a string in code), or Chinese written as escapes.
    """
    if found := _ESCAPED_CHARS.search(text):
        return found.span()
    if "\n" in text:
        return None
    breaks = list(_ESCAPED_BREAK.finditer(text))
    return breaks[0].span() if len(breaks) > 1 else None


def _shown(text: str, start: int, end: int) -> str:
    """An excerpt in which the signs that cannot be seen are named by their numbers."""
    before, after = text[max(0, start - 20) : start], text[end : end + 20]
    named = "".join(f"<U+{ord(sign):04X}>" for sign in text[start : min(end, start + 4)])
    return named.join("".join(_UNSEEN.sub("", side).split("\n")) for side in (before, after))


_UNSEEN = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ue000-\uf8ff\ufeff]"
)
