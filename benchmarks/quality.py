"""Collect the results of a finished run from the files that it wrote.

    python -m benchmarks.quality runs/multi30k multi30k

reads metrics.jsonl, timing.jsonl and eval/*.json of the run and writes benchmarks/results/multi30k.json.
"""

import json
from pathlib import Path
from typing import Any

from benchmarks.run_logs import Clock, differs_from_base, read_lines, read_settings, read_validations
from benchmarks.runner import Tables, about_machine, command_line, new_result, save, table
from common.command import run_command

HIDDEN = ("model", "test_set", "worst", "comparison")
"""Fields of a report with names of files or sentences of the test set."""


def main() -> None:
    """Read the run and save the result."""
    parser = command_line(__doc__)
    parser.add_argument("run", type=Path, help="folder of a finished run with reports of evaluate/bleu.py")
    parser.add_argument("name", help="name of the result")
    args = parser.parse_args()
    result = new_result(**collect(args.run))
    save(args.name, result, make_tables(result, args.name), smoke_test=args.smoke_test)


def collect(run: Path) -> dict[str, Any]:
    """Return the figures of a run. Raises FileNotFoundError if it was not evaluated."""
    reports = sorted((run / "eval").glob("*.json"))
    if not reports:
        raise FileNotFoundError(f"no report in {run / 'eval'}. Run: python evaluate/bleu.py --model {run}")
    settings = read_settings(run)
    return {
        "differs_from_base": differs_from_base(settings),
        "updates": settings["train.max_steps"],
        "training_minutes": round(Clock(read_lines(run / "timing.jsonl")).training_seconds() / 60, 1),
        "validations": read_validations(run),
        "reports": [read_report(path) for path in reports],
    }


def read_report(path: Path) -> dict[str, Any]:
    """Return a report without names of files and without sentences of the test set."""
    report = json.loads(path.read_text(encoding="utf-8"))
    return {"test_set": path.stem, **{k: v for k, v in report.items() if k not in HIDDEN}}


def make_tables(result: dict[str, Any], name: str) -> Tables:
    """Return BLEU on each test set, the signatures, and the validation curve."""
    training = f"{result['updates']:,} updates, {result['training_minutes']:.0f} min"
    quality, signatures, decoding = [], [], []
    for report in result["reports"]:
        right, of = report["pronouns_right"], report["pronouns_all"]
        agreement = f"{right / of:.1%} of pronouns agree" if of else ""
        test_set = f"{report['test_set'].removesuffix('.gz')} ({report['lines']:,})"
        bleu = f"{report['bleu']:.1f}", f"{report['bleu_lowercase']:.1f}"
        quality.append([name, test_set, *bleu, agreement, training, about_machine(result)])
        signatures.append(f"`{report['signature']}` and `{report['signature_lowercase']}`")
        settings = f"beam {report['decode']['beam']}, alpha {report['decode']['alpha']}"
        decoding.append(f"{name}: {settings} with {report['length_penalty']}")
    curve = [
        [f"{line['step']:,}", f"{line['valid_loss']:.3f}", f"{line['valid_ppl']:.2f}",
         f"{line['valid_bleu']:.1f}" if "valid_bleu" in line else ""]
        for line in result["validations"]
    ]  # fmt: skip
    headings = ["run", "test set (sentences)", "BLEU", "lower-cased BLEU", "other measure", "training", "machine"]
    columns = ["update", "validation loss", "perplexity", "BLEU of a sample (greedy)"]
    return {
        "quality": [table(headings, quality)],
        "signatures": [table([], [], note) for note in dict.fromkeys([*signatures, *decoding])],
        "curve": [table(columns, curve)],
    }


if __name__ == "__main__":
    run_command(main)
