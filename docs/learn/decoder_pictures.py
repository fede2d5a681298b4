"""The pictures of pages 7 to 11 of docs/learn. `python -m docs.learn.pictures` draws them."""

import math
from collections.abc import Callable

from docs.learn.drawing import BLACK, BLUE, GREEN, GREY, ORANGE, Drawing, Point
from train.schedule import noam


def encoder_decoder() -> Drawing:
    """Page 7: the encoder's output gives keys and values to each block of the decoder."""
    d = Drawing(820, 430, "The encoder reads the source. Each decoder block takes keys and values from its output")
    for x, name, colour in (
        (200, "encoder: reads the source once", BLUE),
        (590, "decoder: one word at a time", ORANGE),
    ):
        d.text((x, 24), name, colour, bold=True)
    for i, word in enumerate(("The", "pizza", "came", "…", "it")):
        x = 60 + 70 * i
        d.text((x, 408), word)
        d.line((x, 394), (x, 358), BLUE, head=True)
        d.rectangle((x, 84), (56, 30), "vector", letters=12)
        d.line((x, 132), (x, 102), BLUE, head=True)
    d.rectangle((200, 335), (330, 40), "embedding + positions")
    d.rectangle((200, 265), (330, 40), "self-attention: every word sees every word")
    d.rectangle((200, 195), (330, 40), "feed-forward")
    d.line((200, 315), (200, 287), BLUE, head=True)
    d.line((200, 245), (200, 217), BLUE, head=True)
    d.line((200, 175), (200, 134), BLUE, head=True)
    d.rectangle((200, 230), (356, 130), colour=GREY, strength=0)
    d.text((24, 155), "N blocks", GREY, 13, "start")
    for i, word in enumerate(("<s>", "Die", "Pizza", "…", "und")):
        x = 450 + 70 * i
        d.text((x, 408), word)
        d.line((x, 394), (x, 358), ORANGE, head=True)
    rows = ("embedding + positions", "self-attention: the words so far", "cross-attention", "feed-forward")
    for y, label in zip((335, 265, 195, 125), rows, strict=True):
        d.rectangle((590, y), (330, 40), label, ORANGE, 0.3 if label == "cross-attention" else 0.12)
    for y in (315, 245, 175):
        d.line((590, y), (590, y - 28), ORANGE, head=True)
    d.line((590, 105), (590, 72), ORANGE, head=True)
    d.text((590, 58), "next word: sie 0.9, es 0.1, …")
    d.text((640, 231), "queries", ORANGE, size=13)
    d.rectangle((200, 84), (346, 42), colour=BLUE, strength=0)
    d.bend((373, 84), (400, 84), (423, 190), BLUE, width=3)
    d.text((392, 70), "keys, values", BLUE, size=13, anchor="start")
    d.rectangle((590, 195), (356, 200), colour=GREY, strength=0)
    d.text((768, 84), "N blocks", GREY, 13, "end")
    return d


