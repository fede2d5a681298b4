"""Draw the pictures of the pages: `python -m docs.learn.pictures`. A test compares them with the files."""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from math import exp, log
from pathlib import Path

from common.command import run_command
from common.files import write_text
from data_pipeline.builtin.grammar import generate
from docs.learn import decoder_pictures
from docs.learn.drawing import BLUE, GREEN, GREY, ORANGE, PINK, Drawing

FOLDER = Path(__file__).resolve().parent / "pictures"


def main() -> None:
    """Write all pictures."""
    for name, draw in PICTURES.items():
        write_text(FOLDER / f"{name}.svg", draw().svg())


def neuron() -> Drawing:
    """Page 1: forward through a neuron, and back with the chain rule."""
    d = Drawing(820, 330, "A neuron computes an answer and a cost; the gradient goes back from the cost to a weight")
    d.text((30, 30), "forward: compute the answer and its cost", BLUE, anchor="start", bold=True)
    middle = 120
    for y, name, weight in ((75, "x₁", "w₁"), (165, "x₂", "w₂")):
        d.circle((60, y), 22, name)
        d.line((82, y), (184, middle + (y - middle) * 0.3), BLUE, head=True)
        d.text((128, y + (-8 if y < middle else 10)), weight, BLUE)
    for x, label, width in (
        (270, "z = w₁x₁ + w₂x₂ + b", 170),
        (480, "a = sigmoid(z)", 130),
        (690, "cost = (a − y)² / 2", 160),
    ):
        d.rectangle((x, middle), (width, 46), label)
    d.line((355, middle), (413, middle), BLUE, head=True)
    d.line((545, middle), (608, middle), BLUE, head=True)
    d.text((690, 60), "y: the correct answer", BLUE)
    d.line((690, 70), (690, 95), BLUE, head=True)
    d.bend((690, 146), (585, 215), (490, 146), ORANGE)
    d.text((590, 203), "a − y", ORANGE)
    d.bend((470, 146), (375, 215), (285, 146), ORANGE)
    d.text((375, 203), "a (1 − a)", ORANGE)
    d.bend((255, 146), (165, 225), (128, 96), ORANGE)
    d.text((190, 203), "x₁", ORANGE)
    d.text((30, 255), "back: multiply the slopes", ORANGE, anchor="start", bold=True)
    d.text((30, 280), "gradient of w₁ = x₁ · a (1 − a) · (a − y)", ORANGE, anchor="start")
    d.text((30, 305), "step: w₁ becomes w₁ − η · gradient", ORANGE, anchor="start")
    return d


def bigram() -> Drawing:
    """Page 2: a part of the table of counted probabilities, and the loss of one character."""
    shown = "theanqu "
    text = "".join(source + "\n" for source, _ in generate("train", 2000, seed=1))
    pairs = Counter(pairwise(text))
    sums = {a: sum(count for (first, _), count in pairs.items() if first == a) for a in shown}
    table = [[pairs[a, b] / sums[a] for b in shown] for a in shown]
    d = Drawing(820, 410, "Probabilities of the next character: a row for each last character")
    d.text((250, 25), "next character", BLUE, bold=True)
    d.text((60, 215), "last", BLUE, bold=True)
    d.text((60, 235), "character", BLUE, bold=True)
    for i, character in enumerate(shown):
        name = character.replace(" ", "␣")
        d.text((150, 90 + 40 * i), name, bold=True)
        d.text((190 + 40 * i, 52), name, bold=True)
    d.matrix((170, 70), table, 40)
    p = table[0][1]
    d.rectangle((230, 90), (44, 44), colour=ORANGE, strength=0)
    d.text((530, 120), f"after t comes h: p = {p:.2f}", ORANGE, anchor="start")
    d.text((530, 146), f"loss = −ln p = {-log(p):.2f}", ORANGE, anchor="start")
    d.text((530, 205), "each row is a distribution:", anchor="start")
    d.text((530, 230), "all its cells together give 1", anchor="start")
    d.text((530, 255), "(8 of all characters are shown)", GREY, anchor="start")
    d.text((530, 305), "to write: draw from a row,", anchor="start")
    d.text((530, 330), "then use the row of what you drew", anchor="start")
    return d


def attention() -> Drawing:
    """Page 3: the query of "tasted", its weights, and the mixture of the values."""
    words = ["the", "pizza", "came", "out", "of", "the", "oven", "and", "it", "tasted"]
    scores = [exp(8 / 2 if word == "pizza" else 0) for word in words]  # the head of the page: 8 / sqrt(4)
    weights = [score / sum(scores) for score in scores]
    d = Drawing(820, 390, "The query of the word tasted is compared with all keys; the weights mix the values")
    xs = [50 + 80 * i for i in range(len(words))]
    d.rectangle((xs[-1], 45), (76, 50), "query\nof tasted", ORANGE)
    for x, word, weight in zip(xs, words, weights, strict=True):
        d.line((xs[-1], 70), (x, 138), ORANGE, head=True, width=1 + 5 * weight)
        d.rectangle((x, 155), (60, 30), "key", BLUE)
        d.text((x, 184), word, bold=True)
        d.rectangle((x, 236), (60, 30), "value", GREEN, strength=0.05 + 0.6 * weight)
        d.line((x, 253), (430, 334), GREEN, head=True, width=1 + 5 * weight)
        d.text((x, 205), f"{weight:.2f}", ORANGE)
    d.rectangle((430, 355), (300, 40), "output: values, mixed by the weights", GREEN)
    d.text((30, 35), "score = query · key / √K,", ORANGE, anchor="start")
    d.text((30, 57), "softmax of the scores = weights", ORANGE, anchor="start")
    return d


