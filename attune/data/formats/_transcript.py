"""Transcripts as one text, in the form of the HH data: ``"\\n\\nHuman: …\\n\\nAssistant: …"``."""

from __future__ import annotations

import re

from ..examples import Message, Messages, Role

_MARK = re.compile(r"\n\n(Human|Assistant):")
_ROLES: dict[str, Role] = {"Human": "user", "Assistant": "assistant"}
_NAMES = {"user": "Human", "assistant": "Assistant"}


def messages_of_transcript(text: str, *, is_prompt: bool = False) -> list[Message]:
    """The turns of a text that begins with a human's mark and has an assistant's; none of any other text.

    A turn is all between its mark, with the one space behind it, and the next mark. A prompt ends with the
    assistant's mark, behind which the answer is still to come. The first line breaks may be missing.
    """
    if not text.startswith(("\n\nHuman:", "Human:")) or "\n\nAssistant:" not in text:
        return []
    pieces = _MARK.split("\n\n" + text.removeprefix("\n\n"))[1:]
    turns = [
        Message(_ROLES[name], content.removeprefix(" "))
        for name, content in zip(pieces[::2], pieces[1::2], strict=True)
    ]
    if is_prompt and turns[-1].role == "assistant" and not turns[-1].content.strip():
        turns.pop()
    return turns


def transcript_of(messages: Messages) -> str | None:
    """The one text of these turns; None where one of them has no place in it."""
    if any(turn.role not in _NAMES or turn.extra for turn in messages):
        return None
    return "".join(f"\n\n{_NAMES[turn.role]}: {turn.content}" for turn in messages)