def warm_up() -> Drawing:
    """Page 8: Eq. 3, with and without the warm-up."""
    d = Drawing(
        820, 330, "The learning rate of Eq. 3 grows for 4,000 updates, and then falls with the root of the update"
    )
    left, bottom, width, height, last, highest = 90, 275, 690, 225, 40_000, 2.0e-3

    def at(step: float, rate: float) -> Point:
        return left + width * step / last, bottom - height * rate / highest

    d.line((left, bottom), (left + width, bottom))
    d.line((left, bottom), (left, bottom - height))
    for step in range(0, last + 1, 8000):
        d.text((at(step, 0)[0], bottom + 18), f"{step:,}", size=13)
    for rate in (0.0, 0.5e-3, 1.0e-3, 1.5e-3):
        d.text((left - 10, at(0, rate)[1]), f"{rate:.4f}", size=13, anchor="end")
    steps = [*range(1, 4000, 100), *range(4000, last + 1, 250)]
    without = [(step, 512**-0.5 * step**-0.5) for step in steps if 512**-0.5 * step**-0.5 < highest]
    d.curve([at(*point) for point in without if point[0] <= 4000], GREY)
    d.curve([at(step, noam(step, 512, 4000)) for step in steps], BLUE, width=3)
    d.text(
        (at(4000, 1.75e-3)[0] - 20, at(0, 1.8e-3)[1]),
        "without warm-up: 1 / √step from the first update",
        GREY,
        anchor="start",
    )
    d.text((at(5500, 0)[0], at(0, 0.78e-3)[1]), "peak after 4,000 updates: 1 / √(512 · 4,000)", BLUE, anchor="start")
    d.text((at(20000, 0)[0], at(0, 0.48e-3)[1]), "then it falls with 1 / √step", BLUE, anchor="start")
    d.text((left + width / 2, bottom + 42), "update", size=13)
    d.text((left - 60, 24), "learning rate (d_model 512)", size=13, anchor="start")
    return d


TREE: tuple[tuple[str, str, float, Point, str], ...] = (
    ("sie", "<s>", 0.4, (200, 120), "kept"),
    ("es", "<s>", 0.6, (200, 340), "kept"),
    ("sie schmeckte", "sie", 0.9, (365, 105), "kept"),
    ("sie war", "sie", 0.1, (365, 180), "dropped"),
    ("es schmeckte", "es", 0.55, (365, 325), "kept"),
    ("es war", "es", 0.45, (365, 400), "dropped"),
    ("sie schmeckte gut", "sie schmeckte", 0.55, (530, 90), "kept"),
    ("sie schmeckte </s>", "sie schmeckte", 0.45, (530, 165), "finished"),
    ("es schmeckte gut", "es schmeckte", 0.55, (530, 310), "kept"),
    ("es schmeckte </s>", "es schmeckte", 0.45, (530, 385), "finished"),
    ("sie schmeckte gut </s>", "sie schmeckte gut", 0.8, (695, 75), "finished"),
    ("sie schmeckte gut gut", "sie schmeckte gut", 0.2, (695, 135), "dropped"),
    ("es schmeckte gut </s>", "es schmeckte gut", 0.8, (695, 295), "finished"),
    ("es schmeckte gut gut", "es schmeckte gut", 0.2, (695, 355), "dropped"),
)
"""Words, the words before, probability of the last word, place, and what a beam of 2 does with them (page 9)."""


def beam_search() -> Drawing:
    """Page 9: the outputs that a beam of 2 sees."""
    d = Drawing(
        820, 440, "A tree of outputs: greedy search starts with es, a beam of 2 also keeps sie and finds the best"
    )
    for x, label, colour in ((150, "kept", BLUE), (260, "dropped", GREY), (400, "finished", GREEN)):
        d.rectangle((x, 26), (16, 16), colour=colour, strength=0.3)
        d.text((x + 16, 26), label, anchor="start", size=13)
    d.line((500, 26), (540, 26), ORANGE, width=4)
    d.text((548, 26), "greedy search", anchor="start", size=13)
    place: dict[str, Point] = {"<s>": (60, 230)}
    probability = {"<s>": 1.0}
    colours = {"kept": BLUE, "dropped": GREY, "finished": GREEN}
    greedy = "es schmeckte gut </s>"
    for words, before, share, at, _ in TREE:
        place[words], probability[words] = at, probability[before] * share
        start, end = place[before], (at[0] - 56, at[1])
        on_path = words == greedy[: len(words)]
        d.line(
            (start[0] + (24 if before == "<s>" else 56), start[1]),
            end,
            ORANGE if on_path else GREY,
            width=4 if on_path else 1.5,
        )
        middle = ((start[0] + 40 + end[0]) / 2, (start[1] + end[1]) / 2)
        if before == "<s>":
            d.text((middle[0] - 24, middle[1] + (-4 if at[1] < 230 else 8)), f"{share:g}", size=12)
    d.circle(place["<s>"], 24, "<s>", BLACK)
    for words, _, _, at, kind in TREE:
        d.rectangle(at, (112, 44), f"{words.split()[-1]}\n{probability[words]:.3g}", colours[kind], 0.18, 13)
        if kind == "finished":
            n = len(words.split())
            score = math.log(probability[words]) / ((5 + n) / 6) ** 0.6
            best = words == "sie schmeckte gut </s>"
            d.text((at[0] + 62, at[1]), f"{score:.2f}", GREEN if best else BLACK, 13, "start", best)
    d.text((755, 26), "score", size=13, anchor="start")
    return d


