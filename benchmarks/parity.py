"""Compare the translations of a model with those of its CTranslate2 export, sentence by sentence.

    python -m benchmarks.parity --model runs/x --source test.en

Greedy search, and the best of the beam under `length` (CTranslate2's own formula) and under `gnmt` (the default of
paper-transformer), on the first 500 lines. CTranslate2 stops its search earlier than paper-transformer, more often with
its default `patience` 1 than with 2; both are measured. If outputs differ, the result lists the line number and both
scores and lengths. They show whether it is a tie (scores equal except for rounding) or a hypothesis that one search did
not find. Writes benchmarks/results/parity.json. Needs `pip install -e '.[export]'`.
"""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.runner import Tables, command_line, new_result, save, table, temporary_folder
from common.command import run_command
from common.text_input import read_lines
from data_pipeline.tokenizers.sentence_piece import Tokenizer
from evaluate.backends.ctranslate2 import CTranslate2Backend
from evaluate.config import DecodeConfig
from evaluate.translation import Translation
from evaluate.translator import Translator
from transformer.pretrained import find_folder

BEAM = 4
SEARCHES = {
    "greedy": (1.0, DecodeConfig(beam=1)),
    "length, patience 1": (1.0, DecodeConfig(beam=BEAM, length_penalty="length", alpha=0.6)),
    "length, patience 2": (2.0, DecodeConfig(beam=BEAM, length_penalty="length", alpha=0.6)),
    "gnmt, patience 1": (1.0, DecodeConfig(beam=BEAM, length_penalty="gnmt", alpha=0.6)),
    "gnmt, patience 2": (2.0, DecodeConfig(beam=BEAM, length_penalty="gnmt", alpha=0.6)),
}
"""CTranslate2's patience and the decoding settings of both programs."""
TIE = 1e-4
"""Largest difference in log-probability that counts as a tie; float32 rounding causes about 3e-5."""
LISTED = 20


def main() -> None:
    """Translate with both programs, compare and save the result."""
    parser = command_line(__doc__)
    parser.add_argument("--model", required=True, help="trained model folder")
    parser.add_argument("--source", required=True, type=Path, help="sentences, one per line")
    args = parser.parse_args()
    torch.set_num_threads(2)
    lines = list(read_lines(args.source))[: 8 if args.smoke_test else 500]
    folder = find_folder(args.model)
    pytorch, tokenizer = (
        Translator.from_pretrained(folder, device="cpu", protect=False),
        Tokenizer(folder / "tokenizer.model"),
    )
    result = new_result(sentences=len(lines), beam=BEAM, versions={"ctranslate2": version("ctranslate2")})
    with temporary_folder() as cache:
        for compute_type in ("float32", "int8"):
            backend = CTranslate2Backend.from_pretrained(folder, "cpu", compute_type, cache=cache)
            exported, result[compute_type] = Translator(backend, tokenizer, protect=False), {}
            for name, (backend.patience, config) in SEARCHES.items():
                result[compute_type][name] = compare(lines, pytorch, exported, config)
    save("parity", result, make_tables(result), smoke_test=args.smoke_test)


def compare(lines: list[str], pytorch: Translator, exported: Translator, config: DecodeConfig) -> dict[str, Any]:
    """Return the number of equal outputs, the largest difference in scores, and the differing outputs."""
    pytorch.config = exported.config = config
    own, other = pytorch.translate(lines, config.beam), exported.translate(lines, config.beam)
    best = [(number, a[0], b[0]) for number, (a, b) in enumerate(zip(own, other, strict=True), 1)]
    same = [(a, b) for _, a, b in best if a.tokens == b.tokens]
    differing = [(number, a, b) for number, a, b in best if a.tokens != b.tokens]
    lists = sum([t.tokens for t in a] == [t.tokens for t in b] for a, b in zip(own, other, strict=True))
    return {
        "same_best": len(same),
        f"same_{config.beam}_best": lists,
        "largest_difference_of_log_prob": max((abs(a.log_prob - b.log_prob) for a, b in same), default=None),
        "largest_difference_of_score": max((abs(a.score - b.score) for a, b in same), default=None),
        "differing": {
            "ties": sum(is_tie(a, b) for _, a, b in differing),
            "paper_transformer_scores_better": sum(a.score > b.score for _, a, b in differing if not is_tie(a, b)),
            "ctranslate2_scores_better": sum(a.score < b.score for _, a, b in differing if not is_tie(a, b)),
        },
        "listed": [
            {"line": number, "paper_transformer": [a.score, len(a.tokens)], "ctranslate2": [b.score, len(b.tokens)]}
            for number, a, b in differing[:LISTED]
        ],
    }


def is_tie(a: Translation, b: Translation) -> bool:
    """Return True if rounding may have decided between two translations."""
    return abs(a.log_prob - b.log_prob) < TIE


def make_tables(result: dict[str, Any]) -> Tables:
    """Return how often both programs give the same output."""
    beam, rows = result["beam"], []
    headings = ["compute type", "search", "same best output", f"same {beam} best", "largest difference in score",
                "ties", "better score: paper-transformer", "better score: CTranslate2"]  # fmt: skip
    for kind in ("float32", "int8"):
        for search, own in result[kind].items():
            same, largest = f"{own['same_best']} of {result['sentences']}", f"{own['largest_difference_of_score']:.0e}"
            rows.append([kind, search, same, own.get(f"same_{beam}_best", ""), largest, *own["differing"].values()])
    return {"parity": [table(headings, rows)]}


if __name__ == "__main__":
    run_command(main)
