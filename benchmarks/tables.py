"""Write the tables of README.md and docs/ from benchmarks/results/: `python benchmarks/tables.py`.

A table stands between `<!-- table NAME -->` and `<!-- end -->`; what is between them is replaced.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks import data_tables, decoding_tables, reliability_tables, time_to_bleu_tables, training_tables
from benchmarks.machine import RESULTS
from common.command import run_command
from common.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = (
    "README.md",
    "docs/results.md",
    "docs/reliability.md",
    "docs/doctor.md",
    "docs/decoding.md",
    "docs/export.md",
    "docs/performance.md",
    "docs/scaling.md",
    "docs/exercises/arithmetic.md",
    "docs/exercises/finetuning.md",
    "docs/exercises/variations.md",
)


def main() -> None:
    """Replace every table whose result is there."""
    results = {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}
    for document in DOCUMENTS:
        path = ROOT / document
        path.write_text(fill(path.read_text(encoding="utf-8"), results), encoding="utf-8")


def fill(text: str, results: dict[str, Any]) -> str:
    """The text with its tables made anew. Raises ValueError for a table that nothing makes."""

    def table(match: re.Match[str]) -> str:
        kind, _, name = match[1].partition(" ")
        if kind not in TABLES:
            raise InputError(f"there is no table {kind!r}; there are {', '.join(TABLES)}")
        made = TABLES[kind]({k: v for k, v in results.items() if not name or k == name})
        return f"<!-- table {match[1]} -->\n{made}\n<!-- end -->"

    return re.sub(r"<!-- table ([\w ]+) -->\n.*?<!-- end -->", table, text, flags=re.DOTALL)


def quality(results: dict[str, Any]) -> str:
    """One row for each test set of each run."""
    rows = ["| run | test set | BLEU | lower-cased | other | training | machine |", "|---|---|---|---|---|---|---|"]
    for name, result in results.items():
        for report in result.get("reports", []):
            share = (
                f"{report['pronouns_right'] / report['pronouns_all']:.1%} of pronouns agree"
                if report["pronouns_all"]
                else ""
            )
            training = f"{result['updates']:,} updates, {result['training_minutes']:.0f} min"
            rows.append(
                f"| {name} | {report['corpus'].removesuffix('.gz')} ({report['lines']:,}) | {report['bleu']:.1f} "
                f"| {report['bleu_lowercase']:.1f} | {share} | {training} | {machine(result)} |"
            )
    return "\n".join(rows)


def signatures(results: dict[str, Any]) -> str:
    """sacreBLEU's signatures and the decoding settings of the reports."""
    reports = [report for result in results.values() for report in result.get("reports", [])]
    kinds = sorted({(r["signature"], r["signature_lowercase"]) for r in reports})
    decoding = sorted(
        {f"beam {r['decode']['beam']}, alpha {r['decode']['alpha']} with {r['length_penalty']}" for r in reports}
    )
    return "\n".join([*(f"`{mixed}` and `{lower}`" for mixed, lower in kinds), "", *decoding])


def curve(results: dict[str, Any]) -> str:
    """The validations of a run."""
    rows = ["| update | validation loss | perplexity | greedy BLEU on a sample |", "|---|---|---|---|"]
    for result in results.values():
        for line in result["validations"]:
            bleu = f"{line['valid_bleu']:.1f}" if "valid_bleu" in line else ""
            rows.append(f"| {line['step']:,} | {line['valid_loss']:.3f} | {line['valid_ppl']:.2f} | {bleu} |")
    return "\n".join(rows)


def preparation(results: dict[str, Any]) -> str:
    """From text to the first update."""
    rows = ["| | |", "|---|---|"]
    for result in results.values():
        made, plan = result["prepare"], result["plan"]
        start = " and ".join(f"{seconds:.1f}" for seconds in result["start_to_first_update_seconds"])
        rows += [
            f"| pairs made, of which kept | {result['pairs']:,}, {made['pairs_kept']:,} |",
            f"| prepare (make, filter, learn the vocabulary, tokenise) | {made['seconds'] / 60:.1f} min |",
            f"| peak of private memory | {made['peak_private_gb']:.2f} GB |",
            f"| peak with memory-mapped files | {made['peak_rss_gb_with_mapped_files']:.2f} GB |",
            f"| plan {plan['updates_per_epoch']:,} updates of 25,000 tokens | {plan['seconds']:.1f} s, "
            f"{plan['padding']:.1%} padding in {plan['shapes']} shapes |",
            f"| start of the command to the first update, cache warm | {start} s |",
            f"| machine | {machine(result)} |",
        ]
    return "\n".join(rows)


