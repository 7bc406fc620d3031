"""Evaluates a run, a model folder or a hub model, alone or against another on the same rows."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..data.durable import write_json
from ..data.examples import Labelled, Message, inputs_of, texts
from ..models.load import Loaded, load_config, load_for_inference, resolve_run
from ..recipe import plugs
from ..recipe.errors import RunError
from ..recipe.load import generation_of
from ..recipe.load import load as load_recipe
from ..recipe.messages import say
from ..recipe.schema import Generation, Model, Recipe
from . import compare, earned, preferences, scored
from .judges import Judge
from .metrics import Interval
from .questions import Question, Questions, held_out, read
from .rewards import Rewards
from .runs import is_run, read_record, read_scores
from .score import Progress, Scored, score

BASE = "base"
"""``against="base"``: the model that the run began with."""


@dataclass(frozen=True)
class Evaluation:
    """Scores of one model, or of two side by side, and every row that they rest on."""

    run: str
    data: str
    """Name of the data; ``sources`` are its files."""
    sources: list[str]
    num_rows: int
    rejected: list[dict[str, Any]]
    """Rows that could not be used: ``path``, ``row`` (from 1), ``reason``, ``value``."""
    generation: dict[str, Any]
    models: list[dict[str, Any]]
    """``name``, ``path``, and ``scores``: each metric's ``mean``, ``low``, ``high`` (95%) and ``n``."""
    differences: dict[str, dict[str, float]] | None
    """The first model less the second, over the same rows; None where there is one model."""
    rows: list[dict[str, Any]]
    """``path``, ``row``, ``prompt``, ``reference``; ``predictions`` and ``scores`` have an entry a model."""
    notes: list[str]
    figures: dict[str, Any]
    """What pictures are drawn of: a confusion matrix, a reliability diagram."""
    date: str
    seconds: float
    path: Path | None = None
    """Where it was written; None for what is no run folder."""

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON, and for ``report.write``."""
        known = asdict(self)
        del known["path"]
        return known

    def table(self, names: Collection[str] | None = None) -> tuple[list[str], list[list[str]]]:
        """Headers and rows for the console, in the person's language; of the scores in ``names`` only, where
        some are given.
        """
        return compare.table({"models": self.models, "differences": self.differences}, names)


def evaluate(
    run: str | Path,
    data: str | Path | Sequence[str | Path] | None = None,
    *,
    against: str | Path | None = None,
    generation: Generation | None = None,
    limit: int | None = None,
    judge: Judge | None = None,
    rewards: Sequence[str] = (),
    on_progress: Progress | None = None,
) -> Evaluation:
    """Of a model that answers loss, exact match, ROUGE-L, length and share of cut answers; of one that gives
    scores what ``scored.py`` says, such as accuracy or the order of pairs. Each with a 95% interval.

    ``run``: a run folder, a model or adapter folder, or a hub id. ``data``: files (default: the rows that the
    run held out). ``against``: ``"base"``, or another run, folder or id, scored on the same rows.
    ``generation``: default as in the run's recipe, else greedy. ``limit``: a seeded sample of so many rows.
    ``judge`` compares the two models' answers: win rate, and divergence (``preferences.py``). ``rewards``:
    what answers earn, as ``rewards.py`` spells it; default: what a run learnt from.

    The evaluation of a run is written to ``<run>/evals/`` and summarised in ``<run>/scores.json``.
    Raises AttuneError: DataError, ModelError or RunError.
    """
    run, against, started = str(run), None if against is None else str(against), time.monotonic()
    tell = on_progress or (lambda what, done, total: None)
    folder = Path(run) if is_run(Path(run)) else None
    recipe = _recipe(folder)
    generation = generation or generation_of(Path(run), (), as_trained=True)
    sources = held_out(run) if data is None else _paths(data)
    system, kind = recipe.data.system if recipe else None, scored.kind_of(run)
    wanted = earned.asked(rewards, recipe, run, gives_scores=kind is not None)
    questions = read(sources, kind or _kind(recipe), system, limit, is_rewarded=wanted is not None)
    wanted, left_out = earned.applicable(wanted, questions.rows, named=bool(rewards))
    names = [_name(run)] if against is None else _distinct(run, against)
    if kind is None:
        outcome = _of_answers(run, against, questions.rows, generation, judge, wanted, tell)
    else:
        outcome = _of_scores(kind, run, against, questions.rows, recipe, tell)
    result = Evaluation(
        run=run,
        data=questions.name,
        sources=questions.paths,
        num_rows=len(questions.rows),
        rejected=questions.rejected,
        generation=generation.model_dump(),
        models=[
            {"name": name, "path": path, "scores": _as_dicts(scores)}
            for name, path, scores in zip(names, outcome.paths, outcome.scores, strict=True)
        ],
        differences=None if outcome.differences is None else _as_dicts(outcome.differences),
        rows=[
            {**_row(question), **found} for question, found in zip(questions.rows, outcome.rows, strict=True)
        ],
        notes=list(dict.fromkeys([*questions.notes, *left_out, *outcome.notes])),
        figures=outcome.figures,
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - started, 1),
    )
    return result if folder is None else _written(result, folder, questions)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What the models gave: where they lie, their scores, the difference, and what is told of each row."""

    paths: list[str]
    scores: list[dict[str, Interval]]
    differences: dict[str, Interval] | None
    rows: list[dict[str, Any]]
    notes: list[str]
    figures: dict[str, Any] = field(default_factory=dict)


