"""Lines of a label and a text, as sets of sentences are often kept: ``1 a fine film``, ``__label__x text``
(fastText), ``LOC:city What county …`` (TREC).

Nothing but the lines themselves says that they are of this form: each of the first has a label in front, and
labels repeat, which the numbers of a list do not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from .decode import Content, open_text

Row = tuple[int, Any]
_LOOKED_AT = 200
_LABELS = re.compile(r"((?:__label__\S+[ \t]*)+|(?:-?\d+|[A-Z]{2,}:[a-z]+)(?=[ \t\r\n]|$))")


def holds_labelled_lines(content: Content, encoding: str) -> bool:
    """Whether the first lines that are not blank have labels, at most half as many as there are lines."""
    with open_text(content, encoding, newline="\n") as file:
        lines = list(islice((line for line in file if line.strip()), _LOOKED_AT))
    found = [match for line in lines if (match := _LABELS.match(line))]
    num_texts = sum(bool(match.string[match.end() :].strip()) for match in found)
    labels = {match[1] for match in found}
    return len(found) == len(lines) >= 4 and len(labels) <= len(lines) / 2 and num_texts > 0.9 * len(lines)


def read_labelled_lines(content: Content, encoding: str) -> Iterator[Row]:
    """``(line from 1, {"label", "text"})``; a later line without a label is a row that has only its text."""
    with open_text(content, encoding, newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            match = _LABELS.match(line)
            if match is None:
                yield number, {"text": line.strip()}
                continue
            labels = [label.removeprefix("__label__") for label in match[1].split()]
            label = labels[0] if len(labels) == 1 else labels
            yield number, {"label": label, "text": line[match.end() :].strip()}
