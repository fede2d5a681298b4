"""Sample texts and attention of a validation, for TensorBoard."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from unicodedata import normalize

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # slow imports, and only if the run logs to TensorBoard
    from PIL.ImageFont import FreeTypeFont
    from torch.utils.tensorboard import SummaryWriter

CELL, MARGIN = 24, 6
"""Size of a cell of the picture, and of its edge, in pixels."""
FONT_SIZE = 14
DEJAVU = "DejaVuSans.ttf"
DARK = np.array([11, 87, 164])
"""Colour of the weight 1; the weight 0 is white."""


def add_samples(writer: "SummaryWriter", step: int, samples: Mapping[str, Any]) -> None:
    """Add what `make_samples` has returned. Numbers and colours stand in the same tags at each validation."""
    for number, (source, reference, text) in enumerate(samples.get("translations", []), 1):
        writer.add_text(
            f"sample/{number}", _table([("source", source), ("reference", reference), ("translation", text)]), step
        )
    if text := samples.get("text"):
        writer.add_text("sample", _code(text), step)
    if worst := samples.get("worst"):
        writer.add_text("worst", _table([(str(score), " → ".join(texts)) for score, *texts in worst]), step)
    if attention := samples.get("attention"):
        writer.add_image("attention", attention_picture(**attention), step, dataformats="HWC")


def attention_picture(
    rows: Sequence[str], columns: Sequence[str], weights: Sequence[Sequence[float]]
) -> npt.NDArray[np.uint8]:
    """Return a map of attention as a picture (height, width, 3): a darker cell has more weight."""
    from PIL import Image, ImageDraw

    font, rows, columns = _choose_font(rows, columns)
    left, top = (round(max(map(font.getlength, labels), default=0)) + 2 * MARGIN for labels in (rows, columns))
    picture = Image.new("RGB", (left + CELL * len(columns) + MARGIN, top + CELL * len(rows) + MARGIN), "white")
    draw = ImageDraw.Draw(picture)
    for n, label in enumerate(rows):
        draw.text((left - MARGIN, top + CELL * (n + 0.5)), label, "black", font, anchor="rm")
    for n, label in enumerate(columns):
        upright = Image.new("RGB", (top - MARGIN, CELL), "white")
        ImageDraw.Draw(upright).text((0, CELL / 2), label, "black", font, anchor="lm")
        picture.paste(upright.rotate(90, expand=True), (left + CELL * n, 0))
    for n, row in enumerate(weights):
        for m, weight in enumerate(row):
            x, y = left + CELL * m, top + CELL * n
            colour = tuple((255 - weight * (255 - DARK)).astype(int).tolist())
            draw.rectangle((x, y, x + CELL - 2, y + CELL - 2), colour, "lightgrey")
    return np.asarray(picture)


def _choose_font(rows: Sequence[str], columns: Sequence[str]) -> "tuple[FreeTypeFont, list[str], list[str]]":
    """Return a font, and the labels as it can show them.

    DejaVu has the letters of most alphabets; it comes with many systems and with matplotlib. Pillow's own font has
    English letters only: other letters lose their accents.
    """
    from PIL import ImageFont

    spec = find_spec("matplotlib")
    places = [Path(spec.origin).parent / "mpl-data/fonts/ttf"] if spec and spec.origin else []
    for name in (DEJAVU, *(str(place / DEJAVU) for place in places)):
        with suppress(OSError):
            return ImageFont.truetype(name, FONT_SIZE), list(rows), list(columns)
    plain = ([normalize("NFD", label).encode("ascii", "ignore").decode() for label in own] for own in (rows, columns))
    return cast("FreeTypeFont", ImageFont.load_default(FONT_SIZE)), next(plain), next(plain)


def _table(rows: Sequence[tuple[str, str]]) -> str:
    """Return rows as a Markdown table. TensorBoard removes HTML from it; `|` and line breaks would end a cell."""
    lines = (f"| {name} | {text.replace('|', '&#124;').replace(chr(10), ' ')} |" for name, text in rows)
    return "\n".join(["| | |", "|---|---|", *lines])


def _code(text: str) -> str:
    """Return text as a Markdown block whose line breaks and characters stay."""
    return "\n".join(f"    {line}" for line in text.split("\n"))
