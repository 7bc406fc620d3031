"""Predictions for new rows: every row of the file comes back, with what the model says of it."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..data import durable
from ..data.layout import Segments
from ..data.unlabelled import Row, load
from ..recipe.errors import DataError
from ..recipe.messages import say
from .scorer import Classifier, Progress

PREDICTION, ERROR = "prediction", "error"


def predict(
    run: str, data: str, output: str | Path, *, on_progress: Progress | None = None
) -> tuple[int, list[Row]]:
    """Writes ``output`` (CSV): the columns of ``data``, then ``prediction``, then of classes the probability
    of each (``p(name)``), and ``error`` where rows hold no input. The number of rows predicted, and those
    that were not.

    Raises DataError for a file without inputs, and for an output that is no CSV or is the file itself.
    """
    place = Path(output)
    if place.suffix.lower() != ".csv" or (place.exists() and place.samefile(data)):
        raise DataError(
            say(
                "--output {path}: predictions are written to a new .csv file. Write --output "
                "predictions.csv.",
                "--output {path}：预测结果写入新的 .csv 文件。请写 --output predictions.csv。",
                path=output,
            )
        )
    model = Classifier(run)
    rows, pieces = _readable(model, load(data))
    found = iter(model.predict_pieces(pieces, on_progress).tolist())
    unread = [row for row in rows if row.example is None]
    own = [PREDICTION, *_shares(model), *([ERROR] if unread else [])]
    columns = [name for name in dict.fromkeys(str(n) for row in rows for n in row.columns) if name not in own]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*columns, *own], lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        said = {ERROR: row.reason} if row.example is None else _said(model, next(found))
        writer.writerow({**{str(name): value for name, value in row.columns.items()}, **said})
    place.parent.mkdir(parents=True, exist_ok=True)
    durable.write_text(place, text.getvalue())
    return len(pieces), unread


def _readable(model: Classifier, rows: list[Row]) -> tuple[list[Row], list[Segments]]:
    """The rows, with the reason at those that the model cannot read, and what it reads of the others.

    Raises DataError where it can read none.
    """
    done = iter(model.encode([row.example for row in rows if row.example is not None]))
    kept: list[Row] = []
    pieces: list[Segments] = []
    for row in rows:
        encoded = None if row.example is None else next(done)
        if encoded is not None and encoded.rejected is not None:
            kept.append(replace(row, example=None, reason=encoded.rejected))
        else:
            kept.append(row)
            pieces += [] if encoded is None else encoded.segments
    if not pieces:
        raise DataError([f"{row.origin.path}:{row.origin.row}: {row.reason}" for row in kept[:5]])
    return kept, pieces


def _shares(model: Classifier) -> list[str]:
    return [] if model.labels.task == "number" else [f"p({name})" for name in model.labels.names]


def _said(model: Classifier, row: list[float]) -> dict[str, Any]:
    """The columns that the model fills."""
    labels = model.labels
    if labels.task == "number":
        return {PREDICTION: f"{row[0]:.6g}"}
    shares = {f"p({name})": f"{share:.6f}" for name, share in zip(labels.names, row, strict=True)}
    if labels.task == "several":
        chosen = [name for name, share in zip(labels.names, row, strict=True) if share > 0.5]
        return {PREDICTION: "; ".join(chosen), **shares}
    return {PREDICTION: labels.names[row.index(max(row))], **shares}