def _of_answers(
    run: str,
    against: str | None,
    rows: Sequence[Question],
    generation: Generation,
    judge: Judge | None,
    rewards: Rewards | None,
    tell: Progress,
) -> _Outcome:
    found, paths = _scored(run, against, rows, generation, judge, tell)
    if rewards is not None:
        for one in found:
            earned.add_rewards(one, rows, rewards)
    notes = [note for one in found for note in one.notes]
    gaps = None
    if against is not None:
        gaps = compare.differences(found[0].scores, found[1].scores)
        notes += _incomparable(found)
    told = [
        {"predictions": [one.answers[at] for one in found], "scores": [one.scores[at] for one in found]}
        for at in range(len(rows))
    ]
    return _Outcome(paths, [compare.intervals(one.scores) for one in found], gaps, told, notes)


def _of_scores(
    kind: scored.Kind,
    run: str,
    against: str | None,
    rows: Sequence[Question],
    recipe: Recipe | None,
    tell: Progress,
) -> _Outcome:
    if against is not None and (against == BASE or scored.kind_of(against) != kind):
        raise RunError(
            say(
                "{run} gives scores, and {against} gives none of that kind: there is nothing to compare. "
                "Name another run of the same objective: --against <run>.",
                "{run} 输出分数，而 {against} 不输出同类分数，无法比较。"
                "请指明同类的另一个运行：--against <运行>。",
                run=run,
                against=against,
            )
        )
    places = [run] if against is None else [run, against]
    measured = scored.measure(kind, places, rows, recipe, tell)
    paths = [resolve_run(place) for place in places]
    return _Outcome(
        paths, measured.scores, measured.differences, measured.rows, measured.notes, measured.figures
    )


def _paths(data: str | Path | Sequence[str | Path]) -> list[str]:
    return [str(data)] if isinstance(data, str | Path) else [str(path) for path in data]


