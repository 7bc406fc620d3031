"""The linear probe: what a model's representations know of a task before anything of the model is trained.

Every input is read once by the frozen model and becomes one vector for each asked layer and pooling; a linear
model is fitted to each of these (``linear.py``) and judged on rows it has not seen. All layers and poolings
come from the same single pass, and the vectors are kept on disk: another sweep reads them. (Alain and Bengio,
arXiv 1610.01644.)
"""

from __future__ import annotations

import functools
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from ..data import cache
from ..data.cache import Store
from ..data.encode import Policy as Encoding
from ..data.labels import Labels, Task
from ..data.prepare import Prepared, prepare
from ..models import heads, virtual
from ..models.features import features
from ..models.fingerprint import fingerprint
from ..models.folders import is_adapter
from ..models.images import policy_of
from ..models.inputs import load_input
from ..models.load import Opened, load_any, load_config, load_weights, resolve_run
from ..models.policy import Policy, Pooling
from ..recipe.errors import DataError, RecipeError
from ..recipe.messages import pick, say
from ..recipe.plugs import unknown
from ..recipe.schema import Data, Model
from . import classification, compare, linear
from .metrics import Interval
from .scorer import MICRO_TOKENS, Progress

LONGEST = 2048
_FEWEST = 10
"""Rows that a fit and its folds need."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One layer and pooling: the chosen strength of the penalty, the cross-validated loss on the training
    rows and the first metric on the held-out rows.
    """

    layer: int
    pooling: Pooling
    strength: float
    cv_loss: float
    score: float


@dataclass(frozen=True)
class Probe:
    """What came out; ``settings`` as they were swept, ``best`` that with the least cross-validated loss."""

    model: str
    data: str
    task: Task
    names: tuple[str, ...]
    num_train: int
    num_held_out: int
    settings: list[Setting]
    best: Setting
    scores: dict[str, Interval]
    """Of the best setting, on the held-out rows, with 95% intervals."""
    baseline: dict[str, float]
    """Of always giving the most frequent class, or the mean."""
    layout: str
    notices: list[tuple[str, str]]
    seconds: float
    figures: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """The metrics of the best setting, beside the baseline."""
        headers = [say("metric", "指标"), say("probe", "探针"), say("baseline", "基线")]
        rows = []
        for metric in compare.METRICS:
            if metric.name in self.scores:
                found = self.scores[metric.name]
                own = f"{compare.number(metric, found.mean)} {compare.span(metric, found.as_dict())}"
                base = self.baseline.get(metric.name)
                rows.append([pick(metric.label), own, "–" if base is None else compare.number(metric, base)])
        return headers, rows

    def sweep(self) -> tuple[list[str], list[list[str]]]:
        """A row a layer and pooling; the best one is marked."""
        first = next(metric for metric in compare.METRICS if metric.name in self.scores)
        headers = [
            say("layer", "层"),
            say("pooling", "汇聚"),
            say("penalty", "惩罚强度"),
            say("cross-validated loss", "交叉验证损失"),
            f"{pick(first.label)} ({say('held out', '留出')})",
        ]
        rows = [
            [
                f"{one.layer}{' *' if one == self.best else ''}",
                one.pooling,
                f"{one.strength:g}",
                f"{one.cv_loss:.4f}",
                compare.number(first, one.score),
            ]
            for one in self.settings
        ]
        return headers, rows


def probe(
    model: str | Path,
    data: Data,
    *,
    layers: str = "last",
    pooling: str | None = None,
    folds: int = 5,
    task: Task | Literal["auto"] = "auto",
    seed: int = 0,
    on_progress: Progress | None = None,
) -> Probe:
    """``model``: a model, adapter or run folder or a hub id; an adapter stays beside its base and is not
    merged. ``layers``: ``last``, ``all``, or numbers with commas (0 is the embeddings, -1 the last).
    ``pooling``: of ``last``, ``mean`` and ``cls``, with commas; default: the first two that the model has.
    ``data``: training rows, and the held-out ones (a share or files).

    Raises RecipeError for layers and poolings that there are not, DataError for too few rows.
    """
    begun = time.monotonic()
    tell = on_progress or (lambda what, done, total: None)
    asked = Model(path=resolve_run(str(model)))
    adapted = load_any(asked.path, dtype=torch.float32) if is_adapter(asked.path) else None
    config = load_config(asked) if adapted is None else adapted.model.config
    reader = load_input(asked, config) if adapted is None else adapted.tokenizer
    taken = 0 if adapted is None else virtual.count(adapted.model)
    prepared = prepare(data, "labelled", reader, None, _encoding(data, config, task, taken), seed, tell)
    train, held, labels = prepared.train, prepared.held_out, prepared.labels
    assert labels is not None
    _must_be_enough(prepared)
    policy = _policy(asked, config, reader, labels, adapted)
    chosen, poolings = _layers(layers, policy.num_layers), _poolings(pooling, policy)
    place = cache.folder(data.cache_dir) / "features" / fingerprint(asked, config)
    told = functools.partial(tell, say("reading the inputs", "计算特征"))
    x_train, x_held = (
        features(policy, store, chosen, poolings, MICRO_TOKENS, place, told) for store in (train, held)
    )
    wanted = _wanted(held, labels)
    tried = [
        _tried(x_train[at][:, by], x_held[at][:, by], train, wanted, labels, (layer, how), folds, seed)
        for at, layer in enumerate(chosen)
        for by, how in enumerate(poolings)
    ]
    best, predicted = min(tried, key=lambda one: one[0].cv_loss)
    return Probe(
        model=str(model),
        data=", ".join(source.path for source in data.train),
        task=labels.task,
        names=labels.names,
        num_train=len(train),
        num_held_out=len(held),
        settings=[one for one, _ in tried],
        best=best,
        scores=classification.intervals(labels.task, predicted, wanted),
        baseline=_baseline(labels, np.asarray(train.values), wanted),
        layout=policy.layout,
        notices=prepared.notices,
        seconds=round(time.monotonic() - begun, 1),
        figures=classification.figures(labels.task, labels.names, predicted, wanted),
    )


