"""Measure how confidence ranks sentences by chrF, and how often lines are taken for the target language.

    python -m benchmarks.confidence --data valid.en valid.de --model-dirs runs/en-de runs/de-en

Half of the sentences is fitted and the other half is reported; the calibration in the model folder is used only for
the language of lines. The names of the files end with their languages, before .gz. Writes
benchmarks/results/confidence.json; with --smoke-test, 40 sentences are translated and nothing is written.
"""

import random
from pathlib import Path
from typing import Any

from benchmarks.runner import Tables, about_machine, command_line, new_result, save, table
from common.command import run_command
from common.errors import InputError
from common.text_input import read_all_lines
from evaluate.calibration import confidences, fit, log_probs, rank_correlation, reliability, score_sentences
from evaluate.translator import Translator


def main() -> None:
    """Measure each model and save the result."""
    parser = command_line(__doc__)
    parser.add_argument("--data", nargs=2, type=Path, metavar="FILE", help="two files, such as valid.en and valid.de")
    parser.add_argument(
        "--model-dirs", nargs="+", type=Path, metavar="FOLDER", help="calibrated models, each direction"
    )
    parser.add_argument("--sentences", type=int, default=600, help="random sentences to translate (default: 600)")
    args = parser.parse_args()
    if not (args.data and args.model_dirs):
        parser.error("give --data and --model-dirs")
    texts = {file.name.removesuffix(".gz").rsplit(".", 1)[-1]: read_all_lines(file) for file in args.data}
    rows = [
        measure(Translator.from_pretrained(folder), texts, 40 if args.smoke_test else args.sentences)
        for folder in args.model_dirs
    ]
    result = new_result(rows=rows)
    save("confidence", result, make_tables(result), smoke_test=args.smoke_test)


def measure(translator: Translator, texts: dict[str, list[str]], sentences: int) -> dict[str, Any]:
    """Return the figures of one direction."""
    if translator.calibration is None:
        raise InputError("the model has no calibration. Run python -m evaluate.calibrate first.")
    sources, references = texts[translator.source_lang], texts[translator.target_lang]
    pairs = random.Random(0).sample(list(zip(sources, references, strict=True)), min(sentences, len(sources)))
    scored = score_sentences(translator, [source for source, _ in pairs], [reference for _, reference in pairs])
    held_out = scored[1::2]
    found, chrf = confidences(fit(translator, scored[::2], sources, references), held_out), [s.chrf for s in held_out]
    return {
        "direction": f"{translator.source_lang} to {translator.target_lang}",
        "sentences": len(held_out),
        "rank_of_confidence": rank_correlation(found, chrf),
        "rank_of_log_prob": rank_correlation(log_probs(held_out), chrf),
        "reliability": [row._asdict() for row in reliability(found, chrf)],
        "lines": len(sources),
        "false_notes": len(translator.foreign_lines(sources)),
        "right_notes": len(translator.foreign_lines(references)),
    }


def make_tables(result: dict[str, Any]) -> Tables:
    """Return a table of the directions and one of the tenths of confidence."""
    headings = ["direction", "rank correlation with chrF2: confidence", "log-probability per token"]
    headings += ["source lines with a language note", "target lines with a language note"]
    rows = [
        [
            row["direction"],
            f"{row['rank_of_confidence']:.3f}",
            f"{row['rank_of_log_prob']:.3f}",
            f"{row['false_notes']} of {row['lines']:,}",
            f"{row['right_notes']:,} of {row['lines']:,}",
        ]
        for row in result["rows"]
    ]
    tenths = [
        [row["direction"], f"{t['lowest']:.1f}", t["sentences"], f"{t['confidence']:.2f}", f"{t['chrf']:.2f}"]
        for row in result["rows"]
        for t in row["reliability"]
    ]
    names = ["direction", "confidence from", "sentences", "mean confidence", "mean chrF2 / 100"]
    return {"confidence": [table(headings, rows), table(names, tenths, f"{about_machine(result)}.")]}


if __name__ == "__main__":
    run_command(main)