HYPOTHESIS = "Die Pizza kam aus dem Ofen und es schmeckte gut ."
REFERENCE = "Die Pizza kam aus dem Ofen und sie schmeckte gut ."


def bleu() -> Drawing:
    """Page 10: which n-grams of a translation the reference has."""
    d = Drawing(
        840, 300, "Words, pairs, triples and quadruples of a translation; the reference lacks those with the word es"
    )
    hypothesis, reference = HYPOTHESIS.split(), REFERENCE.split()
    step = 60
    for y, name, words in ((40, "reference", reference), (80, "translation", hypothesis)):
        d.text((12, y), name, anchor="start", size=13, bold=True)
        for i, word in enumerate(words):
            wrong = hypothesis[i] != reference[i]
            d.text((130 + step * i, y), word, ORANGE if wrong else BLACK, 12, bold=wrong)
    for n, name in enumerate(("words", "pairs", "triples", "quadruples"), 1):
        y = 90 + 45 * n
        grams = [tuple(hypothesis[i : i + n]) for i in range(len(hypothesis) - n + 1)]
        known = {tuple(reference[i : i + n]) for i in range(len(reference) - n + 1)}
        d.text((12, y), name, anchor="start", size=13, bold=True)
        for i, gram in enumerate(grams):
            right = gram in known
            at = (130 + step * (i + (n - 1) / 2), y)
            d.rectangle(at, (step - 8, 26), "yes" if right else "no", GREEN if right else ORANGE, 0.25, 12)
        matches = sum(gram in known for gram in grams)
        d.text((830, y), f"{matches} of {len(grams)}", size=12, anchor="end")
    return d


def own_pair() -> Drawing:
    """Page 11: what the training command does."""
    d = Drawing(820, 250, "Two files become pairs, a vocabulary, batches, updates, and a model folder")
    for y, name in ((70, "my.en"), (150, "my.de")):
        d.rectangle((65, y), (90, 40), name, GREY)
    steps = (
        (205, "filter\npairs"),
        (330, "train the\nvocabulary"),
        (460, "batches of\nsimilar length"),
        (590, "updates,\nvalidation"),
        (715, "mean of\ncheckpoints"),
    )
    for y in (70, 150):
        d.line((110, y), (152, 110 + (y - 110) * 0.3), head=True)
    for (x, label), (following, _) in zip(steps, [*steps[1:], (0, "")], strict=True):
        d.rectangle((x, 110), (106, 60), label, BLUE, letters=14)
        if following:
            d.line((x + 53, 110), (following - 55, 110), head=True)
    d.text((460, 40), "accelerate launch train/train.py size=auto …", BLUE, bold=True)
    d.line((715, 140), (715, 188), head=True)
    d.rectangle((715, 215), (180, 44), "model folder", GREEN, 0.25)
    d.line((623, 215), (557, 215), head=True)
    d.text((548, 215), "translate, measure, export, finetune", anchor="end")
    return d


PICTURES: dict[str, Callable[[], Drawing]] = {
    "encoder-decoder": encoder_decoder,
    "warm-up": warm_up,
    "beam-search": beam_search,
    "bleu": bleu,
    "own-pair": own_pair,
}
"""For each name of a file, the function that draws it."""
