"""The held-out examples as a run keeps them: rows that any evaluation can read again."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..recipe import plugs
from .examples import Conversation, Example, Labelled, RowError, kind_of_example

_PLAINEST = ("pairs", "labelled", "kto", "prompts")
"""Formats that are tried before others of their kind."""


def as_rows(examples: Sequence[Example]) -> list[dict[str, Any]]:
    """Conversations in the messages form; other kinds in a format of theirs that takes all of them."""
    if not examples or isinstance(examples[0], Conversation):
        return [as_row(example) for example in examples]
    kind = kind_of_example(examples[0])
    names = sorted(plugs.names("formats"), key=lambda name: name not in _PLAINEST)
    for module in (plugs.find("formats", name) for name in names):
        if kind == module.KIND and getattr(module, "to_row", None) is not None:
            try:
                return [module.to_row(_from_anywhere(example)) for example in examples]
            except RowError:
                continue
    return [as_row(example) for example in examples]


def as_row(example: Example) -> dict[str, Any]:
    """All that is in it; a conversation in the messages form."""
    if isinstance(example, Conversation):
        tools = {"tools": list(example.tools)} if example.tools else {}
        return {"messages": [message.as_dict() for message in example.messages], **tools}
    return dataclasses.asdict(example)


def _from_anywhere(example: Example) -> Example:
    """With the image's whole path: the rows will lie in another folder than the file that named it."""
    if isinstance(example, Labelled) and example.image is not None:
        return dataclasses.replace(example, image=str(Path(example.image).resolve()))
    return example
