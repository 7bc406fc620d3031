"""Characters that no person wrote."""

from __future__ import annotations

import pytest

from attune.data.examples import Text
from attune.data.findings import characters
from attune.data.findings.contract import DetectorContract

from .rows import CLEAN, chat, findings, numbers, seen


class TestContract(DetectorContract):
    @pytest.fixture
    def detector_module(self):
        return characters

    @pytest.fixture
    def seen(self):
        return seen(
            [*CLEAN, chat("What is a cafÃ©?", "A plac\ufffd."), chat("Zero\u200bwidth", "It&#39;s \x07.")]
        )


def names(text: str) -> set[str]:
    return set(findings(characters, [Text(text)], "text"))


@pytest.mark.parametrize(
    "text",
    [
        "café",
        "naïve Œuvre — “déjà vu” …",
        "你好，世界！",
        "我爱你",
        "Привет, мир",
        "👨\u200d👩\u200d👧 😀",
        "żółć",
        "中国人民银行",
    ],
)
def test_text_read_with_a_wrong_encoding(text: str) -> None:
    wrong = text.encode("utf-8").decode("latin-1")
    assert "mojibake" in names(f"So: {wrong} (end)"), wrong


@pytest.mark.parametrize("text", ["It’s", "“quoted”", "café", "–", "你好世界"])
def test_text_read_as_windows_1252(text: str) -> None:
    wrong = "".join(bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in text.encode("utf-8"))
    assert "mojibake" in names(f"So: {wrong} (end)"), wrong


@pytest.mark.parametrize(
    "text", ["你好", "你好，世界。", "今天的天气很好，我们去公园吧。", "请问你们几点开门？"]
)
def test_text_read_as_gbk(text: str) -> None:
    wrong = text.encode("utf-8").decode("gb18030", "ignore")
    assert "mojibake" in names(f"So: {wrong} (end)"), wrong


def test_replaced_twice() -> None:
    assert "mojibake" in names("他说锟斤拷锟斤拷")


def test_the_excerpt_says_what_was_meant() -> None:
    finding = findings(characters, [Text("A cafÃ© in Paris")], "text")["mojibake"]
    assert finding.rows[0].excerpt == "A cafÃ© in Paris (Ã© = é)"
    assert (finding.level, finding.num) == ("stop", 1)


@pytest.mark.parametrize(
    "text",
    [
        "Écoutez, “ça va”… NÃO, SÃO PAULO — “IRMÔ, À la carte « été », Ærø, Ðà Nẵng, mâche, 25 °C, £3, ½ cup",
        "涓涓细流汇成江海，瑕不掩瑜，绛红色的云，浣熊在溪边洗手，澶渊之盟，瀛台，鐢字很少见。",
        "Ångström, Ñandú, ñoño, ÿ, äöüß, Þór, ŒUVRE",
        "سلام می\u200cخواهم",  # Persian with a joiner
        "क्\u200dष",  # Hindi
        "ភាសា\u200bខ្មែរ",  # Khmer breaks lines there
        "👩\u200d🍳 👨\u200d👩\u200d👧 ✌️",
        "‏שלום‏ (a mark beside Hebrew)",
        "□ yes  □ no",
        "Tab\tand\nline\r\n",
        "R&D, AT&T; a && b",
        "<a href='x'>AT&amp;T</a>",
        r"Let $x \neq y$ and $\nabla f$, $\nu$, C:\new\names",
        'printf("one\\n"); printf("two\\n");',
        "Two lines\nwith \\n named in one of them, \\n",
        "\u3000\u3000两个全角空格，\xa0不换行空格",
    ],
)
def test_what_is_right(text: str) -> None:
    assert names(text) == set()


def test_real_chinese_is_no_mojibake() -> None:
    common = "".join(
        bytes([high, low]).decode("gbk")
        for high in range(0xB0, 0xF8)
        for low in range(0xA1, 0xFA)
        if high != 0xD7
    )
    pieces = [common[at : at + 40] for at in range(0, len(common), 40)]
    assert findings(characters, [Text(piece) for piece in pieces], "text") == {}


@pytest.mark.parametrize(
    ("text", "name", "piece"),
    [
        ("阕\ufffd匣岬", "lost_characters", "阕<U+FFFD>匣岬"),
        ("三□□四", "lost_characters", "三<U+25A1><U+25A1>四"),
        ("a\u200bb", "invisible_characters", "a<U+200B>b"),
        ("a\ufeffb", "invisible_characters", "a<U+FEFF>b"),
        ("pass\u00adword", "invisible_characters", "pass<U+00AD>word"),
        ("a\u202eb", "invisible_characters", "a<U+202E>b"),
        ("p\u200da", "invisible_characters", "p<U+200D>a"),
        ("a\x00b", "control_characters", "a<U+0000>b"),
        ("a\x1b[0m", "control_characters", "a<U+001B>[0m"),
        ("好\x85吃", "control_characters", "好<U+0085>吃"),
        ("见\ue412了", "private_use_characters", "见<U+E412>了"),
        ("a\u2028b", "line_separators", "a<U+2028>b"),
        ("It&#39;s", "html_entities", "It&#39;s"),
        ("a &lt; b", "html_entities", "a &lt; b"),
        ("First.\\nSecond.\\nThird.", "literal_escapes", "First.\\nSecond.\\nThird."),
        ("第一\\n第二\\n第三", "literal_escapes", "第一\\n第二\\n第三"),
        ("\\u4f60\\u597d", "literal_escapes", "\\u4f60\\u597d"),
    ],
)
def test_what_is_wrong(text: str, name: str, piece: str) -> None:
    found = findings(characters, [Text(text)], "text")
    assert set(found) == {name}
    assert found[name].rows[0].excerpt == piece


def test_a_fifth_of_the_rows_stops() -> None:
    good, bad = Text("Good."), Text("B\ufffdd.")
    assert findings(characters, [good] * 8 + [bad] * 2, "text")["lost_characters"].level == "stop"
    assert findings(characters, [good] * 9 + [bad], "text")["lost_characters"].level == "warning"
    assert findings(characters, [good] * 999 + [bad], "text")["lost_characters"].level == "info"


def test_line_separators_are_only_good_to_know() -> None:
    assert findings(characters, [Text("a\u2028b")], "text")["line_separators"].level == "info"


def test_rows_of_conversations() -> None:
    found = findings(characters, [*CLEAN, chat("It&#39;s", "It&#39;s"), chat("a", "b&quot;")])
    assert (numbers(found["html_entities"]), found["html_entities"].num) == ([9, 10], 2)
    assert set(found) == {"html_entities"}
