"""Draw the pictures of docs/pictures: `python -m docs.pictures`.

Positions, masks, schedules, the plan of an update, the curves of docs/learn/break-it.md, and a tree. All are computed
by the code that they show, and drawn as SVG. A test compares the files with what this script draws. With
`--model runs/demo`, the attention of that model, too; without it, that picture stays as it is. `--all` also runs the
scripts that draw the other pictures of docs/. Some of them need matplotlib.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.runner import RESULTS, ROOT
from common.arguments import CommandParser
from common.command import run_command
from common.errors import InputError
from common.files import write_text
from data_pipeline.batch_plan import BatchPlan
from data_pipeline.builtin.grammar import generate
from data_pipeline.micro_batches import PADDING_ROW
from data_pipeline.trees import read_trees
from docs.exercises.heads import causal_mask
from docs.learn.drawing import BLUE, GREEN, GREY, ORANGE, Drawing, Point
from evaluate.backends.pytorch import PyTorchBackend
from evaluate.length_batches import IdPair
from evaluate.translator import Translator
from evaluate.tree_picture import TreePicture
from train.schedule import cosine, noam, wsd
from transformer.layers import sinusoidal_positions

FOLDER = Path(__file__).resolve().parent / "pictures"
OTHERS = ("docs.learn.pictures", "docs.learn.what_if_pictures", "docs.learn.recurrent_picture", "benchmarks.pictures")
"""Other scripts without arguments that draw pictures of docs/."""
WIDTH = 540
"""Width of a picture in pixels: its letters are still 11 pixels high on a phone that is 390 pixels wide."""
PRONOUNS = ("er", "sie", "es")
TREE = (
    "(TOP (S (NP (NP (DT The) (NNS mice)) (SBAR (WHNP (WDT that)) (S (VP (VBP lack) (NP (DT this) (NN gene)))))) "
    "(VP (VBP have) (NP (JJR smaller) (NNS brains))) (. .)))"
)
"""The output of a parser of configs/parsing_craft.yaml for this sentence."""
PIZZA = "The pizza came out of the oven and it tasted good."


def main() -> None:
    """Write the pictures."""
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="model folder for the picture of attention")
    parser.add_argument("--all", action="store_true", help=f"also run {', '.join(OTHERS)}")
    args = parser.parse_args()
    for name, draw in PICTURES.items():
        write_text(FOLDER / f"{name}.svg", draw().svg())
    if args.model:
        write_text(FOLDER / "attention.svg", attention(args.model).svg())
    for module in OTHERS if args.all else ():
        if subprocess.run([sys.executable, "-m", module], cwd=ROOT).returncode:
            raise InputError(f"python -m {module} failed. Its error is printed above")


def positions() -> Drawing:
    """Section 3.5: the table of positions, and what it is good for: near positions are similar."""
    length, size, cell = 32, 32, 10.0
    table_LD = sinusoidal_positions(length, size).double()
    d = Drawing(WIDTH, 480, "Position encodings as a table of colours, and the products of position 16 with all others")
    d.text((24, 28), "Position encodings, section 3.5", anchor="start", bold=True)
    left, top = 130.0, 50.0
    for colour, sign in ((BLUE, 1), (ORANGE, -1)):
        shade(d, (left, top), cell, colour, (sign * table_LD).clamp(min=0).tolist())
    d.text((left - 12, top + 8), "position 0", size=14, anchor="end")
    d.text((left - 12, top + (length - 0.5) * cell), f"position {length - 1}", size=14, anchor="end")
    d.text((left + size * cell + 12, top + 20), "+1", BLUE, anchor="start", bold=True)
    d.text((left + size * cell + 12, top + 44), "−1", ORANGE, anchor="start", bold=True)
    d.text((left, top + length * cell + 18), "dimension 0: fast", size=14, anchor="start")
    d.text((left + size * cell, top + length * cell + 18), f"dimension {size - 1}: slow", size=14, anchor="end")
    products = (table_LD @ table_LD[16] / (size / 2)).tolist()
    at = [(left + (pos + 0.5) * cell, 464 - 50 * product) for pos, product in enumerate(products)]
    d.curve(at, GREEN)
    d.circle(at[16], 4, colour=GREEN, fill=GREEN)
    d.text((left - 12, 440), "product with 16", GREEN, size=14, anchor="end")
    return d


def masks() -> Drawing:
    """Section 3.2.3: who attends to whom, for a sentence with two positions of padding."""
    source, target = ["It", "was", "good", "(end)", "pad", "pad"], ["(start)", "Sie", "war", "gut", "pad"]
    mask_M = torch.tensor([word != "pad" for word in source])
    kinds = (
        ("encoder", source, source, mask_M.expand(len(source), -1), BLUE, "padding is masked"),
        ("decoder", target, target, causal_mask(len(target)), ORANGE, "later positions are masked"),
        ("cross-attention", target, source, mask_M.expand(len(target), -1), GREEN, "padding is masked"),
    )
    d, left, cell = Drawing(WIDTH, 730, "The three masks: encoder, decoder, and cross-attention"), 270.0, 26.0
    d.text((24, 28), "Masks: rows attend to columns, section 3.2.3", anchor="start", bold=True)
    top = 110.0
    for name, rows, columns, mask_LM, colour, why in kinds:
        d.matrix((left, top), [[0.75 if can else None for can in row] for row in mask_LM.tolist()], cell, colour, False)
        d.text((24, top + 10), name, colour, anchor="start", bold=True)
        words = why.split()
        for number, line in enumerate((" ".join(words[:2]), " ".join(words[2:]))):
            d.text((24, top + 34 + 19 * number), line, size=14, anchor="start")
        for i, word in enumerate(rows):
            d.text((left - 10, top + (i + 0.5) * cell), word, GREY if word == "pad" else "#000000", 14, "end")
        for j, word in enumerate(columns):
            slanted(d, (left + (j + 0.5) * cell, top - 6), word, GREY if word == "pad" else "#000000")
        top += len(rows) * cell + 92
    return d


def schedules() -> Drawing:
    """Section 5.3: the learning rate of Eq. 3, and the two other schedules of this project."""
    last, peak = 20_000, noam(4000, 512, 4000)
    curves: dict[str, tuple[str, Callable[[int], float]]] = {
        "noam (Eq. 3)": (BLUE, lambda step: noam(step, 512, 4000)),
        "cosine": (ORANGE, lambda step: cosine(step, peak, 0.0, 4000, last)),
        "wsd": (GREEN, lambda step: wsd(step, peak, 0.0, 4000, last, 0.3)),
    }
    d = Drawing(WIDTH, 330, "Learning rate by update: warm-up, then decay, for three schedules")
    d.text((24, 28), "Learning rate by update, section 5.3", anchor="start", bold=True)
    left, bottom, width, height = 80.0, 280.0, 430.0, 210.0
    axes(d, left, bottom, width, height)
    for number, (name, (colour, rate)) in enumerate(curves.items()):
        steps = range(1, last + 1, 100)
        d.curve([(left + width * step / last, bottom - height * rate(step) / peak) for step in steps], colour)
        d.text((left + 0.25 * width, bottom - 66 + 22 * number), name, colour, anchor="start")
    for step in (0, 4000, last):
        d.text((left + width * step / last, bottom + 18), f"{step:,}", size=14)
    d.text((left - 8, bottom - height), f"{peak:.1e}", size=14, anchor="end")
    d.text((left - 8, bottom), "0", size=14, anchor="end")
    d.text((left + width * 0.2, bottom + 37), "end of warm-up", GREY, size=14)
    d.text((left + width * 0.6, bottom + 18), "update", GREY, size=14)
    return d


def update() -> Drawing:
    """Section 5.1: a real update of four bucket batches, split into two micro-batches each for two ranks."""
    pairs = [[len(text.split()) + 1 for text in pair] for pair in generate("train", 600, 1)]
    lengths = np.array([pair for pair in pairs if max(pair) <= 12])
    plan = BatchPlan(lengths[:, 0], lengths[:, 1], tokens_per_update=320, per_update=4, max_buckets=8, seed=1)
    chosen, colours, cell = plan.update(2), (BLUE, ORANGE), 9.0
    rows = [len(batch.indices) for batch in chosen.bucket_batches]
    second = 148 + cell * max(rows[:2])
    y = second + 50 + cell * max(rows[2:])
    d = Drawing(WIDTH, int(y + 125), "An update: four bucket batches, each split into micro-batches for two ranks")
    d.text((24, 28), "An update: 4 bucket batches, 2 ranks", anchor="start", bold=True)
    for rank, colour in enumerate(colours):
        d.text((24 + 262 * rank, 56), f"rank {rank}: micro-batch {rank} of each", colour, anchor="start")
    for number, micro_batch in enumerate(chosen.micro_batches(split=2, world_size=2)):
        batch = micro_batch.bucket_batch
        left, top = 24 + 262.0 * (batch % 2), (98.0, second)[batch // 2]
        if micro_batch.number == 0:
            d.text((left, top - 14), f"bucket batch {batch}: source, target", size=14, anchor="start")
        top += micro_batch.number * (len(micro_batch.indices) * cell + 6)
        for shift, width, own in ((0, micro_batch.src_len, 0), (micro_batch.src_len + 1, micro_batch.tgt_len, 1)):
            used = [0 if i == PADDING_ROW else int(lengths[i, own]) for i in micro_batch.indices]
            tokens = [[float(column < n) for column in range(width)] for n in used]
            shade(d, (left + shift * cell, top), cell, colours[number % 2], tokens)
            shade(d, (left + shift * cell, top), cell, GREY, [[0.2 * (1 - value) for value in row] for row in tokens])
    for rank, colour in enumerate(colours):
        x = 140 + 260.0 * rank
        d.rectangle((x, y), (220, 46), f"rank {rank} adds the gradients\nof its 4 micro-batches", colour)
        d.line((x, y + 23), (270 + 80 * (rank - 0.5), y + 66), colour, head=True)
    label = f"sum over ranks, divided by {chosen.predicted_tokens} target tokens;\none optimizer step"
    d.rectangle((270, y + 90), (400, 46), label, GREEN)
    return d


def attention(model: Path) -> Drawing:
    """Section 3.2.3: the cross-attention of a model that translates a sentence."""
    rows, columns, weights = cross_attention(model, PIZZA)
    left, top, cell = 110.0, 120.0, 30.0
    d = Drawing(
        WIDTH,
        int(top + len(rows) * cell + 24),
        "Cross-attention: for each German word, the English words that the decoder reads",
    )
    d.text((24, 28), "What the decoder reads for each German word", anchor="start", bold=True)
    for i, word in enumerate(rows):
        colour = ORANGE if word in PRONOUNS else BLUE
        d.matrix((left, top + i * cell), [weights[i]], cell, colour, False)
        d.text((left - 10, top + (i + 0.5) * cell), word, anchor="end")
    for j, word in enumerate(columns):
        slanted(d, (left + (j + 0.5) * cell, top - 6), word)
    return d


def cross_attention(model: Path, sentence: str) -> tuple[list[str], list[str], list[list[float]]]:
    """Translate a sentence. Return the words of translation and source, and the weights.

    The weights are the mean of all heads of the last decoder layer. The weight of a source word is the sum of those of
    its subwords; the weights of a target word are the mean of those of its subwords.
    """
    translator = Translator.from_pretrained(model, prepack=False)
    assert isinstance(translator.backend, PyTorchBackend)
    (source,) = translator.encode([sentence])
    target = translator.ids.translate([source])[0][0].tokens
    (weights,) = translator.backend.cross_attention([IdPair(tuple(source), tuple(target))])
    mean_LM = weights[-1].mean(0)
    rows, columns = (words_of([translator.tokenizer.pieces[i] for i in ids]) for ids in (target, source))
    weights_of_words = [[mean_LM[i][:, j].sum(1).mean().item() for _, j in columns] for _, i in rows]
    return [word for word, _ in rows], [word for word, _ in columns], weights_of_words


def words_of(pieces: Sequence[str]) -> list[tuple[str, list[int]]]:
    """Return words, and the indices of their subwords. `▁` begins a word; so do full stop and end of the sentence."""
    words: list[tuple[str, list[int]]] = []
    for i, piece in enumerate(pieces):
        if piece.startswith(("▁", "<", ".")) or not words:
            words.append(("", []))
        text, indices = words.pop()
        words.append((text + {"</s>": "(end)"}.get(piece, piece.lstrip("▁")), [*indices, i]))
    return words


def break_it() -> Drawing:
    """docs/learn/break-it.md: the curve of each bug beside the healthy one."""
    runs = json.loads((RESULTS / "break_it.json").read_text(encoding="utf-8"))["runs"]
    last, top = runs["0"]["curve"][-1][0], 8.0
    d = Drawing(WIDTH, 640, "Training loss by update for eight bugs, each beside the healthy curve")
    d.text((24, 28), "Training loss by update:", anchor="start", bold=True)
    d.text((262, 28), "healthy", GREY, anchor="start", bold=True)
    d.text((348, 28), "and bugs 1 to 8", ORANGE, anchor="start", bold=True)
    width, height = 210.0, 105.0
    for number in range(1, 9):
        left, bottom = 45 + 260.0 * ((number - 1) % 2), 165 + 147.0 * ((number - 1) // 2)
        axes(d, left, bottom, width, height)
        for run, colour in ((runs["0"], GREY), (runs[str(number)], ORANGE)):
            points = [(step, min(loss, top)) for step, loss in run["curve"]]
            d.curve([(left + width * step / last, bottom - height * loss / top) for step, loss in points], colour)
        d.text((left + width - 4, bottom - height + 8), str(number), ORANGE, size=20, anchor="end", bold=True)
        d.text((left - 8, bottom - height), f"{top:g}", size=14, anchor="end")
        d.text((left - 8, bottom), "0", size=14, anchor="end")
        d.text((left + width, bottom + 15), f"{last}", size=14, anchor="end")
    return d


def tree() -> TreePicture:
    """Section 6.3: a constituency tree, as `transformer.parse --svg` draws it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tree.trees"
        file.write_text(TREE, encoding="utf-8")
        return TreePicture(*read_trees(file), shown_width=WIDTH)


