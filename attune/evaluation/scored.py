"""The evaluation of a model that gives scores: a classifier on labelled rows, a reward model on pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..data.examples import Labelled, Preference
from ..models import heads
from ..models.folders import check_place
from ..models.load import load_config, resolve_run
from ..recipe.errors import DataError
from ..recipe.messages import join, say
from ..recipe.schema import Model, Recipe
from . import classification, pairwise
from .metrics import Interval
from .questions import Question
from .scorer import Classifier, Progress, RewardModel, Scorer

Kind = Literal["labelled", "preference"]


@dataclass(frozen=True, slots=True)
class Measured:
    """What one model, or two side by side, got on the same rows."""

    scores: list[dict[str, Interval]]
    differences: dict[str, Interval] | None
    rows: list[dict[str, Any]]
    """For each row ``predictions`` and ``scores``, an entry a model."""
    figures: dict[str, Any] = field(default_factory=dict)
    """What pictures are drawn of, of the first model: ``confusion`` and ``classes``, ``reliability``."""
    notes: list[str] = field(default_factory=list)


def kind_of(run: str) -> Kind | None:
    """What kind of rows a model that gives scores is measured on; None for a model that gives answers."""
    place = resolve_run(run)
    folder = Path(place)
    if (folder / "adapter_config.json").is_file():
        if not heads.is_noted(folder):
            return None
        labels = heads.noted(folder)
    else:
        check_place(place, needs_config=True)
        config = load_config(Model(path=place))
        if not heads.gives_scores(config):
            return None
        labels = heads.labels_of(config)
    return "preference" if labels.task == "number" and labels.names != ("value",) else "labelled"


def measure(
    kind: Kind, paths: Sequence[str], questions: Sequence[Question], recipe: Recipe | None, tell: Progress
) -> Measured:
    """Scores of the models at ``paths`` (one, or two that are compared).

    Raises DataError for labels that a model does not know and for rows that it cannot read.
    """
    if kind == "preference":
        return _ranked([RewardModel(path) for path in paths], questions, tell)
    data = recipe.data if recipe else None
    options: dict[str, Any] = {"max_length": data.max_length, "overlong": data.overlong} if data else {}
    return _labelled([Classifier(path, **options) for path in paths], questions, tell)


def _labelled(models: Sequence[Classifier], questions: Sequence[Question], tell: Progress) -> Measured:
    examples = [one.example for one in questions if isinstance(one.example, Labelled)]
    origins = [one.origin for one in questions]
    places = [f"{origin.path}:{origin.row}" for origin in origins]
    labels = models[0].labels
    labels.must_know(examples, origins)
    _must_agree(models)
    values = np.array([labels.values(one.label) for one in examples])
    wanted: Any = values if labels.task == "several" else values[:, 0]
    wanted = wanted.astype(np.int64) if labels.task == "classes" else wanted
    predicted = [model.predict(examples, tell, places).double().numpy() for model in models]
    scores = [classification.intervals(labels.task, one, wanted) for one in predicted]
    gaps = None
    if len(models) > 1:
        gaps = classification.intervals(labels.task, predicted[0], wanted, against=predicted[1])
    rows = [
        {
            "predictions": [_named(labels.task, labels.names, one[place]) for one in predicted],
            "scores": [_of_row(labels.task, one[place], wanted[place]) for one in predicted],
        }
        for place in range(len(examples))
    ]
    return Measured(
        scores, gaps, rows, classification.figures(labels.task, labels.names, predicted[0], wanted)
    )


def _must_agree(models: Sequence[Scorer]) -> None:
    if any(model.labels.names != models[0].labels.names for model in models):
        raise DataError(
            say(
                "{a} and {b} tell other classes apart ({x}; {y}): they cannot be compared.",
                "{a} 与 {b} 区分的类别不同（{x}；{y}），无法比较。",
                a=models[0].path,
                b=models[1].path,
                x=join(models[0].labels.names[:5]),
                y=join(models[1].labels.names[:5]),
            )
        )


def _named(task: str, names: Sequence[str], row: Any) -> str:
    """A prediction as people read it."""
    if task == "number":
        return f"{row[0]:.4g}"
    if task == "several":
        return join([name for name, share in zip(names, row, strict=True) if share > 0.5]) or "-"
    return f"{names[int(row.argmax())]} ({row.max():.0%})"


def _of_row(task: str, row: Any, wanted: Any) -> dict[str, float]:
    if task == "number":
        return {"mse": float((row[0] - wanted) ** 2)}
    if task == "several":
        return {"accuracy": float(((row > 0.5) == (wanted > 0.5)).all())}
    return {"accuracy": float(row.argmax() == wanted)}


def _ranked(models: Sequence[RewardModel], questions: Sequence[Question], tell: Progress) -> Measured:
    examples = [one.example for one in questions if isinstance(one.example, Preference)]
    places = [f"{one.origin.path}:{one.origin.row}" for one in questions]
    rewards = [model.score_answers(examples, tell, places) for model in models]
    lengths = [[_length(answer) for answer in one.answers] for one in examples]
    measured = [pairwise.of_examples(one, lengths) for one in rewards]
    gaps = pairwise.differences(*measured) if len(models) > 1 else None
    rows = [
        {
            "predictions": ["  >  ".join(f"{reward:.3f}" for reward in one[place]) for one in rewards],
            "scores": [one.of_row(place) for one in measured],
        }
        for place in range(len(examples))
    ]
    figures = {"reliability": measured[0].reliability()}
    return Measured([one.intervals() for one in measured], gaps, rows, figures)


def _length(answer: Any) -> int:
    return sum(len(turn.content) for turn in answer if turn.role == "assistant")
