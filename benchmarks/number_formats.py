"""Measure what the number formats of decoding cost: BLEU, and lines that differ from float32.

    python -m benchmarks.number_formats --model runs/x --source test.en --reference test.de

Writes benchmarks/results/number_formats.json.
"""

from operator import eq
from pathlib import Path
from typing import Any

from sacrebleu.metrics import BLEU

from benchmarks.runner import Tables, command_line, new_result, save, say, table
from common.command import run_command
from common.text_input import read_all_lines
from evaluate.translator import Translator
from transformer.pretrained import find_folder, read_about

FORMATS = ("float32", "bfloat16", "int8")


def main() -> None:
    """Translate in every format and save the result."""
    parser = command_line(__doc__)
    parser.add_argument("--model", required=True, help="trained model folder")
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--shortlist", type=Path, help="also measure this shortlist, in float32")
    args = parser.parse_args()
    last = 5 if args.smoke_test else None
    lines, reference = read_all_lines(args.source)[:last], read_all_lines(args.reference)[:last]
    found = {name: translate(args.model, name, lines) for name in FORMATS}
    if args.shortlist:
        found["float32, shortlist"] = translate(args.model, "float32", lines, args.shortlist)
    metric = BLEU()
    rows = {
        name: {
            "bleu": round(metric.corpus_score(texts, [reference]).score, 2),
            "equal": sum(map(eq, texts, found["float32"])),
            "lines": len(lines),
        }
        for name, texts in found.items()
    }
    model = read_about(find_folder(args.model))["model"]
    result = new_result(model=model, formats=rows, signature=str(metric.get_signature()))
    save("number_formats", result, make_tables(result), smoke_test=args.smoke_test)


def translate(model: str, compute_type: str, lines: list[str], shortlist: Path | None = None) -> list[str]:
    """Return the translations with the decoding settings of the model folder."""
    say(compute_type)
    return Translator.from_pretrained(
        model, device="cpu", compute_type=compute_type, shortlist=shortlist, protect=False
    )(lines)


def make_tables(result: dict[str, Any]) -> Tables:
    """Return one row per format."""
    size = f"d_model {result['model']['d_model']}, {result['model']['vocab_size']:,} subwords"
    rows = [
        [size, name, f"{own['bleu']:.2f}", f"{own['equal']:,} of {own['lines']:,}"]
        for name, own in result["formats"].items()
    ]
    headings = ["model", "number format", "BLEU", "lines equal to float32"]
    return {"number_formats": [table(headings, rows, result["signature"])]}


if __name__ == "__main__":
    run_command(main)
