"""Personal data that looks real, and keys: phone numbers, mail addresses, identity and bank cards.

Nothing of it is shown whole: an excerpt is the masked value, without what stands around it.
"""

# ruff: noqa: E501 (a sentence holds both languages in one line)
from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from ..examples import Example, texts
from ._symptom import Hit, RowDetector, Symptom, meanings

KINDS = ("text", "conversation", "preference", "verdict", "prompt", "labelled")
_CURE = (
    "Take the values out, or replace them by made-up ones, before a model learns them by heart. | "
    "请在模型记住它们之前删除，或换成虚构的值。"
)
_SYMPTOMS = {
    "private_phone": Symptom("a phone number that looks real. | 有疑似真实的电话号码。", _CURE),
    "private_email": Symptom("a mail address that looks real. | 有疑似真实的邮箱地址。", _CURE),
    "private_id_card": Symptom(
        "a Chinese identity card number with the right check digit. | 有校验位正确的身份证号。",
        _CURE,
        warning_from=0,
    ),
    "private_bank_card": Symptom(
        "a bank card number with the right check digit. | 有校验位正确的银行卡号。", _CURE, warning_from=0
    ),
    "secret_key": Symptom(
        "a key that opens something (API key, private key). | 有密钥（API key、私钥）。",
        "Take it out of the data and revoke it where it was issued. | 请从数据中删除，并在签发处吊销。",
        warning_from=0,
    ),
}
NAMES = meanings(_SYMPTOMS)

_MADE_UP_DOMAINS = re.compile(
    r"example|test|sample|domain|company|e?mail\.com|abc|xyz|xxx|acme|foo|bar|website|business|placeholder|noreply|yourcompany|\.local$"
)
_MADE_UP_NAMES = re.compile(
    r"^(?:your|user|name|username|someone|somebody|me|you|xxx|abc|test|example|first|last|e?mail|info|support|contact|admin|hello|sales|service|help|no-?reply|j(?:ohn|ane)?[._]?(?:doe|smith))"
)
_EMAIL = re.compile(
    r"(?<![\w.+-])[A-Za-z0-9][\w.+-]{0,40}@(?:[A-Za-z0-9-]{1,40}\.){1,3}[A-Za-z]{2,6}(?![\w@-])", re.ASCII
)
_LONG_NUMBER = re.compile(r"[0-9][0-9() -]{7,}[0-9Xx]")
_CN_PHONE = re.compile(r"(?<![\d.,$¥￥*=+-])(?:\+?86[- ]?)?(1[3-9]\d[- ]?\d{4}[- ]?\d{4})(?![\d.,%*]?\d)")
_PHONE = re.compile(r"(?<![\w)=+])\+(?:[1-9]\d{0,2})[ .-]?(?:\(?\d{2,4}\)?[ .-]?){2,4}\d{2,4}(?!\d)")
_ID_CARD = re.compile(
    r"(?<!\d)[1-8]\d{5}(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx](?![\dA-Za-z])"
)
_BANK_CARD = re.compile(
    r"(?<![\d.-])(?:4\d{3}|5[1-5]\d\d|2[2-7]\d\d|3[47]\d\d|6(?:2\d\d|011|5\d\d))[ -]?\d{4}[ -]?\d{4}[ -]?\d{3,7}(?![\d.-]?\d)"
)
_KEY = re.compile(
    r"(?<![\w-])(?:sk-(?:proj-|ant-)?[A-Za-z0-9_-]{20,}|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|hf_[A-Za-z0-9]{30,}"
    r"|AIza[\w-]{35}|xox[baprs]-[\w-]{20,}|LTAI[A-Za-z0-9]{16,20})(?![\w-])|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
_KEY_HINTS = (
    "sk-",
    "AKIA",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "hf_",
    "AIza",
    "xox",
    "LTAI",
    "PRIVATE KEY",
)
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


class Detector(RowDetector):
    SYMPTOMS = _SYMPTOMS

    def hits(self, example: Example) -> Iterator[Hit]:
        for text in texts(example):
            if "@" in text:
                for mail in _EMAIL.findall(text):
                    if is_real_email(mail):
                        yield "private_email", _masked_email(mail)
                        break
            if _LONG_NUMBER.search(text):
                yield from _numbers(text)
            if any(hint in text for hint in _KEY_HINTS):
                for key in _KEY.findall(text):
                    if is_real_key(key):
                        yield "secret_key", masked(key, 4, 0)
                        break


def _numbers(text: str) -> Iterator[Hit]:
    for name, pattern, is_real in _NUMBERS:
        for found in pattern.finditer(text):
            value = found[found.lastindex or 0]
            if is_real(value):
                yield name, masked(value, 3, 4)
                break


def is_id_card(number: str) -> bool:
    """ISO 7064 MOD 11-2, as GB 11643 has it."""
    total = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, number, strict=False))
    return "10X98765432"[total % 11] == number[-1].upper()


def is_bank_card(number: str) -> bool:
    """The digits sum up as Luhn demands, and are no well-known test number."""
    digits = [int(sign) for sign in number if sign.isdigit()]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return (sum(doubled) + sum(digits[-1::-2])) % 10 == 0 and _is_random(digits)


def is_phone(number: str) -> bool:
    """Between 8 and 15 digits that nobody made up (12345678, 88888888, 138-0013-8000, 555)."""
    digits = [int(sign) for sign in number if sign.isdigit()]
    written = "".join(map(str, digits))
    return 8 <= len(digits) <= 15 and _is_random(digits) and "555" not in written and written != "13800138000"


def is_real_email(address: str) -> bool:
    name, _, domain = address.lower().partition("@")
    return not _MADE_UP_DOMAINS.search(domain) and not _MADE_UP_NAMES.match(name)


def is_real_key(key: str) -> bool:
    """Random letters, not “sk-xxxxxxxx”, “sk-fading-circle” or “AKIAIOSFODNN7EXAMPLE”."""
    if key.startswith("-----"):
        return True
    is_random = len(set(key)) > 10 and any(sign.isupper() or sign.isdigit() for sign in key)
    return is_random and "EXAMPLE" not in key.upper()


def masked(value: str, head: int, tail: int) -> str:
    """``138****1234``: never the whole, however short the value."""
    if len(value) < head + tail + 4:
        head, tail = len(value) // 4, len(value) // 4
    return f"{value[:head]}****{value[len(value) - tail :]}"


def _masked_email(address: str) -> str:
    name, _, domain = address.partition("@")
    return f"{name[0]}****@{domain[0]}****.{domain.rpartition('.')[2]}"


def _is_random(digits: list[int]) -> bool:
    """At least five different digits; the last eight neither count up nor down nor end in four zeros."""
    steps = {after - before for before, after in zip(digits[-8:], digits[-7:], strict=False)}
    return len(set(digits)) >= 5 and len(steps - {-9, 9}) > 2 and digits[-4:] != [0, 0, 0, 0]


_NUMBERS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("private_id_card", _ID_CARD, is_id_card),
    ("private_bank_card", _BANK_CARD, is_bank_card),
    ("private_phone", _CN_PHONE, is_phone),
    ("private_phone", _PHONE, is_phone),
)
