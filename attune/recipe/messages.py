"""Messages in English and Chinese, both written where they are used, so that neither falls behind.

``say("No file {path}.", "没有文件 {path}。", path=p)`` gives the person's language: ``ATTUNE_LANG``
(``en`` or ``zh``) if set, else the locale. Help texts hold both languages in one docstring, split by " | ".
"""

from __future__ import annotations

import locale
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache

_spoken: ContextVar[str] = ContextVar("attune_language", default="")


def language() -> str:
    """``"zh"`` or ``"en"``."""
    return _language(_spoken.get() or os.environ.get("ATTUNE_LANG", ""))


@contextmanager
def speaking(wanted: str) -> Iterator[None]:
    """Inside, messages are in the language ``wanted``, whatever the environment says."""
    token = _spoken.set(wanted)
    try:
        yield
    finally:
        _spoken.reset(token)


@lru_cache(maxsize=8)
def _language(wanted: str) -> str:
    if not wanted:
        spoken = (os.environ.get(key) for key in ("LC_ALL", "LC_MESSAGES", "LANG"))
        wanted = next((value for value in spoken if value), None) or locale.getlocale()[0] or ""
    return "zh" if wanted.lower().startswith(("zh", "chinese")) else "en"


def say(english: str, chinese: str, /, **values: object) -> str:
    """The text in the person's language, with ``{name}`` filled from ``values``."""
    return (chinese if language() == "zh" else english).format(**values)


def pick(both: str) -> str:
    """The person's half of a docstring written as ``English | 中文``; the whole where there is one half."""
    english, bar, chinese = both.partition(" | ")
    return (chinese if bar and language() == "zh" else english).strip()


def join(names: Iterable[object]) -> str:
    """``a, b, c`` for a message."""
    return (", " if language() == "en" else "、").join(str(name) for name in names)
