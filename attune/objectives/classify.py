"""Classification and regression: a row of scores an input, compared with its label.

    classes    L = (1 / N) * sum over rows of  - w_y log softmax(s)_y              (the label y)
    several    L = (1 / N) * sum over rows of  mean over classes c of  - log sigma(+-s_c)
    number     L = (1 / N) * sum over rows of  (s - y)^2

N counts the rows of the whole optimizer step. These are the losses of transformers' classifiers. Balanced
weights w_c = n / (k n_c), of n training rows in k classes, are 1 on average, so that N needs no weighing. With
label smoothing e the label counts for 1 - e + e / k and every other class for e / k (of several classes: a mark
for 1 - e / 2, a missing one for e / 2).
"""

# ruff: noqa: E501 (a help text holds both languages in one line)
from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ..recipe import plugs
from ..recipe.errors import RecipeError
from ..recipe.messages import say
from ..recipe.schema import Choice

if TYPE_CHECKING:  # a recipe that names this objective must not wait for torch
    import torch

    from ..data.labels import Labels
    from ..data.layout import Batch

EXAMPLES = "labelled"
NEEDS = ("scores",)
METRICS = ("error",)
"""Of classes the share of rows, of several the share of marks that are wrong; of a number the mean distance."""


class Config(Choice):
    """Classification or regression. | 分类或回归。"""

    name: Literal["classify"] = "classify"
    task: Literal["auto", "classes", "several", "number"] = "auto"
    """What labels are: one class a row, several classes, or a number; auto: several where they are lists, numbers where they are decimal. | 标签的含义：单个类别、多个类别或数值；auto：列表为多类别，小数为数值。"""
    class_weights: Literal["equal", "balanced"] | dict[str, float] = "equal"
    """How much a row counts: equal, balanced (every class the same in all), or a number for each class by name (1 where not named). | 各行的权重：equal 相同；balanced 各类总权重相同；或按类别名给出数值（未写的为 1）。"""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the label that is given to all classes alike. | 标签平滑的比例。"""


def settled(config: Config, labels: Labels) -> Config:
    """The configuration with what the training rows decide: the task, and a weight for each class in order.

    Raises RecipeError for weights of classes that there are not, or of what is no single class.
    """
    weights = config.class_weights
    if labels.task != "classes":
        if weights != "equal" or (labels.task == "number" and config.label_smoothing):
            raise RecipeError(
                say(
                    "objective.class_weights and label_smoothing are for classes (smoothing also for several), and "
                    "the labels here are: {task}. Leave them out.",
                    "objective.class_weights 与 label_smoothing 只用于类别（平滑也可用于多类别），"
                    "而此处的标签是：{task}。请去掉。",
                    task=labels.task,
                )
            )
        return config.model_copy(update={"task": labels.task})
    found = dict.fromkeys(labels.names, 1.0)
    if weights == "balanced":
        total, num = sum(labels.counts), len(labels.names)
        found = {
            name: total / (num * max(1, count))
            for name, count in zip(labels.names, labels.counts, strict=True)
        }
    elif isinstance(weights, dict):
        what = say("objective.class_weights: no such class", "objective.class_weights：没有这个类别")
        unknown = [plugs.unknown(what, name, list(found)) for name in weights if name not in found]
        if unknown:
            raise RecipeError(unknown)
        found |= weights
    return config.model_copy(update={"task": labels.task, "class_weights": found})


def denominator(batch: Batch) -> int:
    """What this pack adds to N: its rows."""
    return batch.num_examples


def loss(
    scores_bk: torch.Tensor, batch: Batch, config: Config
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The sum over rows. ``scores_bk``: float32 ``[b, k]``, a row an input; ``config`` as ``settled`` gives it."""
    from torch.nn import functional

    values, smoothing = batch.values.to(scores_bk), config.label_smoothing
    if config.task == "number":
        gap = scores_bk[:, 0] - values[:, 0]
        return gap.square().sum(), {"error": gap.detach().abs().sum()}
    if config.task == "several":
        wanted = values * (1 - smoothing) + smoothing / 2
        losses = functional.binary_cross_entropy_with_logits(scores_bk, wanted, reduction="none")
        wrong = (scores_bk.detach() > 0) != (values > 0)
        return losses.mean(1).sum(), {"error": wrong.float().mean(1).sum()}
    weights = None
    if isinstance(config.class_weights, dict):
        weights = scores_bk.new_tensor(list(config.class_weights.values()))
    classes = values[:, 0].long()
    total = functional.cross_entropy(scores_bk, classes, weights, reduction="sum", label_smoothing=smoothing)
    return total, {"error": (scores_bk.detach().argmax(1) != classes).float().sum()}
