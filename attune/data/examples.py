"""What a row becomes: every training example is a prompt and the branches that continue it.

Six kinds: a text (no prompt, one branch), a conversation (one branch with the learnt turns marked), a
preference (ranked branches), a verdict (one branch that is good or bad), a prompt (branches are sampled) and
a labelled input (no branch).
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from functools import lru_cache
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

    @property
    def is_reasoned(self) -> bool:
        """Whether a chain of thought comes with it."""
        return bool(self.extra.get("reasoning_content") or self.extra.get("thinking"))

    def as_dict(self) -> dict[str, Any]:
        """The form that chat templates take."""
        return {"role": self.role, "content": self.content, **self.extra}


Messages = tuple[Message, ...]
Tools = tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Text:
    """A document for pretraining: every token of it is learnt, and the end token after it."""

    text: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns for supervised fine-tuning: what precedes an assistant's turn is its prompt."""

    messages: Messages
    tools: Tools = ()


@dataclass(frozen=True, slots=True)
class Preference:
    """A prompt and its answers, the best first; two of them are the usual chosen and rejected.

    An answer is one or more turns, of which the assistant's are compared; its last turn is the assistant's.
    """

    prompt: Messages
    answers: tuple[Messages, ...]
    tools: Tools = ()
    margin: float | None = None
    """By how much the first is better than the last, where somebody rated them."""

    @property
    def chosen(self) -> Messages:
        return self.answers[0]

    @property
    def rejected(self) -> Messages:
        """The worst answer."""
        return self.answers[-1]


@dataclass(frozen=True, slots=True)
class Verdict:
    """An answer that somebody called good or bad (KTO)."""

    prompt: Messages
    answer: Messages
    is_good: bool
    tools: Tools = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question whose answers are sampled from the policy (PPO, GRPO …)."""

    messages: Messages
    reference: str | None = None
    """The right answer, for rewards that compare."""
    extra: dict[str, Any] = field(default_factory=dict)
    """The row's other columns, for rewards that read them."""
    tools: Tools = ()


@dataclass(frozen=True, slots=True)
class Labelled:
    """An input and its class, for classification; ``text`` or ``image`` is set, never both."""

    label: str | float | tuple[str, ...]
    """A class by its name; a number (regression); or several classes (multi-label), maybe none."""
    text: str | None = None
    pair: str | None = None
    """The second sentence of tasks that compare two."""
    image: str | None = None
    """Path of the image, as it can be opened from here."""


Example = Text | Conversation | Preference | Verdict | Prompt | Labelled

KINDS: dict[str, type[Any]] = {
    "text": Text,
    "conversation": Conversation,
    "preference": Preference,
    "verdict": Verdict,
    "prompt": Prompt,
    "labelled": Labelled,
}
"""The kinds by the name that formats and objectives declare."""


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
    name: str = "unusable_row"
    """The rule that it breaks, in snake_case: what a report counts by."""


class RowError(ValueError):
    """Raised where a row cannot be used; the text is the reason, for people; ``name`` the broken rule."""

    def __init__(self, reason: str, name: str = "unusable_row") -> None:
        super().__init__(reason)
        self.name = name


def kind_of_example(example: Example) -> str:
    """The name of its kind."""
    return next(name for name, kind in KINDS.items() if type(example) is kind)


def prompt_of(example: Example) -> Messages:
    """The turns before the first answer; none for a text or a labelled input."""
    if isinstance(example, Conversation | Prompt):
        turns = example.messages
        end = next((at for at, turn in enumerate(turns) if turn.role == "assistant"), len(turns))
        return turns if isinstance(example, Prompt) else turns[:end]
    return example.prompt if isinstance(example, Preference | Verdict) else ()


def answers_of(example: Example) -> tuple[Messages, ...]:
    """The branches: the turns from the first answer on, one tuple a branch, the best first."""
    if isinstance(example, Conversation):
        return (example.messages[len(prompt_of(example)) :],)
    if isinstance(example, Verdict):
        return (example.answer,)
    return example.answers if isinstance(example, Preference) else ()


def inputs_of(example: Example) -> list[str]:
    """The texts that are given: the prompt's turns, the later turns that are no answers, labelled texts."""
    if isinstance(example, Labelled):
        return [text for text in (example.text, example.pair) if text is not None]
    later = (turn for answer in answers_of(example) for turn in answer if turn.role != "assistant")
    return [turn.content for turn in (*prompt_of(example), *later) if turn.content]


def outputs_of(example: Example) -> list[str]:
    """The texts that are learnt or compared: the assistant's turns of the branches; a text itself."""
    if isinstance(example, Text):
        return [example.text]
    turns = (turn for answer in answers_of(example) for turn in answer)
    return [turn.content for turn in turns if turn.role == "assistant" and turn.content]


def texts(example: Example) -> list[str]:
    """All that is written in it, without roles: what a tokenizer is trained on."""
    return [*inputs_of(example), *outputs_of(example)]


def prompt_key(example: Example) -> str:
    """What must not be on both sides of a held-out split: all that precedes the first answer.

    The system message is left out: a question asked under two personas is still the same question. A
    conversation that opens with the assistant has nothing before its answer: the answer stands for it.
    """
    if isinstance(example, Text):
        return example.text
    if isinstance(example, Labelled):
        return "\x1e".join(part for part in (example.text, example.pair, image_key(example)) if part)
    asked = [turn.content.strip() for turn in prompt_of(example) if turn.role != "system"]
    return "\x1e".join(asked or outputs_of(example)[:1])


def image_key(example: Labelled) -> str | None:
    """An image by its content: copies of it under several names are one. By its path where it cannot be read,
    None for a text.
    """
    if example.image is None:
        return None
    try:
        known = os.stat(example.image)
        return _content_hash(example.image, known.st_size, known.st_mtime_ns)
    except OSError:
        return example.image


@lru_cache(maxsize=2**17)
def _content_hash(path: str, size: int, changed: int) -> str:
    """Once for each state of a file: the split and several findings ask."""
    del size, changed
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()
