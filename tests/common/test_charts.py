"""Charts of HTML pages."""

import math
import re
from xml.etree import ElementTree

import pytest

from common.charts import MOST_DRAWN, Line, heat_map, line_chart, short_number


def parse(figure: str) -> ElementTree.Element:
    """The figure, which must be well-formed."""
    return ElementTree.fromstring(figure)


@pytest.mark.parametrize(
    "values",
    [[0.0], [5.0, 5.0], [-1e-12, 1e12], [1e-9, 2e-9], [3.0, -3.0], [1.0, 1.0 + 1e-15], [0.0] * 3, [1e99, -1e99]],
)
@pytest.mark.parametrize("log", [False, True])
def test_line_chart_keeps_points_inside_plotted_area(values: list[float], log: bool) -> None:
    figure = line_chart("loss", [Line("a", list(enumerate(values)))], log=log)
    for circle in parse(figure).iter("circle") if figure else []:
        assert 40 < float(circle.get("cx", "")) < 360
        assert 5 < float(circle.get("cy", "")) < 195


def test_line_chart_is_empty_without_finite_points() -> None:
    assert line_chart("loss", [Line("a", [(1, math.nan), (2, math.inf), (3, 1e200)])]) == ""
    assert line_chart("loss", [Line("a", [(1, -1.0)])], log=True) == ""


def test_line_chart_escapes_texts() -> None:
    bad = "<script>alert('1')</script>\""
    figure = line_chart(bad, [Line(bad, [(1, 1.0)]), Line(bad, [(1, 2.0)])], x_name=bad)
    assert "<script" not in figure
    assert parse(figure).findtext("figcaption") == bad


def test_line_chart_has_legend_only_for_several_lines() -> None:
    one, two = (line_chart("loss", [Line(f"run {n}", [(1, 2.0), (2, 1.0)]) for n in range(lines)]) for lines in (1, 2))
    assert "<ul>" not in one
    assert [span.text for span in parse(two).iter("span")] == ["run 0", "run 1"]


def test_line_chart_draws_peak_of_long_line() -> None:
    points = [(x, 50.0 if x == 77_777 else 1.0) for x in range(100_000)]
    figure = line_chart("gradient norm", [Line("a", points)])
    path = next(parse(figure).iter("path")).get("d", "")
    drawn = [float(y) for y in re.findall(r" ([\d.]+)", path)]
    assert len(drawn) <= MOST_DRAWN
    assert min(drawn) < 60


def test_heat_map_has_cell_for_each_weight() -> None:
    figure = parse(heat_map("<b>", ["<i>", "b"], ["x", "y", "z"], [[0, 0.5, 1], [1, 0, 0]]))
    assert len(list(figure.iter("rect"))) == 6
    assert next(figure.iter("title")).text == "<i>, x: 0.00"


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (12_345.6, "12,346"), (3.14159, "3.142"), (2.5e-5, "2.5e-05"), (-1e12, "-1e+12")]
)
def test_short_number_has_few_digits(value: float, text: str) -> None:
    assert short_number(value) == text
