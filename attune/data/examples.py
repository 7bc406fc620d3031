"""What a row becomes: every training example is a prompt and the branches that continue it.

The two kinds of this file are what supervised training needs; a preference, a verdict or a labelled input
joins them with the objective that needs it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. ``learn`` says whether an assistant's turn is learnt; other roles are never learnt."""

    role: Role
    content: str
    learn: bool = True
    extra: dict[str, Any] = field(default_factory=dict)
    """Further keys that the model's chat template may read (``tool_calls``, ``name`` …)."""

    def as_dict(self) -> dict[str, Any]:
        """The form that chat templates take."""
        return {"role": self.role, "content": self.content, **self.extra}


@dataclass(frozen=True, slots=True)
class Text:
    """A document for pretraining: every token of it is learnt, and the end token after it."""

    text: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns for supervised fine-tuning: what precedes an assistant's turn is its prompt."""

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()


Example = Text | Conversation


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an example comes from: the file as the person named it and the row, counted from 1."""

    path: str
    row: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that cannot be used, and why (a sentence in the person's language)."""

    origin: Origin
    reason: str
    value: str
    """The row, shortened for display."""


class RowError(ValueError):
    """Raised by a format's ``to_example``: the row cannot be used; the text is the reason, for people."""


def texts(example: Example) -> list[str]:
    """All that is written in it, without roles: what a tokenizer is trained on."""
    if isinstance(example, Text):
        return [example.text]
    return [message.content for message in example.messages]


def prompt_key(example: Example) -> str:
    """What must not be on both sides of a held-out split: all that precedes the first answer.

    The system message is left out: a question asked under two personas is still the same question.
    """
    if isinstance(example, Text):
        return example.text
    asked = []
    for message in example.messages:
        if message.role == "assistant":
            break
        if message.role != "system":
            asked.append(message.content.strip())
    return "\x1e".join(asked)
