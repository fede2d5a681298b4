"""Figures 3 to 5 of the paper, for any sentence and model: lines from the words that attend to those attended to."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from common.errors import InputError
from common.files import replace_file
from evaluate.explain.explanation import AttentionMap, Explanation

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8C564B")
"""One for each head: those of Okabe and Ito, and brown."""
SUFFIXES = (".png", ".svg")


@dataclass(frozen=True)
class FigureChoice:
    """Which attention is drawn. Layers and heads count from 1."""

    kind: str | None = None
    """encoder, decoder or cross; None is the first that the model has."""
    layer: int | None = None
    """None is the last layer."""
    heads: tuple[int, ...] = ()
    """() means all heads."""
    word: str | None = None
    """Draw only the lines of this word; None draws those of all words."""


def check_figure(path: Path) -> None:
    """Raise InputError unless the name of a figure ends in .png or .svg."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"--figure is {path}; its name must end in {' or '.join(SUFFIXES)}")


def draw_figure(explanation: Explanation, choice: FigureChoice, path: Path) -> None:
    """Draw an attention. Raises InputError if the model has no such attention, layer, head or word."""
    own, layer, heads, rows = select(explanation, choice)
    weights_HLM = own.by_words()[layer]
    pyplot = _import_pyplot()
    longest = max(len(own.rows.words), len(own.columns.words))
    figure = pyplot.figure(figsize=(5, 0.32 * longest + 1.2))
    axis = figure.add_axes((0.02, 0.02, 0.96, 0.9))
    for n, head in enumerate(heads):
        shift = 0.14 * (n - (len(heads) - 1) / 2) if len(heads) < 6 else 0.0  # lines of several heads, side by side
        _draw_lines(axis, weights_HLM[head], rows, COLOURS[head % len(COLOURS)], shift)
        axis.plot([], [], color=COLOURS[head % len(COLOURS)], linewidth=4, label=f"{head + 1}")
    axis.legend(title="head", loc="upper left", frameon=False, fontsize=9, title_fontsize=9)
    for x, words, align in ((0, own.rows.words, "right"), (1, own.columns.words, "left")):
        for y, word in enumerate(words):
            bold = "bold" if x == 0 and choice.word is not None and y in rows else "normal"
            axis.text(x + (0.03 if x else -0.03), y, word, ha=align, va="center", fontweight=bold, parse_math=False)
    named = "all heads" if len(heads) == len(weights_HLM) else f"head {', '.join(str(head + 1) for head in heads)}"
    axis.set_title(f"{own.title}, layer {layer + 1} of {len(own.weights)}, {named}", fontsize=10)
    axis.set(xlim=(-0.9, 1.9), ylim=(longest - 0.5, -0.5))
    axis.axis("off")
    kind = path.suffix.lower().removeprefix(".")
    with replace_file(path) as temporary:
        figure.savefig(
            temporary, format=kind, dpi=130, metadata={"Software": None} if kind == "png" else {"Date": None}
        )
    pyplot.close(figure)


def select(explanation: Explanation, choice: FigureChoice) -> tuple[AttentionMap, int, Sequence[int], Sequence[int]]:
    """Return the map, and the layer, heads and rows in it, from 0. Raises InputError if there is none such."""
    kind = choice.kind or next(iter(explanation.maps))
    if kind not in explanation.maps:
        raise InputError(f"--attention is {kind}; the model has only {', '.join(explanation.maps)}")
    own = explanation.maps[kind]
    layers, heads = own.weights.shape[:2]
    layer = layers if choice.layer is None else choice.layer
    if not 1 <= layer <= layers:
        raise InputError(f"--layer is {layer}; this attention has layers 1 to {layers}")
    if wrong := [head for head in choice.heads if not 1 <= head <= heads]:
        raise InputError(f"--head is {wrong[0]}; this attention has heads 1 to {heads}")
    rows = [n for n, word in enumerate(own.rows.words) if choice.word in (None, word)]
    if not rows:
        raise InputError(f"--word is {choice.word!r}; the words are {', '.join(own.rows.words)}")
    return own, layer - 1, [head - 1 for head in choice.heads] or range(heads), rows


def _draw_lines(axis: Any, weights_LM: Tensor, rows: Sequence[int], colour: str, shift: float) -> None:
    for row in rows:
        for column, weight in enumerate(weights_LM[row].tolist()):
            if weight > 0.02:
                axis.plot((0, 1), (row, column + shift), color=colour, alpha=min(1.0, weight), linewidth=2.5)


def _import_pyplot() -> Any:
    try:
        import matplotlib
    except ImportError:
        raise InputError("--figure needs matplotlib: pip install matplotlib") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot
