"""Two whole conversations, ``chosen`` and ``rejected``, with the prompt in common: lists of messages, or
texts with marks as in the HH data (``"\\n\\nHuman: … \\n\\nAssistant: …"``).
"""

from __future__ import annotations

from typing import Any

from ..examples import Preference
from ._answers import CHOSEN, REJECTED, SCORES, is_transcript, margin_of, parted, transcript, two_answers
from ._others import refuse_media
from ._row import first
from ._transcript import transcript_of
from ._turns import ROW_COLUMNS, system_of, tools_of
from ._written import as_messages, with_tools

KIND = "preference"
NEEDS = (CHOSEN, REJECTED)
ALSO = (*SCORES, *ROW_COLUMNS)
SAMPLE: list[dict[str, Any]] = [
    {
        "chosen": "\n\nHuman: Do you have tofu?\n\nAssistant: Yes, with mushrooms.",
        "rejected": "\n\nHuman: Do you have tofu?\n\nAssistant: What is tofu?",
    },
    {
        "chosen": [
            {"role": "user", "content": "A table for two?"},
            {"role": "assistant", "content": "By the window?"},
        ],
        "rejected": [
            {"role": "user", "content": "A table for two?"},
            {"role": "assistant", "content": "No."},
        ],
    },
]


def fits(row: dict[str, Any]) -> bool:
    """Two answers without a prompt are not enough."""
    return all(is_transcript(row.get(first(row, group) or "")) for group in (CHOSEN, REJECTED))


def to_example(row: dict[str, Any]) -> Preference:
    """Raises RowError where the two part in a turn that is no answer."""
    refuse_media(row)
    names = [first(row, group) or group[0] for group in (CHOSEN, REJECTED)]
    prompt, answers = parted(*(transcript(row.get(name), name) for name in names))
    return Preference((*system_of(row), *prompt), answers, tools_of(row), margin_of(row))


def to_row(example: Preference) -> dict[str, Any]:
    """Texts with marks where they can hold all of it, else lists of messages."""
    whole = [(*example.prompt, *answer) for answer in two_answers(example.answers, "transcripts")]
    marked = [transcript_of(turns) for turns in whole]
    chosen, rejected = [as_messages(turns) for turns in whole] if None in marked else marked
    margin = {} if example.margin is None else {"margin": example.margin}
    return {"chosen": chosen, "rejected": rejected, **margin, **with_tools(example.tools)}
