"""Compare the translations of a model with those of its folder for transformers, sentence by sentence.

    python -m benchmarks.in_transformers --model transformer/included/en-de --source evaluate/sentences/everyday.en

Greedy search, and the model's own beam with the length penalty of transformers (n^alpha) and with that of GNMT, which
transformers does not have. paper-transformer neither protects nor splits the sentences. Writes
benchmarks/results/in_transformers.json.
"""

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from benchmarks.runner import Tables, command_line, new_result, save, table, temporary_folder
from common.command import run_command
from common.text_input import read_all_lines
from evaluate.config import LengthPenalty
from evaluate.conversion import export_pegasus
from evaluate.model_folders import read_decode_config
from evaluate.translator import Translator
from transformer.pretrained import find_folder


def main() -> None:
    """Translate with both programs, compare and save the result."""
    parser = command_line(__doc__)
    parser.add_argument("--model", required=True, help="pre-norm model folder")
    parser.add_argument("--source", required=True, type=Path, help="sentences, one per line")
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines = read_all_lines(args.source)[: 4 if args.smoke_test else None]
    config = replace(read_decode_config(find_folder(args.model)), split_sentences=False)
    searches: dict[str, tuple[int, LengthPenalty]] = {
        "greedy": (1, "length"),
        f"beam {config.beam}, both n^α": (config.beam, "length"),
        f"beam {config.beam}, n^α and GNMT's": (config.beam, "gnmt"),
    }
    with temporary_folder() as work:
        export_pegasus(args.model, work)
        model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(work), AutoTokenizer.from_pretrained(work)
    batch, equal = tokenizer(lines, return_tensors="pt", padding=True), {}
    for name, (beam, penalty) in searches.items():
        own_config = replace(config, beam=beam, length_penalty=penalty)
        own = Translator.from_pretrained(args.model, own_config, "cpu", protect=False)(lines)
        theirs = tokenizer.batch_decode(model.generate(**batch, num_beams=beam), skip_special_tokens=True)
        equal[name] = sum(a == b for a, b in zip(own, theirs, strict=True))
    result = new_result(sentences=len(lines), equal=equal, versions={"transformers": version("transformers")})
    save("in_transformers", result, make_tables(result), smoke_test=args.smoke_test)


def make_tables(result: dict[str, Any]) -> Tables:
    """Return how many sentences have the same translation."""
    rows = [[search, f"{equal} of {result['sentences']}"] for search, equal in result["equal"].items()]
    note = f"transformers {result['versions']['transformers']}."
    return {"in_transformers": [table(["search", "equal translations"], rows, note)]}


if __name__ == "__main__":
    run_command(main)