def _encoding(data: Data, config: Any, task: Any, taken: int) -> Encoding:
    """As classification has it: within the model's window, of which virtual tokens have ``taken`` some."""
    window = (getattr(config.get_text_config(), "max_position_embeddings", None) or LONGEST) - taken
    return Encoding(max_length=data.max_length or min(window, LONGEST), overlong=data.overlong, task=task)


def _tried(
    x: Any,
    x_held: Any,
    train: Store,
    wanted: Any,
    labels: Labels,
    what: tuple[int, Pooling],
    folds: int,
    seed: int,
) -> tuple[Setting, Any]:
    """One layer and pooling, and its predictions of the held-out rows."""
    values = np.array(train.values)
    fitted = linear.fit(x, values, labels.task, len(labels.names), num_folds=folds, seed=seed)
    predicted = fitted.predict(x_held)
    metrics = classification.metrics_of(labels.task)
    score = metrics[next(iter(metrics))](predicted, wanted)
    return Setting(*what, fitted.strength, fitted.cv_loss, score), predicted


def _policy(asked: Model, config: Any, reader: Any, labels: Labels, adapted: Opened | None) -> Policy:
    """The trunk with its adapter, or else under a head that is not used."""
    if adapted is not None:
        return policy_of(adapted.model, reader).eval()
    pad, sep = (getattr(reader, name, None) for name in ("pad_token_id", "sep_token_id"))
    heads.describe(config, labels, pad, sep)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_weights(asked, config, torch.float32, device, scores=True)
    return policy_of(model.eval().requires_grad_(False), reader).eval()


def _wanted(store: Store, labels: Labels) -> Any:
    values = np.asarray(store.values)
    if labels.task == "several":
        return values
    return values[:, 0].astype(np.int64) if labels.task == "classes" else values[:, 0]


def _baseline(labels: Labels, values: Any, wanted: Any) -> dict[str, float]:
    """What the label's frequency alone gives."""
    if labels.task == "classes":
        counts = np.bincount(values[:, 0].astype(np.int64), minlength=len(labels.names))
        predicted = np.tile(counts / counts.sum(), (len(wanted), 1))
    else:
        predicted = np.tile(values.mean(0), (len(wanted), 1))
    known = {
        name: metric(predicted, wanted) for name, metric in classification.metrics_of(labels.task).items()
    }
    return {name: value for name, value in known.items() if np.isfinite(value)}


def _poolings(asked: str | None, policy: Policy) -> tuple[Pooling, ...]:
    known = policy.poolings
    names = [name.strip() for name in (asked or ",".join(known[:2])).split(",") if name.strip()]
    wrong = [name for name in names if name not in known]
    if wrong or not names:
        what = say("pooling: no such name", "pooling：没有这个名称")
        raise RecipeError([unknown(what, name, list(known)) for name in wrong or [asked or ""]])
    return tuple(how for how in known if how in names)


def _layers(asked: str, num: int) -> list[int]:
    """Places in the tuple of hidden states, of which there are ``num`` + 1."""
    if asked in ("last", "all"):
        return [num] if asked == "last" else list(range(num + 1))
    words = [word.strip() for word in asked.split(",")]
    found = [int(word) for word in words if word.lstrip("-").isdigit()]
    if len(found) != len(words) or any(not -num - 1 <= one <= num for one in found):
        raise RecipeError(
            say(
                "layers={got}: this model has the layers 0 (embeddings) to {num}. Give last, all, or "
                "numbers with "
                "commas, such as layers=0,{half},{num}.",
                "layers={got}：该模型的层为 0（嵌入）到 {num}。请给出 last、all 或以逗号分隔的层号，"
                "如 layers=0,{half},{num}。",
                got=asked,
                num=num,
                half=num // 2,
            )
        )
    return sorted({one % (num + 1) for one in found})


def _must_be_enough(prepared: Prepared) -> None:
    if len(prepared.train) < _FEWEST or not len(prepared.held_out):
        raise DataError(
            say(
                "A probe needs at least {fewest} rows to fit and one to judge by; here are {train} "
                "and {held}. Give "
                "more rows, or hold out a larger share (--held-out 0.2).",
                "探针至少需要 {fewest} 行用于拟合、1 行用于评判；现有 {train} 与 {held} 行。"
                "请增加数据，或留出更大的比例（--held-out 0.2）。",
                fewest=_FEWEST,
                train=len(prepared.train),
                held=len(prepared.held_out),
            )
        )