def language(results: dict[str, Any]) -> str:
    """Language models: every seed, and their mean."""
    rows = [
        "| run | seed | validation loss | perplexity | bits per character | training | machine |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, result in results.items():
        for run in result["runs"] if isinstance(result.get("runs"), list) else []:
            rows.append(
                f"| {name} | {run['seed']} | {run['valid_loss']:.4f} | {run['valid_ppl']:.3f} "
                f"| {run['valid_bits_per_character']:.3f} | {result['updates']:,} updates, "
                f"{run['training_seconds']:.0f} s | {machine(result)} |"
            )
        if "valid_loss_mean" in result:
            rows.append(f"| {name} | mean | **{result['valid_loss_mean']:.4f}** | | | | |")
    return "\n".join(rows)


def arithmetic(results: dict[str, Any]) -> str:
    """Right answers by operation and length of the numbers."""
    rows = ["| operation | digits | held-out problems | right | share |", "|---|---|---|---|---|"]
    for result in results.values():
        for row in result["classes"]:
            rows.append(
                f"| {row['operation']} | {row['lengths']} | {row['problems']:,} | {row['right']:,} "
                f"| {row['right'] / row['problems']:.2%} |"
            )
        share = result["right"] / result["problems"]
        rows.append(f"| all | | {result['problems']:,} | {result['right']:,} | **{share:.2%}** |")
        rows += ["", f"{result['updates']:,} updates in {result['training_minutes']:.1f} minutes; {machine(result)}."]
    return "\n".join(rows)


def failures(results: dict[str, Any]) -> str:
    """What a calculator wrote where it was wrong, beside what is right."""
    rows = ["| question | written | right |", "|---|---|---|"]
    for result in results.values():
        rows += [f"| `{f['question']}` | `{f['written']}` | `{f['right']}` |" for f in result["failures"]]
    return "\n".join(rows)


def variations(results: dict[str, Any]) -> str:
    """Each change beside the recipe it changes."""
    rows = [
        "| | parameters | validation loss: mean (lowest to highest) | against the first row |",
        "|---|---|---|---|",
    ]
    for result in results.values():
        first = result["rows"][0]
        for row in result["rows"]:
            gap = row["valid_loss"]["mean"] - first["valid_loss"]["mean"]
            rows.append(f"| {row['variation']} | {row['parameters']:,} | {spread(row['valid_loss'])} | {gap:+.4f} |")
        rows += ["", f"{len(first['valid_loss']['seeds'])} seeds a row; {machine(result)}."]
    return "\n".join(rows)


def finetuning(results: dict[str, Any]) -> str:
    """Ways to a model of the small text."""
    rows = ["| training | validation loss: mean (lowest to highest) |", "|---|---|"]
    for result in results.values():
        rows += [f"| {row['training']} | {spread(row['valid_loss'])} |" for row in result["rows"]]
        rows += ["", f"{len(result['rows'][0]['valid_loss']['seeds'])} seeds a row; {machine(result)}."]
    return "\n".join(rows)


def gpt_speed(results: dict[str, Any]) -> str:
    """Tokens per second beside the others' of the same rounds."""
    rows = ["| shape | what | whose | tokens/s | times the plain one (lowest to highest) |", "|---|---|---|---|---|"]
    for result in results.values():
        for name, shape in (
            (name, part) for name, part in result.items() if isinstance(part, dict) and "shape" in part
        ):
            for what, speeds in {"training": shape["training"], **shape.get("generation", {})}.items():
                for whose, speed in ((k, v) for k, v in speeds.items() if isinstance(v, dict)):
                    middle, low, high = speed["times_plain"]
                    times = f"{middle:.2f} ({low:.2f} to {high:.2f})"
                    rows.append(f"| {name} | {what} | {whose} | {speed['median']:,.0f} | {times} |")
        rows += ["", f"{result['threads']} threads; {machine(result)}."]
    return "\n".join(rows)


def spread(losses: dict[str, Any]) -> str:
    """Of several seeds."""
    return f"{losses['mean']:.4f} ({losses['lowest']:.4f} to {losses['highest']:.4f})"


def machine(result: dict[str, Any]) -> str:
    """In a few words."""
    where = result["machine"]
    return f"{where['gpu'] or where['processor']}, {where['cores']} cores, torch {where['versions']['torch']}"


TABLES = {
    "quality": quality,
    "signatures": signatures,
    "curve": curve,
    "preparation": preparation,
    "language": language,
    "arithmetic": arithmetic,
    "failures": failures,
    "variations": variations,
    "finetuning": finetuning,
    "gpt_speed": gpt_speed,
    "faults": reliability_tables.faults,
    "damage": reliability_tables.damage,
    "devices": reliability_tables.devices,
    "dead_rank": reliability_tables.dead_rank,
    "safety_cost": reliability_tables.safety_cost,
    "doctor": reliability_tables.doctor,
    "decoding": decoding_tables.decoding,
    "limits": decoding_tables.limits,
    "operations": decoding_tables.operations,
    "parity": decoding_tables.parity,
    "products": decoding_tables.products,
    "training": training_tables.training,
    "training_split": training_tables.training_split,
    "training_operations": training_tables.training_operations,
    "loss": training_tables.loss,
    "data": data_tables.data,
    "padding": data_tables.padding,
    "scaling": data_tables.scaling,
    "scaling_model": data_tables.scaling_model,
    "time_to_bleu": time_to_bleu_tables.time_to_bleu,
    "same_curves": time_to_bleu_tables.same_curves,
    "recipes": time_to_bleu_tables.recipes,
}

if __name__ == "__main__":
    run_command(main)