def saved(run: Path) -> list[dict[str, Any]]:
    """The evaluations in ``run/evals``, the newest first, each as ``Evaluation.as_dict`` gave it."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((run / "evals").glob("*.json"))]
    return sorted(found, key=lambda one: str(one["date"]), reverse=True)


def _recipe(folder: Path | None) -> Recipe | None:
    """What a run was asked; None for what is no run."""
    if folder is None or not (folder / "recipe.yaml").is_file():
        return None
    return load_recipe(folder / "recipe.yaml")


def _kind(recipe: Recipe | None) -> str:
    return "conversation" if recipe is None else str(plugs.find("objectives", recipe.objective.name).EXAMPLES)


def _name(place: str) -> str:
    return Path(place.rstrip("/")).name or place


def _distinct(run: str, against: str) -> list[str]:
    """Short names that differ: ``final`` beside ``final`` would say nothing."""
    names = [_name(run), _name(against)]
    return names if names[0] != names[1] else [run, against]


def _scored(
    run: str,
    against: str | None,
    rows: Sequence[Question],
    generation: Generation,
    judge: Judge | None,
    tell: Progress,
) -> tuple[list[Scored], list[str]]:
    """Both models, one after the other, so that only one is in memory; and where they lie."""
    if against not in (None, BASE):
        _must_be_a_model(against)
    if judge is not None and against is None:
        raise RunError(_nobody_to_beat())
    loaded = load_for_inference(run)
    first, path = score(loaded, rows, generation, tell), loaded.path
    ranked = preferences.ranked_logps(loaded, rows, tell)
    if against is None:
        with loaded.model.disable_adapter() if loaded.base else nullcontext():
            base = preferences.ranked_logps(loaded, rows, tell) if loaded.base else None
        preferences.add_ranking(first, ranked, base)
        preferences.add_verdicts(first, rows, ranked, base)
        return [first], [path]
    name = _name(against)
    if against == BASE:
        loaded, state = _base(run, loaded)
    else:
        del loaded
        loaded, state = load_for_inference(against), nullcontext()
    with state:
        second = score(loaded, rows, generation, lambda what, *count: tell(f"{what} ({name})", *count))
        other = preferences.ranked_logps(loaded, rows, tell)
        if judge is not None and compare.same_tokens(first.scores, second.scores):
            preferences.add_divergence(first, preferences.said_logps(loaded, first.said, tell))
    preferences.add_ranking(first, ranked, other)
    preferences.add_verdicts(first, rows, ranked, other)
    preferences.add_ranking(second, other, None)
    if judge is not None:
        preferences.add_wins(first, second, rows, judge)
    return [first, second], [path, loaded.base if against == BASE and loaded.base else loaded.path]


def _nobody_to_beat() -> str:
    return say(
        "A judge compares two models. Name the other one: --against base, or a run, folder or hub id.",
        "裁判需要比较两个模型。请指明另一个：--against base，或 --against <运行目录、文件夹或模型 id>。",
    )


def _must_be_a_model(path: str) -> None:
    """Raises ModelError before the first model answers, not after, where there is no second one."""
    place = resolve_run(path)
    if not any((Path(place) / name).is_file() for name in ("config.json", "adapter_config.json")):
        load_config(Model(path=place))


def _base(run: str, loaded: Loaded) -> tuple[Loaded, AbstractContextManager[Any]]:
    """The base model, and the context in which it is one: an adapter is only switched off. Either way it
    reads the prompts in the run's template, so that both models see the same tokens.
    """
    if loaded.base is not None:
        return loaded, loaded.model.disable_adapter()
    if not is_run(Path(run)):
        raise RunError(
            say(
                "{run} is a whole model and does not say what it began with. Name the other one: --against "
                "<run, folder or hub id>.",
                "{run} 是完整的模型，没有记录其基座。请指明比较对象：--against <运行目录、文件夹或模型 id>。",
                run=run,
            )
        )
    base = load_for_inference(str(read_record(Path(run))["model"]))
    return replace(base, tokenizer=loaded.tokenizer, template=loaded.template), nullcontext()


def _incomparable(scored: Sequence[Scored]) -> list[str]:
    if compare.same_tokens(scored[0].scores, scored[1].scores):
        return []
    return [
        say(
            "The two models count tokens differently (another tokenizer or template): their losses are of "
            "different tokens, so no difference is given.",
            "两个模型的 token 划分不同（分词器或模板不同）：损失针对不同的 token，因此不给出差值。",
        )
    ]


def _as_dicts(scores: dict[str, Interval]) -> dict[str, dict[str, float]]:
    return {name: interval.as_dict() for name, interval in scores.items()}


def _row(question: Question) -> dict[str, Any]:
    given = inputs_of(question.example) or texts(question.example)
    if isinstance(question.example, Labelled) and question.example.image is not None:
        given = [question.example.image]
    return {
        "path": question.origin.path,
        "row": question.origin.row,
        "prompt": _as_text(question.prompt) if question.prompt else "\n".join(given),
        "reference": question.reference,
    }


def _as_text(messages: Sequence[Message]) -> str:
    """A single question as it is; of a longer conversation every turn with its role."""
    if len(messages) == 1 and messages[0].role == "user":
        return messages[0].content
    return "\n".join(f"[{message.role}] {message.content}" for message in messages)


def _written(result: Evaluation, folder: Path, questions: Questions) -> Evaluation:
    """Writes the evaluation and its summary. The same questions replace the former entry."""
    asked = [
        [[message.as_dict() for message in question.prompt], question.reference, repr(question.example)]
        for question in questions.rows
    ]
    request = [asked, result.generation, [model["name"] for model in result.models]]
    digest = hashlib.sha256(json.dumps(request, ensure_ascii=False, default=str).encode()).hexdigest()[:8]
    name = f"{questions.name}-{digest}"
    path = folder / "evals" / f"{name}.json"
    try:
        write_json(path, result.as_dict())
        write_json(folder / "scores.json", {**read_scores(folder), name: _summary(result)})
    except OSError as error:
        raise RunError(
            say(
                "The evaluation cannot be written to {path}: {reason}. Make room or mend the permissions, "
                "then evaluate again.",
                "无法将评测写入 {path}：{reason}。请腾出空间或修正权限，然后重新评测。",
                path=path,
                reason=error.strerror or str(error),
            )
        ) from None
    return replace(result, path=path)


def _summary(result: Evaluation) -> dict[str, Any]:
    """The entry of scores.json."""
    return {
        "data": result.data,
        "date": result.date,
        "num_rows": result.num_rows,
        "scores": result.models[0]["scores"],
        "against": result.models[1]["name"] if len(result.models) > 1 else None,
        "differences": result.differences,
    }