def axes(d: Drawing, left: float, bottom: float, width: float, height: float) -> None:
    """Draw two axes."""
    d.line((left, bottom), (left + width, bottom), GREY, width=1)
    d.line((left, bottom), (left, bottom - height), GREY, width=1)


def slanted(d: Drawing, at: Point, text: str, colour: str = "#000000") -> None:
    """Write a label above a column, turned by 50 degrees."""
    d.parts.append(
        f'<text transform="translate({at[0]:g},{at[1]:g}) rotate(-50)" font-size="14" fill="{colour}">{text}</text>'
    )


def shade(d: Drawing, at: Point, cell: float, colour: str, values: Iterable[Sequence[float]]) -> None:
    """Draw a table of cells, top left at a point. A larger value (0 to 1, in steps of 0.05) has a stronger colour.

    Cells of equal strength are one path, so the file is small.
    """
    paths: dict[int, list[str]] = defaultdict(list)
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            paths[round(20 * value)].append(
                f"M{at[0] + j * cell:g},{at[1] + i * cell:g}h{cell - 1:g}v{cell - 1:g}h{1 - cell:g}z"
            )
    for strength, cells in sorted(paths.items()):
        if strength:
            d.parts.append(f'<path fill="{colour}" fill-opacity="{strength / 20:g}" d="{"".join(cells)}"/>')


PICTURES: dict[str, Callable[[], Drawing | TreePicture]] = {
    "positions": positions,
    "masks": masks,
    "schedules": schedules,
    "update": update,
    "break-it": break_it,
    "tree": tree,
}
"""Functions that draw, by the name of the file."""

if __name__ == "__main__":
    run_command(main)
