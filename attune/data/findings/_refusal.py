"""Answers that refuse, by how they begin."""

from __future__ import annotations

import re

_REFUSAL = re.compile(
    r"\bas an? (?:ai\b|artificial intelligence|(?:large )?language model)"
    r"|\bi['’]?m (?:very |so |really )?sorry,? (?:but )?(?:as an? |i (?:can|am|do)|i['’]m (?:un|not))"
    r"|\bi(?: am|['’]m) (?:unable|not able) to (?:fulfil|comply|assist|help|provide|generate|create|answer)"
    r"|\bi (?:can ?not|can['’]?t|won['’]t) (?:fulfil|comply|assist|help with|provide|generate|create|answer)"
    r"|作为(?:一[个名位款种])?(?:AI|ai|人工智能|大?语言模型)|抱歉[，,].{0,8}(?:无法|不能)"
    r"|我(?:无法|不能)(?:提供|回答|协助|帮助|满足|生成)",
    re.IGNORECASE,
)
_HINTS = (
    "s an ",
    "s a ",
    "sorry",
    "able to",
    "annot ",
    "an't ",
    "an’t ",
    "an not",
    "on't ",
    "on’t ",
    "作为",
    "抱歉",
    "我",
)
_BEGINNING = 120


def refusal(answer: str) -> tuple[int, int] | None:
    """Where an answer says that it is none, if it does so in its first sentences."""
    start = answer[:_BEGINNING]
    if not any(hint in start for hint in _HINTS):
        return None
    found = _REFUSAL.search(start)
    return found.span() if found else None
