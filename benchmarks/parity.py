"""Does an export to CTranslate2 translate as the model does? Sentence by sentence, with a trained model.

    python benchmarks/parity.py --model runs/x --source test.en

Greedy, and the best of the beam under `length` (CTranslate2's own formula) and under `gnmt` (ours). CTranslate2 stops
searching earlier than we do, with its `patience` at 1, its default, more often than at 2: both are measured. Where the
outputs differ the number of the line, both scores and lengths are listed, so that one sees whether it is a tie (the
scores agree to rounding) or a hypothesis that one search did not find. Writes benchmarks/results/parity.json. Needs
`pip install 'paper-transformer[export]'`.
"""

import argparse
import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import torch

from benchmarks.machine import describe_machine, write_result
from common.command import run_command
from data_pipeline.sources.tables import read_lines
from data_pipeline.tokenizers.sentence_piece import Tokenizer
from evaluate.backends.ctranslate2 import CTranslate2Backend
from evaluate.config import DecodeConfig, LengthPenalty
from evaluate.translator import Translation, Translator
from transformer.pretrained import find_folder

TIE = 1e-4  # in log-probability; rounding moves one of float32 by about 3e-5
LISTED = 20


def main() -> None:
    """Translate with both and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a trained model folder")
    parser.add_argument("--source", required=True, type=Path, help="sentences, one a line")
    parser.add_argument("--sentences", type=int, default=500)
    parser.add_argument("--beam", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--print-only", action="store_true", help="write no file")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    lines = list(read_lines(args.source))[: args.sentences]
    folder = find_folder(args.model)
    ours = Translator.from_pretrained(folder, device="cpu")
    result: dict[str, Any] = {"sentences": len(lines), "beam": args.beam, "machine": describe_machine()}
    result["machine"]["versions"]["ctranslate2"] = version("ctranslate2")
    with tempfile.TemporaryDirectory(prefix="parity-") as cache:
        for compute_type in ("float32", "int8"):
            backend = CTranslate2Backend.from_pretrained(folder, "cpu", compute_type, cache=Path(cache))
            result[compute_type] = compare(lines, ours, backend, Tokenizer(folder / "tokenizer.model"), args.beam)
    if args.print_only:
        print(json.dumps(result, indent=2, ensure_ascii=False))
    else:
        write_result("parity", result)


def compare(
    lines: list[str], ours: Translator, backend: CTranslate2Backend, tokenizer: Tokenizer, beam: int
) -> dict[str, Any]:
    """All settings for one compute type."""
    theirs = Translator(backend, tokenizer)
    result = {"greedy": compare_once(lines, ours, theirs, DecodeConfig(beam=1))}
    penalties: tuple[LengthPenalty, ...] = ("length", "gnmt")
    for penalty in penalties:
        for patience in (1.0, 2.0):
            backend.patience = patience
            config = DecodeConfig(beam=beam, length_penalty=penalty, alpha=0.6)
            result[f"{penalty}, patience {patience:g}"] = compare_once(lines, ours, theirs, config)
    return result


def compare_once(lines: list[str], ours: Translator, theirs: Translator, config: DecodeConfig) -> dict[str, Any]:
    """Shares of identical outputs, the largest difference of scores, and what differs."""
    ours.config = theirs.config = config
    own, other = ours.translate(lines, config.beam), theirs.translate(lines, config.beam)
    best = [(a[0], b[0]) for a, b in zip(own, other, strict=True)]
    same = [(a, b) for a, b in best if a.tokens == b.tokens]
    differing = [(number, a, b) for number, (a, b) in enumerate(best, 1) if a.tokens != b.tokens]
    lists = sum([t.tokens for t in a] == [t.tokens for t in b] for a, b in zip(own, other, strict=True))
    return {
        "same_best": len(same),
        f"same_{config.beam}_best": lists,
        "largest_difference_of_log_prob": max((abs(a.log_prob - b.log_prob) for a, b in same), default=None),
        "largest_difference_of_score": max((abs(a.score - b.score) for a, b in same), default=None),
        "differing": {
            "ties": sum(is_tie(a, b) for _, a, b in differing),
            "ours_scores_better": sum(a.score > b.score for _, a, b in differing if not is_tie(a, b)),
            "ctranslate2_scores_better": sum(a.score < b.score for _, a, b in differing if not is_tie(a, b)),
        },
        "listed": [
            {"line": number, "ours": [a.score, len(a.tokens)], "ctranslate2": [b.score, len(b.tokens)]}
            for number, a, b in differing[:LISTED]
        ],
    }


def is_tie(a: Translation, b: Translation) -> bool:
    """Whether rounding alone may have chosen between two translations."""
    return abs(a.log_prob - b.log_prob) < TIE


if __name__ == "__main__":
    run_command(main)
