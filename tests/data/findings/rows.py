"""Examples for tests of findings, and what a family of findings says about them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

from attune.data.examples import Conversation, Example, Message, Messages, Origin, Preference, Verdict
from attune.data.findings._finding import Context, Finding, Seen


def ask(prompt: str, system: str | None = None) -> Messages:
    first = (Message("system", system),) if system is not None else ()
    return (*first, Message("user", prompt))


def say(answer: str) -> Messages:
    return (Message("assistant", answer),)


def chat(prompt: str, answer: str, system: str | None = None) -> Conversation:
    return Conversation((*ask(prompt, system), *say(answer)))


def pair(chosen: str, rejected: str, prompt: str = "Why?", margin: float | None = None) -> Preference:
    return Preference(ask(prompt), (say(chosen), say(rejected)), margin=margin)


def verdict(answer: str, is_good: bool) -> Verdict:
    return Verdict(ask("Why?"), say(answer), is_good)


def seen(examples: Iterable[Example]) -> list[Seen]:
    """As they stand in a file, the first in row 1."""
    return [Seen(example, Origin("a.jsonl", row)) for row, example in enumerate(examples, start=1)]


def detector(module: ModuleType, examples: Iterable[Example], kind: str, **context: Any) -> Any:
    made = module.Detector(Context(kind=kind, **context))
    for one in seen(examples):
        made.see(one)
    return made


def findings(
    module: ModuleType, examples: Iterable[Example], kind: str = "conversation", **context: Any
) -> dict[str, Finding]:
    return {one.name: one for one in detector(module, examples, kind, **context).findings()}


def numbers(finding: Finding) -> list[int]:
    """The rows that are shown."""
    return [row.origin.row for row in finding.rows]


CLEAN: Sequence[Conversation] = [
    chat("How do I steam buns?", "Boil water, set the basket over it, and wait for twelve minutes."),
    chat("Write a line of Python that prints a greeting.", 'print("Good evening")'),
    chat("韭菜盒子怎么做？", "和面，调馅，包好后用小火煎到两面金黄。"),
    chat("Say it in French: good evening, café.", "Bonsoir, café !"),
    chat("用一个表情回答。", "👩\u200d🍳👍"),
    chat("How do I write <b> in HTML?", "As &lt;b&gt; in HTML, with entities."),
    chat("Is 3 < 5?", "Yes."),
    chat("Are there any errors in it?", "None"),
]
"""Rows that no family has anything to say about."""
