"""Personal data that looks real; nothing of it is shown whole. All of it is made up here."""

from __future__ import annotations

import pytest

from attune.data.examples import Text
from attune.data.findings import private
from attune.data.findings.contract import DetectorContract
from attune.data.findings.private import is_bank_card, is_id_card, is_phone, masked

from .rows import CLEAN, chat, findings, numbers, seen

KEY = "sk-" + "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xY"


class TestContract(DetectorContract):
    @pytest.fixture
    def detector_module(self):
        return private

    @pytest.fixture
    def seen(self):
        return seen([*CLEAN, chat("Call 13812347659", "li.wei87@163.com"), chat("Key?", KEY)])


@pytest.mark.parametrize(
    ("text", "name", "shown"),
    [
        ("电话：13812347659。", "private_phone", "138****7659"),
        ("手机138 1234 7659", "private_phone", "138****7659"),
        ("+86 13812347659", "private_phone", "138****7659"),
        ("call +44 20 7946 0958 now", "private_phone", "+44****0958"),
        ("call +1 (212) 867-4309", "private_phone", "+1 ****4309"),
        ("write to li.wei87@163.com.", "private_email", "l****@1****.com"),
        ("<Maria_Gonzalez@uni-hamburg.de>", "private_email", "M****@u****.de"),
        ("身份证号 11010519491231002X", "private_id_card", "110****002X"),
        ("card 4539 1488 0343 6467", "private_bank_card", "453****6467"),
        (f"export KEY={KEY}", "secret_key", "sk-a****"),
        ("AKIA" + "2E7Q4RT6YU8IO0PK", "secret_key", "AKIA****"),
        ("ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8", "secret_key", "ghp_****"),
        ("hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH", "secret_key", "hf_a****"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE", "secret_key", "----****"),
    ],
)
def test_found_and_masked(text: str, name: str, shown: str) -> None:
    found = findings(private, [Text("Nothing."), Text(text)], "text")
    assert set(found) == {name}
    assert [(row.origin.row, row.excerpt) for row in found[name].rows] == [(2, shown)]
    assert found[name].level == "warning"


@pytest.mark.parametrize(
    "text",
    [
        "john.doe@gmail.com, someone@example.com, info@steamhouse.cn, you@163.com, a@b",
        "13800138000, 13888888888, 13812345678, 18600000000",
        "The population is 13912347659.5 and it cost $13812347659, or 138123476591.",
        "+30+40+10+18 = 98; 3 +12345678; x = +1 (2) (3); call +1-212-555-0187",
        "4539 1488 0343 6468 fails Luhn, 4111111111111111 is for tests",
        "110105194912310022 has a wrong check digit; 20230101120000123",
        "π = 3.14159265358979323846, 1234567890123456, 2024-01-01 12:00:00",
        "class='sk-fading-circle-container-large', sk-xxxxxxxxxxxxxxxxxxxxxxxx",
        "AKIA" + "IOSFODNN7EXAMPLE",
        "192.168.100.200, ISBN 978-7-111-21382-6",
    ],
)
def test_nothing_real(text: str) -> None:
    assert findings(private, [Text(text)], "text") == {}


def test_no_excerpt_holds_the_value() -> None:
    values = ["13812347659", "li.wei87@163.com", "11010519491231002X", "4539148803436467", KEY]
    found = findings(private, [chat(value, f"It is {value}.") for value in values])
    assert len(found) == 5
    for finding in found.values():
        for row in finding.rows:
            assert all(value not in row.excerpt for value in values)
            assert "****" in row.excerpt


def test_few_phones_are_only_good_to_know_but_one_key_is_told() -> None:
    rows = [*[chat("Hi", "Hello.")] * 998, chat("Call", "13812347659"), chat("Key?", KEY)]
    found = findings(private, rows)
    assert (found["private_phone"].level, found["secret_key"].level) == ("info", "warning")
    assert numbers(found["secret_key"]) == [1000]


@pytest.mark.parametrize(
    ("number", "is_right"),
    [("11010519491231002X", True), ("11010519491231002x", True), ("110105194912310020", False)],
)
def test_check_digit_of_identity_cards(number: str, is_right: bool) -> None:
    """The example of GB 11643-1999."""
    assert is_id_card(number) is is_right


def test_check_digit_of_bank_cards() -> None:
    assert is_bank_card("4539148803436467")
    assert not is_bank_card("4539148803436476")
    assert not is_bank_card("4111111111111111")


def test_made_up_numbers() -> None:
    assert is_phone("13812347659")
    assert not is_phone("13812345678")
    assert not is_phone("1381234")


@pytest.mark.parametrize(
    ("value", "shown"), [("13812341234", "138****1234"), ("12345678", "12****78"), ("ab", "****")]
)
def test_masked(value: str, shown: str) -> None:
    assert masked(value, 3, 4) == shown
