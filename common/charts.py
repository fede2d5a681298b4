"""Charts as SVG inside an HTML page: lines over updates, and maps of weights. Colours follow the page, light or dark.

A page with charts needs `STYLE`. A value is shown if the mouse points at it; no script is needed.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

STYLE = Path(__file__).with_name("charts.css")
COLOURS = 8
DASHES = ("", "6 3", "2 2", "8 3 2 3")
"""Patterns of lines, so that colour is not needed to tell lines apart."""
WIDTH, HEIGHT = 360, 210
"""Size of a chart in pixels, before it is scaled to its column of the page."""
LEFT, RIGHT, TOP, BOTTOM = 48, 352, 10, 188
"""Edges of the plotted area."""
MOST_DRAWN = 400
"""Most points of a line that are drawn. Of more points, the lowest and the highest of each part of the line are."""
MOST_LABELLED = 48
"""Most points of a line whose value is shown if the mouse points at them."""
LARGEST = 1e100
"""Largest value that is drawn. NaN is not drawn, either."""
CELL = 18
"""Size of a cell of a map in pixels."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A line of a chart. Points have rising x; points above `LARGEST`, infinity and NaN are not drawn."""

    name: str
    points: Sequence[Point]
    band: Sequence[tuple[float, float, float]] = ()
    """An area behind the line: x, and the lowest and highest y."""


@dataclass(frozen=True)
class Axis:
    """A range of values, and where they are on the chart."""

    low: float
    high: float
    start: float
    """Pixel of `low`."""
    end: float
    """Pixel of `high`."""
    log: bool = False

    def at(self, value: float) -> float:
        """Return the pixel of a value."""
        low, high, value = ((math.log(x) for x in (self.low, self.high, value)) if self.log else
                            (self.low, self.high, value))  # fmt: skip
        return self.start + (self.end - self.start) * ((value - low) / (high - low))


def line_chart(title: str, lines: Sequence[Line], x_name: str = "update", log: bool = False) -> str:
    """Return a chart as an HTML figure; "" if no line has a point. Texts are escaped here.

    Args:
        title: what the values are, with their unit.
        lines: get the colours in this order. With several lines, the chart has a legend.
        x_name: what x counts.
        log: logarithmic scale of y, if its range has a factor of 10 or more. Points that are not above 0 are not drawn.
    """
    shown = [
        Line(
            line.name,
            [p for p in line.points if _is_drawn(p, log)],
            [(x, low, high) for x, low, high in line.band if all(_is_drawn((x, y), log) for y in (low, high))],
        )
        for line in lines
    ]
    every = [point for line in shown for point in (*line.points, *((x, y) for x, *ends in line.band for y in ends))]
    if not every:
        return ""
    x_axis = _axis([x for x, _ in every], LEFT, RIGHT, tight=True)
    y_axis = _axis([y for _, y in every], BOTTOM, TOP, log)
    body = "".join([*_grid(x_axis, y_axis, x_name), *(_curve(line, n, x_axis, y_axis, x_name, len(shown) > 1)
                                                      for n, line in enumerate(shown))])  # fmt: skip
    legend = f"<ul>{''.join(_legend(line, n) for n, line in enumerate(shown))}</ul>" if len(shown) > 1 else ""
    return (
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption><svg role="img" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'aria-label="{escape(_describe(title, shown, x_name))}">{body}</svg>{legend}</figure>'
    )


def heat_map(title: str, rows: Sequence[str], columns: Sequence[str], weights: Sequence[Sequence[float]]) -> str:
    """Return a map as an HTML figure: a row of cells for each label in `rows`. Weights are from 0 to 1."""
    left, top = (10 + 7 * max((len(label) for label in labels), default=0) for labels in (rows, columns))
    width, height = left + CELL * len(columns) + 8, top + CELL * len(rows) + 4
    parts = []
    for n, label in enumerate(columns):
        x, y = left + CELL * n + CELL / 2 + 4, top - 4
        parts.append(f'<text transform="translate({x:g} {y:g}) rotate(-90)">{escape(label)}</text>')
    for n, (label, row) in enumerate(zip(rows, weights, strict=True)):
        y = top + CELL * n
        parts.append(f'<text x="{left - 5}" y="{y + 13}" text-anchor="end">{escape(label)}</text>')
        for m, (column, weight) in enumerate(zip(columns, row, strict=True)):
            parts.append(
                f'<rect class="cell" x="{left + CELL * m}" y="{y}" width="{CELL - 1}" height="{CELL - 1}" '
                f'fill-opacity="{0.04 + 0.96 * weight:.2f}">'
                f"<title>{escape(label)}, {escape(column)}: {weight:.2f}</title></rect>"
            )
    return (
        f'<figure class="chart heat"><figcaption>{escape(title)}</figcaption><svg role="img" '
        f'viewBox="0 0 {width} {height}" width="{width}" aria-label="{escape(title)}">{"".join(parts)}</svg></figure>'
    )


def short_number(value: float) -> str:
    """Return a number with four digits at most: 12,300, 3.142, 2.5e-05."""
    if value and (abs(value) < 1e-3 or abs(value) >= 1e9):
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _is_drawn(point: Point, log: bool) -> bool:
    return all(abs(value) <= LARGEST for value in point) and (not log or point[1] > 0)


