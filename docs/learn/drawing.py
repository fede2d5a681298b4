"""Drawings as SVG text, in one style: white ground, black text, the colours of the other pictures of docs/."""

from collections.abc import Sequence
from html import escape

from benchmarks.pictures import COLOURS

BLUE, ORANGE, GREEN, PINK, SKY, YELLOW, BLACK = COLOURS
GREY = "#767676"
SIZE = 15
"""Height of the letters in pixels."""
Point = tuple[float, float]


class Drawing:
    """A drawing of `width` x `height` pixels. `title` is the text for screen readers."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.width, self.height, self.title = width, height, title
        self.parts: list[str] = []

    def text(
        self, at: Point, text: str, colour: str = BLACK, size: float = SIZE, anchor: str = "middle", bold: bool = False
    ) -> None:
        """Write text whose middle (or `start`, `end`) is at a point."""
        weight = ' font-weight="bold"' if bold else ""
        self.parts.append(
            f'<text x="{at[0]:g}" y="{at[1] + 0.35 * size:g}" font-size="{size:g}" text-anchor="{anchor}" '
            f'fill="{colour}"{weight}>{escape(text)}</text>'
        )

    def line(self, start: Point, end: Point, colour: str = BLACK, head: bool = False, width: float = 1.5) -> None:
        """Draw a line; with a `head` it points to its end."""
        self.path(f"M{start[0]:g},{start[1]:g} L{end[0]:g},{end[1]:g}", colour, head, width)

    def bend(self, start: Point, over: Point, end: Point, colour: str = BLACK, width: float = 1.5) -> None:
        """Draw a curve from start to end that is pulled towards the point `over`, and points to its end."""
        points = [f"{x:g},{y:g}" for x, y in (start, over, end)]
        self.path(f"M{points[0]} Q{points[1]} {points[2]}", colour, True, width)

    def curve(self, points: Sequence[Point], colour: str = BLACK, width: float = 2) -> None:
        """Draw a line through all points."""
        self.path("M" + " L".join(f"{x:.1f},{y:.1f}" for x, y in points), colour, False, width)

    def path(self, path: str, colour: str, head: bool, width: float) -> None:
        """Draw a path of SVG."""
        marker = f' marker-end="url(#h{colour[1:]})"' if head else ""
        self.parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width:g}"{marker}/>')

    def circle(self, at: Point, radius: float, label: str = "", colour: str = BLUE, fill: str = "#ffffff") -> None:
        """Draw a circle with a label in it."""
        self.parts.append(
            f'<circle cx="{at[0]:g}" cy="{at[1]:g}" r="{radius:g}" fill="{fill}" stroke="{colour}" stroke-width="2"/>'
        )
        if label:
            self.text(at, label)

    def rectangle(
        self, at: Point, size: Point, label: str = "", colour: str = BLUE, strength: float = 0.12, letters: float = SIZE
    ) -> None:
        """Draw a rectangle whose middle is at a point, filled with `strength` (0 to 1) of its colour, with a label."""
        x, y = at[0] - size[0] / 2, at[1] - size[1] / 2
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{size[0]:g}" height="{size[1]:g}" rx="4" fill="{colour}" '
            f'fill-opacity="{strength:.2f}" stroke="{colour}" stroke-width="1.5"/>'
        )
        lines = label.split("\n") if label else []
        for number, text in enumerate(lines):
            self.text((at[0], at[1] + (number - (len(lines) - 1) / 2) * 1.25 * letters), text, size=letters)

    def matrix(
        self, at: Point, values: Sequence[Sequence[float | None]], cell: float, colour: str = BLUE, show: bool = True
    ) -> None:
        """Draw a matrix, top left at a point: a larger value (0 to 1) has a stronger colour; None is a masked cell."""
        for i, row in enumerate(values):
            for j, value in enumerate(row):
                middle = (at[0] + (j + 0.5) * cell, at[1] + (i + 0.5) * cell)
                if value is None:
                    self.rectangle(middle, (cell - 2, cell - 2), colour=GREY, strength=0.08)
                    continue
                self.rectangle(middle, (cell - 2, cell - 2), colour=colour, strength=0.04 + 0.9 * value)
                if show:
                    self.text(middle, f"{value:.2f}", "#ffffff" if value > 0.6 else BLACK, size=0.32 * cell)

    def svg(self) -> str:
        """Return the drawing as an SVG file."""
        colours = sorted({part.split('"')[5] for part in self.parts if "marker-end" in part})
        heads = "".join(
            f'<marker id="h{colour[1:]}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
            f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0,0 L10,5 L0,10 Z" fill="{colour}"/></marker>'
            for colour in colours
        )
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
                f'width="{self.width}" height="{self.height}" role="img" font-family="Helvetica, Arial, sans-serif">',
                f"<title>{escape(self.title)}</title>",
                f"<defs>{heads}</defs>",
                f'<rect width="{self.width}" height="{self.height}" rx="8" fill="#ffffff"/>',
                *self.parts,
                "</svg>\n",
            ]
        )
