"""Draw the cross-attention of a translation: `python -m benchmarks.attention_picture runs/demo`.

Writes docs/attention.png: one row per target subword, one column per source subword. A cell is the mean over the heads
of the last decoder layer (section 3.2.3).
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.pictures import import_pyplot
from common.arguments import CommandParser
from common.command import run_command
from common.errors import InputError

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "attention.png"
SENTENCE = "The pizza came out of the oven and it tasted good."


def main() -> None:
    """Translate one sentence and draw its cross-attention."""
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="model folder")
    parser.add_argument("--sentence", default=SENTENCE, help=f"sentence to translate (default: {SENTENCE!r})")
    parser.add_argument("--output", type=Path, default=PICTURE, help="PNG file (default: docs/attention.png)")
    args = parser.parse_args()
    command = ("-m", "transformer.translate", "--model", args.model, "--json", "--token-scores", "--attention")
    done = subprocess.run([sys.executable, *command, args.sentence], capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        raise InputError(f"the translation failed: {done.stderr.strip()}")
    result = json.loads(done.stdout)
    best = result["translations"][0]
    rows = [label(token["text"]) for token in best["tokens"]]
    draw(best["attention"], rows, [label(text) for text in result["source_tokens"]], args.output)
    print(f"{best['text']}\nwrote {args.output}")


def label(text: str) -> str:
    """Return the label of a subword: `_` marks the start of a word, (end) is the end of the sentence."""
    return text.replace(" ", "_") or "(end)"


def draw(weights: list[list[float]], rows: list[str], columns: list[str], file: Path) -> None:
    """Draw weights of shape (rows, columns) with their subwords."""
    pyplot = import_pyplot()
    figure, axes = pyplot.subplots(figsize=(0.5 * len(columns) + 1.6, 0.34 * len(rows) + 1.2), dpi=150)
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
