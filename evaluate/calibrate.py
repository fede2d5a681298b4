"""Add a calibration to a model folder: python -m evaluate.calibrate --model runs/x --source v.en --reference v.de

The translations then have a confidence, and lines in the target language get a note (docs/translating.md).
"""

import argparse
import random

from common.arguments import CommandParser
from common.command import run_command
from common.directions import refuse_directions
from common.errors import InputError
from common.files import expand, read_json, write_json
from common.text_input import check_equal_lines, read_all_lines
from evaluate.options import add_model

MIN_SENTENCES = 40


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = CommandParser(description="Fit the confidence of translations to their chrF on validation data.")
    add_model(parser)
    files = "text file (plain, .gz, .xz or .zst) with"
    parser.add_argument("--source", type=expand, required=True, help=f"{files} one sentence per line")
    parser.add_argument("--reference", type=expand, required=True, help=f"{files} the translation of each line")
    parser.add_argument(
        "--text",
        type=expand,
        nargs=2,
        metavar="FILE",
        help="source and target text in which tokens are counted, such as the training text (default: the other files)",
    )
    parser.add_argument("--sentences", type=int, default=600, help="random sentences to translate (default: 600)")
    return parser.parse_args()


def main() -> None:
    """Translate, fit on one half, print how well it ranks the other half, and write the fit."""
    args = parse_args()
    # Imported after the options are read: --help does not need PyTorch.
    from evaluate.calibration import confidences, fit, log_probs, rank_correlation, reliability, score_sentences
    from evaluate.confidence import FIELD
    from evaluate.translator import Translator
    from transformer.pretrained import find_folder, read_about

    if args.sentences < MIN_SENTENCES:
        raise InputError(f"--sentences is {args.sentences}; a calibration needs at least {MIN_SENTENCES}")
    folder = find_folder(args.model)
    sources, references = read_all_lines(args.source), read_all_lines(args.reference)
    check_equal_lines(args.source, len(sources), args.reference, len(references))
    texts = tuple(map(read_all_lines, args.text)) if args.text else (sources, references)
    for file, lines in zip(args.text or (), texts, strict=False):
        if not any(map(str.strip, lines)):
            raise InputError(f"{file} is empty. Give a text with sentences in the language of the model")
    pairs = [pair for pair in zip(sources, references, strict=True) if all(map(str.strip, pair))]
    pairs = random.Random(0).sample(pairs, min(args.sentences, len(pairs)))
    if len(pairs) < MIN_SENTENCES:
        raise InputError(f"there are {len(pairs)} sentences; a calibration needs at least {MIN_SENTENCES}")
    refuse_directions(folder, read_about(folder), "a calibration")
    translator = Translator.from_pretrained(folder)
    scored = score_sentences(translator, [source for source, _ in pairs], [reference for _, reference in pairs])
    fitted, held_out = scored[::2], scored[1::2]
    calibration = fit(translator, fitted, *texts)
    found, chrf = confidences(calibration, held_out), [s.chrf for s in held_out]
    print(f"fitted on {len(fitted)} sentences; {len(held_out)} others:")
    print(f"rank correlation with chrF: confidence {rank_correlation(found, chrf):.3f}", end=", ")
    print(f"log-probability per token {rank_correlation(log_probs(held_out), chrf):.3f}")
    print("confidence from | sentences | mean confidence | mean chrF / 100")
    for row in reliability(found, chrf):
        print(f"{row.lowest:15.1f} | {row.sentences:9} | {row.confidence:15.3f} | {row.chrf:15.3f}")
    file = folder / "config.json"
    write_json(file, read_json(file) | {FIELD: calibration.to_json()})
    print(f"wrote {FIELD} into {file}")


if __name__ == "__main__":
    run_command(main)
