"""Tables and JSON on stdout."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any


def json_text(value: Any) -> str:
    """JSON for machines: one object, in UTF-8, never NaN."""
    return json.dumps(_without_nan(value), ensure_ascii=False, indent=2, allow_nan=False)


def _without_nan(value: Any) -> Any:
    """NaN and infinity, which JSON does not have, become null."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {key: _without_nan(below) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(below) for below in value]
    return value


def pairs(lines: Iterable[tuple[str, str]]) -> None:
    """Labels and values in two aligned columns."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="cyan", no_wrap=True)
    for label, value in lines:
        grid.add_row(Text(label), Text(value))
    _print(grid)


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Rows under headers; a number in a text stays as it was written."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(*headers, box=box.SIMPLE, pad_edge=False)
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    _print(made)


def _print(what: Any) -> None:
    import sys

    from rich.console import Console

    if sys.stdout.isatty():
        Console(highlight=False).print(what)
        return
    # A pipe has no width: nothing is wrapped or cut there, and no line is filled up with blanks.
    console = Console(highlight=False, width=400)
    with console.capture() as captured:
        console.print(what)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))
