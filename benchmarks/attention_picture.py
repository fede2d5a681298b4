"""Draw the cross-attention of a translation: `python -m benchmarks.attention_picture runs/demo`.

Writes docs/attention.png: one row per target subword, one column per source subword; the mean over the heads of the last
decoder layer (section 3.2.3).
"""

import argparse
from pathlib import Path

import matplotlib

from common.command import run_command
from common.errors import InputError
from evaluate.scorer import Scorer, token_texts
from evaluate.translator import Translator

matplotlib.use("Agg")
from matplotlib import pyplot

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "attention.png"
SENTENCE = "The pizza came out of the oven and it tasted good."


def main() -> None:
    """Translate one sentence and draw its cross-attention."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="model folder")
    parser.add_argument("--sentence", default=SENTENCE, help=f"sentence to translate (default: {SENTENCE!r})")
    parser.add_argument("--output", type=Path, default=PICTURE, help="PNG file (default: docs/attention.png)")
    args = parser.parse_args()
    translator = Translator.from_pretrained(args.model, prepack=False)
    tokenizer = translator.tokenizer
    ((best, *_),) = translator.translate([args.sentence])
    if not best.ids:
        raise InputError("the translation is empty, so there is nothing to draw")
    source = tokenizer.encode(args.sentence)
    (weights,) = Scorer.of(translator).cross_attention([source], [best.ids])
    rows, columns = token_texts(tokenizer, best.ids), token_texts(tokenizer, source)
    draw(weights[-1].mean(0).numpy(), rows, columns, args.output)
    print(f"{best.text}\nwrote {args.output}")


def draw(weights, rows: list[str], columns: list[str], file: Path) -> None:  # type: ignore[no-untyped-def]
    """Draw a (rows, columns) array of weights with their subwords."""
    figure, axes = pyplot.subplots(figsize=(0.52 * len(columns) + 1.6, 0.36 * len(rows) + 1.2), dpi=150)
    axes.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=55, ha="left", rotation_mode="anchor")
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0, labelsize=10)
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.tight_layout()
    figure.savefig(file)
    pyplot.close(figure)


if __name__ == "__main__":
    run_command(main)