def heads() -> Drawing:
    """Page 4: one head mixes two digits, two heads fetch them separately."""
    d = Drawing(820, 330, "One head must mix two digits; two heads fetch one digit each")
    digits = [3, 8, 1, 4, 7, 0, 2, 9]
    for left, title, colours in ((20, "one head", (ORANGE, ORANGE)), (430, "two heads", (BLUE, GREEN))):
        d.text((left + 185, 25), title, bold=True)
        for i, digit in enumerate(digits):
            d.rectangle((left + 25 + 46 * i, 70), (38, 38), str(digit), GREY, strength=0.05)
        for position, colour in zip((0, 4), colours, strict=True):
            x = left + 25 + 46 * position
            d.rectangle((x, 70), (42, 42), "", colour, strength=0.15)
    for position in (0, 4):
        x = 45 + 46 * position
        d.line((205, 168), (x, 95), ORANGE, head=True, width=2.5)
        d.text((x + (45 if position == 0 else 20), 135), "0.5", ORANGE)
    d.rectangle((205, 190), (110, 40), "head", ORANGE)
    d.line((205, 210), (205, 250), ORANGE, head=True)
    d.text((205, 268), "½ · 3 + ½ · 7")
    d.text((205, 295), "equal to ½ · 7 + ½ · 3: which is first?", ORANGE)
    for position, x, colour, name in ((0, 510, BLUE, "head 0"), (4, 720, GREEN, "head 1")):
        d.line((x, 168), (455 + 46 * position, 95), colour, head=True, width=2.5)
        d.text(((x + 455 + 46 * position) / 2 + 26, 130), "1.0", colour)
        d.rectangle((x, 190), (90, 40), name, colour)
        d.line((x, 210), (615 + (-30 if position == 0 else 30), 250), colour, head=True)
    d.text((615, 268), "3, 7")
    d.text((615, 295), "two outputs, one after the other", BLUE)
    return d


def block() -> Drawing:
    """Page 5: the paper's block, with the residual connections around both sub-layers."""
    d = Drawing(820, 260, "A block: attention, add, norm, feed-forward network, add, norm")
    y = 130
    d.text((30, y), "x", bold=True)
    x = 45.0
    for name, words, colour in (
        ("attention", "between words", BLUE),
        ("feed-\nforward", "each word alone", GREEN),
    ):
        start = x
        d.line((start, y), (start + 50, y), head=True)
        d.rectangle((start + 110, y), (120, 60), name, colour)
        d.text((start + 110, y + 50), words, colour)
        d.line((start + 170, y), (start + 208, y), head=True)
        d.circle((start + 222, y), 14, "+", ORANGE)
        d.bend((start + 15, y), (start + 118, y - 165), (start + 217, y - 14), ORANGE, width=2.5)
        d.text((start + 115, y - 100), "residual: x itself", ORANGE)
        d.line((start + 236, y), (start + 268, y), head=True)
        d.rectangle((start + 302, y), (66, 60), "norm", PINK)
        x = start + 335
    d.line((x, y), (x + 45, y), head=True)
    d.text((x + 70, y), "next", bold=True)
    d.text((x + 70, y + 20), "block", bold=True)
    d.text((30, 230), "the paper: norm(x + sublayer(x))", anchor="start")
    d.text((330, 230), "pre-norm, as in GPT-2: x + sublayer(norm(x))", anchor="start")
    return d


def gpt() -> Drawing:
    """Page 6: characters in, probabilities of the next character out."""
    d = Drawing(820, 420, "A GPT: embedding, blocks, output layer; each position predicts the next character")
    given, following = "ROMEO", "OMEO:"
    xs = [120 + 110 * i for i in range(5)]
    for x, character, target in zip(xs, given, following, strict=True):
        d.circle((x, 380), 20, character)
        d.line((x, 360), (x, 338), BLUE, head=True)
        d.line((x, 73), (x, 55), BLUE, head=True)
        d.text((x, 40), target, BLUE, bold=True)
    d.text((700, 380), "the text so far", anchor="middle")
    d.text((700, 40), "predicted: shifted by one", BLUE, size=13)
    d.rectangle((340, 316), (520, 40), "embedding of the character + of the position")
    for layer, y in enumerate((258, 202, 146), start=1):
        name = ("block 1", "block 2", "… block N")[layer - 1]
        d.rectangle((340, y), (520, 36), name, GREEN)
        d.line((340, y + 38), (340, y + 19), GREEN, head=True)
    d.text((708, 202), "attention: only to the left", GREEN)
    d.line((340, 128), (340, 112), GREEN, head=True)
    d.rectangle((340, 92), (520, 38), "norm, output layer, softmax")
    d.text((708, 92), "probability of each character", BLUE, size=13)
    return d


PICTURES: dict[str, Callable[[], Drawing]] = {
    "neuron": neuron,
    "bigram": bigram,
    "attention": attention,
    "heads": heads,
    "block": block,
    "gpt": gpt,
    **decoder_pictures.PICTURES,
}
"""For each name of a file, the function that draws it."""

if __name__ == "__main__":
    run_command(main)
