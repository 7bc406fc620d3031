"""Charts are well-formed, true to their numbers, and small."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from attune.evaluation.curves import Series, interval_plot, line_chart, short, smoothed, ticks


def places(figure: str, style: str) -> list[tuple[float, float]]:
    """The points of one line, in pixels."""
    tree = ElementTree.fromstring(figure)
    (line,) = (one for one in tree.iter("polyline") if one.get("class") == f"line {style}")
    return [tuple(map(float, pair.split(","))) for pair in (line.get("points") or "").split()]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (0.13, 0.47, [0.1, 0.2, 0.3, 0.4, 0.5]),
        (-3, 3, [-4, -2, 0, 2, 4]),
        (0, 1e-4, [0, 2e-5, 4e-5, 6e-5, 8e-5, 1e-4]),
        (0.1 + 0.2, 0.3, [0.26, 0.28, 0.3, 0.32, 0.34]),
        (5, 5, [4.4, 4.6, 4.8, 5.0, 5.2, 5.4, 5.6]),
    ],
)
def test_ticks_are_round_and_enclose(low: float, high: float, expected: list[float]) -> None:
    found = ticks(low, high, 5)
    assert found[0] <= low
    assert found[-1] >= high
    if low != high:
        assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1500, "1.5k"), (20_000, "20k"), (3e6, "3M"), (0.05, "0.05"), (2e-5, "2e-05"), (1234, "1234")],
)
def test_short(value: float, text: str) -> None:
    assert short(value) == text


def test_smoothed_keeps_a_straight_line_and_a_mean() -> None:
    straight = [(float(x), 2.0 * x) for x in range(100)]
    assert [y for _, y in smoothed(straight)] == pytest.approx([y for _, y in straight])
    bent = smoothed([(0.0, 0.0), (1.0, 3.0), (2.0, 0.0)])
    assert bent == [(0.0, 0.0), (1.0, 1.0), (2.0, 0.0)]
    assert smoothed([]) == []


def test_line_chart_puts_points_where_they_belong() -> None:
    figure = line_chart([Series("a", [(0, 0), (5, 5), (10, 10)])], x_label="step", y_label="loss")
    points = places(figure, "run")
    assert points[1][0] == pytest.approx((points[0][0] + points[2][0]) / 2)
    assert points[1][1] == pytest.approx((points[0][1] + points[2][1]) / 2, abs=0.1)
    assert points[0][1] > points[2][1], "larger is higher"


def test_a_chart_without_a_line_is_nothing() -> None:
    assert line_chart([], x_label="x", y_label="y") == ""
    assert line_chart([Series("a", [(1, 1)])], x_label="x", y_label="y") == ""
    assert line_chart([Series("a", [(1, float("nan")), (2, 1)])], x_label="x", y_label="y") == ""


def test_numbers_that_are_none_are_left_out() -> None:
    figure = line_chart(
        [Series("a", [(1, 1), (2, float("inf")), (3, float("nan")), (4, 2)])], x_label="x", y_label="y"
    )
    assert len(places(figure, "run")) == 2
    assert "nan" not in figure
    assert "inf" not in figure


def test_a_constant_line_is_drawn() -> None:
    assert len(places(line_chart([Series("a", [(1, 0), (2, 0)])], x_label="x", y_label="y"), "run")) == 2


def test_long_runs_are_thinned_and_keep_their_spikes() -> None:
    points = [(float(x), 1.0) for x in range(100_000)]
    points[54_321] = (54_321.0, 99.0)
    figure = line_chart([Series("a", points)], x_label="x", y_label="y")
    drawn = places(figure, "run")
    assert len(drawn) <= 700
    assert len(figure) < 20_000
    assert min(y for _, y in drawn) < min(drawn[0][1], drawn[-1][1]) - 100


def test_names_are_escaped() -> None:
    figure = line_chart(
        [Series("<b>&", [(1, 1), (2, 2)], dots=True), Series("x", [(1, 2)])], x_label='"<i>', y_label="<u>"
    )
    tree = ElementTree.fromstring(figure)
    assert {element.tag for element in tree.iter()}.isdisjoint({"b", "i", "u"})
    assert len(list(tree.iter("circle"))) == 2


def test_interval_plot_by_hand() -> None:
    plot = ElementTree.fromstring(interval_plot([("run", 0.5, 0.25, 0.75)], 0.0, 1.0, "{:.2f}".format))
    (dot,) = plot.iter("circle")
    whisker = next(line for line in plot.iter("line") if line.get("class") == "whisker")
    assert (dot.get("cx"), whisker.get("x1"), whisker.get("x2")) == ("90.0", "49.0", "131.0")
    assert [text.text for text in plot.iter("text")] == ["0.00", "1.00"]
    assert interval_plot([("run", 1.0, 1.0, 1.0)], 1.0, 1.0, str)  # no width
