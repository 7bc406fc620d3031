"""Text classification: ``text`` (or ``sentence``, ``review``, ``question`` …) and ``label``.

Tasks that compare two texts have ``sentence1`` and ``sentence2``, ``premise`` and ``hypothesis`` or the like.
A list of labels is a multi-label task, a decimal number a regression.
"""

from __future__ import annotations

from typing import Any

from ...recipe.messages import say
from ..examples import Labelled
from ._label import LABEL, SCORE, label_of
from ._others import refuse_media
from ._row import filled, first, is_nothing, text
from ._written import refusal

KIND = "labelled"
_PAIRS = {
    "sentence1": "sentence2",
    "premise": "hypothesis",
    "question1": "question2",
    "text_a": "text_b",
    "text1": "text2",
    "#1 String": "#2 String",
    "question": "sentence",
    "text": "pair",
}
_SINGLE = ("sentence", "review", "content", "comment", "document", "title", "文本", "评论")
_TEXT = (*(name for name in _PAIRS if name != "question"), "question", *_SINGLE)
_LABEL = (*LABEL, *SCORE)
NEEDS = (_TEXT, _LABEL)
ALSO = (tuple(_PAIRS.values()),)
SAMPLE: list[dict[str, Any]] = [
    {"text": "味道很好，还会再来。", "label": "positive"},
    {"sentence": "The soup was cold.", "label": 0},
    {"premise": "They open at nine.", "hypothesis": "They are open at ten.", "label": "entailment"},
    {"text": "Cheap and loud.", "labels": ["price", "place"]},
    {"sentence1": "A bun.", "sentence2": "A dumpling.", "score": 3.5},
]


def fits(row: dict[str, Any]) -> bool:
    """Texts, and a score only where two of them are compared: documents of web crawls have scores too."""
    name = first(row, _TEXT) or ""
    is_score = first(row, _LABEL) in SCORE
    return isinstance(row.get(name), str) and (not is_score or _pair(row, name) is not None)


def to_example(row: dict[str, Any]) -> Labelled:
    """Raises RowError for a text that is empty or none, and for a label that is missing."""
    refuse_media(row)
    name, label = first(row, _TEXT) or _TEXT[0], first(row, _LABEL) or _LABEL[0]
    other = _pair(row, name)
    return Labelled(
        label_of(row.get(label), label),
        filled(row.get(name), name, "empty_text"),
        None if other is None else text(row.get(other), other),
    )


def to_row(example: Labelled) -> dict[str, Any]:
    """Raises RowError for images."""
    if example.text is None:
        raise refusal("labelled", say("images", "图片"))
    label = list(example.label) if isinstance(example.label, tuple) else example.label
    pair = {} if example.pair is None else {"pair": example.pair}
    return {"text": example.text, **pair, "label": label}


def _pair(row: dict[str, Any], name: str) -> str | None:
    """The column of the second text, where the row has one."""
    other = _PAIRS.get(name)
    return other if other is not None and not is_nothing(row.get(other)) else None
