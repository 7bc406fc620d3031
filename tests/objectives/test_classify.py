"""The classification objective by hand and beside transformers' own losses, and the contract."""

from __future__ import annotations

import math
from types import ModuleType

import pytest
import torch

from attune.data.labels import Labels
from attune.data.layout import Batch, Segments, lay
from attune.objectives import classify
from attune.objectives.contract import ObjectiveContract
from attune.recipe.errors import RecipeError

CLASSES = Labels("classes", ("a", "b", "c"), (6, 3, 1))
SEVERAL = Labels("several", ("a", "b", "c"), (1, 1, 1))
NUMBER = Labels("number", ("value",))


class TestClassify(ObjectiveContract):
    def example(self, objective: ModuleType, row: int) -> Segments:
        return Segments([3, 4 + row, *range(5, 6 + row)], (), (float(row % 3),))

    def given(self, objective: ModuleType, batch: Batch) -> torch.Tensor:
        rows = torch.tensor(batch.rows, dtype=torch.float32)
        return torch.stack([0.3 * rows, 0.1 - 0.2 * rows, 0.05 * rows], dim=1)

    @pytest.fixture
    def objective(self) -> ModuleType:
        return classify


def rows(*values: tuple[float, ...]) -> Batch:
    return lay([(row, Segments([3, 4], (), numbers)) for row, numbers in enumerate(values)])


def test_two_rows_by_hand() -> None:
    scores = torch.tensor([[0.0, math.log(3), 0.0], [0.0, 0.0, math.log(2)]])
    loss, metrics = classify.loss(scores, rows((1.0,), (0.0,)), classify.Config())
    assert float(loss) == pytest.approx(-math.log(3 / 5) - math.log(1 / 4), rel=1e-6)
    assert float(metrics["error"]) == 1.0
    weights = {"a": 2.0, "b": 0.5, "c": 1.0}
    loss, _ = classify.loss(scores, rows((1.0,), (0.0,)), classify.Config(class_weights=weights))
    assert float(loss) == pytest.approx(-0.5 * math.log(3 / 5) - 2 * math.log(1 / 4), rel=1e-6)


def test_a_number_by_hand() -> None:
    config = classify.settled(classify.Config(), NUMBER)
    loss, metrics = classify.loss(torch.tensor([[1.0], [3.0]]), rows((2.0,), (1.0,)), config)
    assert (float(loss), float(metrics["error"])) == (5.0, 3.0)


def test_several_by_hand() -> None:
    config = classify.settled(classify.Config(), SEVERAL)
    scores = torch.tensor([[0.0, math.log(3), -math.log(3)]])
    loss, metrics = classify.loss(scores, rows((1.0, 1.0, 1.0)), config)
    expected = -(math.log(1 / 2) + math.log(3 / 4) + math.log(1 / 4)) / 3
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    assert float(metrics["error"]) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("labels", "values"),
    [
        (CLASSES, [(0.0,), (2.0,), (1.0,), (1.0,)]),
        (SEVERAL, [(1.0, 0.0, 1.0), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.0, 1.0, 0.0)]),
        (NUMBER, [(0.3,), (-1.0,), (2.5,), (0.0,)]),
    ],
)
def test_loss_and_gradient_are_those_of_transformers(labels: Labels, values: list[tuple[float, ...]]) -> None:
    from transformers import LlamaConfig
    from transformers.loss.loss_utils import ForSequenceClassificationLoss

    from attune.models import heads

    config = LlamaConfig()
    heads.describe(config, labels, 0, None)
    torch.manual_seed(0)
    ours = torch.randn(4, len(labels.names), requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    batch = rows(*values)
    loss, _ = classify.loss(ours, batch, classify.settled(classify.Config(), labels))
    loss = loss / classify.denominator(batch)
    wanted = batch.values if labels.task == "several" else batch.values[:, 0]
    wanted = wanted.long() if labels.task == "classes" else wanted
    expected = ForSequenceClassificationLoss(wanted, theirs, config)
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-6)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-6, rtol=1e-6)


def test_smoothing_is_that_of_torch_and_of_marks_by_hand() -> None:
    scores = torch.tensor([[0.4, -1.0, 0.3]])
    smooth = classify.Config(label_smoothing=0.2)
    loss, _ = classify.loss(scores, rows((2.0,)), smooth)
    p = scores.log_softmax(1)[0]
    assert float(loss) == pytest.approx(float(-0.8 * p[2] - 0.2 * p.mean()), rel=1e-5)
    one = torch.tensor([[0.7]])
    config = classify.settled(smooth, Labels("several", ("a",), (1,)))
    loss, _ = classify.loss(one, rows((1.0,)), config)
    q = float(one.sigmoid())
    assert float(loss) == pytest.approx(-0.9 * math.log(q) - 0.1 * math.log(1 - q), rel=1e-5)


def test_balanced_weights_are_one_on_average() -> None:
    config = classify.settled(classify.Config(class_weights="balanced"), CLASSES)
    assert config.class_weights == {"a": 10 / 18, "b": 10 / 9, "c": 10 / 3}
    assert isinstance(config.class_weights, dict)
    average = sum(
        n * config.class_weights[name] for n, name in zip(CLASSES.counts, CLASSES.names, strict=True)
    )
    assert average / 10 == pytest.approx(1)


def test_named_weights_leave_the_others_at_one() -> None:
    config = classify.settled(classify.Config(class_weights={"c": 4.0}), CLASSES)
    assert config.class_weights == {"a": 1.0, "b": 1.0, "c": 4.0}
    with pytest.raises(RecipeError, match=r"no such class: 'cc'\. Allowed: a, b, c\. Did you mean 'c'\?"):
        classify.settled(classify.Config(class_weights={"cc": 4.0}), CLASSES)


def test_weights_are_of_single_classes() -> None:
    with pytest.raises(RecipeError, match="the labels here are: number"):
        classify.settled(classify.Config(class_weights="balanced"), NUMBER)
    with pytest.raises(RecipeError, match="the labels here are: number"):
        classify.settled(classify.Config(label_smoothing=0.1), NUMBER)
    assert classify.settled(classify.Config(label_smoothing=0.1), SEVERAL).task == "several"