def _axis(values: Sequence[float], start: float, end: float, log: bool = False, tight: bool = False) -> Axis:
    """Return an axis that covers the values. It has round ends, unless it is `tight` or logarithmic."""
    low, high = min(values), max(values)
    if log and high >= 10 * low:
        return Axis(low, high, start, end, log)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        low, high = low - (abs(low) / 10 or 1), high + (abs(high) / 10 or 1)
    if not tight:
        step = _step(low, high)
        low, high = step * math.floor(low / step + 1e-9), step * math.ceil(high / step - 1e-9)
    return Axis(low, high, start, end)


def _step(low: float, high: float, wanted: int = 4) -> float:
    """Return the round distance (1, 2 or 5 times a power of ten) that divides a range into about `wanted` parts."""
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)


def _ticks(axis: Axis, wanted: int = 4) -> list[float]:
    if axis.log:
        first, last = math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high))
        factors = (1, 2, 5) if last - first < 3 else (1,)
        found = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
        found = [tick for tick in found if axis.low <= tick <= axis.high]
        return found[:: -(-len(found) // 6)]
    step = _step(axis.low, axis.high, wanted)
    return [step * n for n in range(math.ceil(axis.low / step - 1e-9), math.floor(axis.high / step + 1e-9) + 1)]


def _grid(x_axis: Axis, y_axis: Axis, x_name: str) -> Iterator[str]:
    for tick in _ticks(y_axis):
        y = y_axis.at(tick)
        yield f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{_tick_text(tick)}</text>'
    yield f'<line class="axis" x1="{LEFT}" x2="{RIGHT}" y1="{BOTTOM}" y2="{BOTTOM}"/>'
    taken = RIGHT - 7.0 * len(x_name)  # the name stands at the end of the axis
    for tick in _ticks(x_axis, wanted=6):
        whole = tick == round(tick) or x_axis.high - x_axis.low < 1
        if whole and (x := x_axis.at(tick)) < taken - 16:
            yield f'<text x="{x:.1f}" y="{BOTTOM + 16}" text-anchor="middle">{_tick_text(tick)}</text>'
    yield f'<text x="{RIGHT}" y="{BOTTOM + 16}" text-anchor="end">{escape(x_name)}</text>'


def _tick_text(value: float) -> str:
    """Return a number of at most six letters."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'k' else size):.4g}{unit}"
    return f"{value:.4g}" if value == 0 or abs(value) >= 1e-3 else f"{value:.1e}".replace("e-0", "e-")


def _curve(line: Line, n: int, x_axis: Axis, y_axis: Axis, x_name: str, named: bool) -> str:
    at = [(x_axis.at(x), y_axis.at(y)) for x, y in _thinned(line.points)]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in at) if at else ""
    dash = f' stroke-dasharray="{dashes}"' if (dashes := _dash(n)) else ""
    dots = "".join(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in at) if len(at) <= 30 else ""
    low, high = ([(x_axis.at(x), y_axis.at(ends[n])) for x, *ends in line.band] for n in (0, 1))
    edge = "L".join(f"{x:.1f} {y:.1f}" for x, y in (*low, *high[::-1]))
    band = f'<path class="band" d="M{edge}Z"/>' if edge else ""
    every = -(-len(line.points) // MOST_LABELLED) or 1
    hits = "".join(
        f'<g><circle class="hit" cx="{x_axis.at(x):.1f}" cy="{y_axis.at(y):.1f}" r="7"/><title>'
        f"{f'{escape(line.name)}, ' if named else ''}{escape(x_name)} {x:,g}: {short_number(y)}</title></g>"
        for x, y in line.points[::-1][::every]
    )
    return f'<g class="c{n % COLOURS}">{band}<path class="curve" d="{path}"{dash}/>{dots}{hits}</g>'


def _thinned(points: Sequence[Point]) -> Iterable[Point]:
    """Return the points; of many, the lowest and the highest y of each part, so that no peak is lost."""
    if len(points) <= MOST_DRAWN:
        return points
    size = -(-2 * len(points) // MOST_DRAWN)
    parts = (points[start : start + size] for start in range(0, len(points), size))
    return [p for part in parts for p in sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])})]


def _dash(n: int) -> str:
    return DASHES[n % len(DASHES)]


def _legend(line: Line, n: int) -> str:
    return (
        f'<li class="c{n % COLOURS}"><svg viewBox="0 0 32 12" aria-hidden="true"><path class="curve" d="M0 6H32" '
        f'stroke-dasharray="{_dash(n)}"/></svg><span class="name">{escape(line.name)}</span></li>'
    )


def _describe(title: str, lines: Sequence[Line], x_name: str) -> str:
    """Return the chart in words, for screen readers."""
    texts = []
    for line in lines:
        if line.points:
            values = [y for _, y in line.points]
            name = f"{line.name}: " if len(lines) > 1 else ""
            texts.append(
                f"{name}from {short_number(values[0])} to {short_number(values[-1])} at {x_name} "
                f"{line.points[-1][0]:,g}, lowest {short_number(min(values))}, highest {short_number(max(values))}"
            )
    return f"{title}: {'; '.join(texts)}"
