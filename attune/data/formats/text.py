"""Plain text for pretraining: ``text``, ``content``, ``document`` or a list of ``paragraphs``; or the row
itself is the text.
"""

from __future__ import annotations

from typing import Any

from ...recipe.messages import say
from ..examples import RowError, Text
from ._row import BARE_TEXT, first
from ._row import text as as_text

KIND = "text"
_NAMES = ("text", "content", "document", "paragraphs")
NEEDS = ((*_NAMES, BARE_TEXT),)
ALSO: tuple[tuple[str, ...], ...] = ()
SAMPLE: list[dict[str, Any] | str] = [
    {"text": "Dumplings are boiled, steamed or fried."},
    "小笼包要趁热吃。",
    {"paragraphs": ["先和面。", "再擀皮。"]},
]


def to_example(row: dict[str, Any] | str) -> Text:
    """Raises RowError for an empty text and for a cell that is no text."""
    if isinstance(row, str):
        found = row
    else:
        if "role" in row:
            raise RowError(
                say(
                    "the row has a role: it is one turn of a conversation. Put the turns of a conversation "
                    "into one list.",
                    "该行有 role，是对话中的一轮。请把同一对话的各轮放进一个列表。",
                ),
                "single_turn",
            )
        name = first(row, _NAMES) or _NAMES[0]
        cell = row.get(name)
        if name == "paragraphs" and isinstance(cell, list):
            found = "\n".join(as_text(part, name) for part in cell)
        else:
            found = as_text(cell, name)
    if not found.strip():
        raise RowError(say("the text is empty.", "文本为空。"), "empty_text")
    return Text(found)


def to_row(example: Text) -> dict[str, Any]:
    """Holds every text."""
    return {"text": example.text}
