"""Write the record of docs/paper.md: each figure of the paper, its command, its cost, and the result at small size.

    python -m benchmarks.paper_record

Nothing is trained. GPU hours are those of all updates on one H200. They are estimated from the matrix products, which
are counted from the shapes of the weights, and from the least time of a micro-batch (see `gpu_hours`). Results at small
size are read from benchmarks/results/. Writes benchmarks/results/paper_record.json.
"""

import csv
import json
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.runner import RESULTS, ROOT, Tables, command_line, new_result, save, table
from benchmarks.scaling import Assumed
from common.command import run_command
from common.settings import load_settings
from train.config import RunConfig
from train.doctor.flops import update_flops
from transformer.model import build, count_parameters

NAME = "paper_record"
FLOPS = 115e12
"""Floating-point operations per second of base in bf16 on one H200, 312,000 target tokens/s (docs/performance.md)."""
MICRO_BATCH_SECONDS = Assumed.micro_batch_seconds / 12
"""Least time of a micro-batch per block, measured with the 12 blocks of base."""
TABLE_3 = ROOT / "configs/table3"
SMALL = ROOT / "configs/table3_small"
LAUNCH = "accelerate launch train/train.py --config configs"


@dataclass(frozen=True)
class Entry:
    """A figure of the paper, and what this project has for it."""

    place: str
    what: str
    paper: str
    command: str = ""
    config: str = ""
    """File in configs/ of the run at full size; "" means that nothing is trained."""
    changes: tuple[str, ...] = ()
    small: str = ""
    """What was measured here; "" means nothing."""
    is_exact: bool = False
    """True if the figure itself was reproduced."""


def main() -> None:
    """Collect the entries and save the table."""
    args = command_line(__doc__).parse_args()
    result = new_result(flops_per_second=FLOPS, entries=[show(entry) for entry in entries()])
    save(NAME, result, make_tables(result), smoke_test=args.smoke_test)


def entries() -> Iterator[Entry]:
    """Yield the figures of the paper in the order of its tables."""
    yield from table_2()
    yield from table_3()
    yield from parsing()
    yield Entry(
        "Figures 3 to 5",
        "attention of encoder heads",
        "pictures",
        "python -m transformer.explain --model runs/base --figure it.png --layer 5 --word it",
        small="drawn for [the included models](explain.md#figures-3-to-5-of-the-paper)",
    )


def table_2() -> Iterator[Entry]:
    """Yield the translation results and their costs."""
    (tiny,) = read("multi30k_tiny")["reports"]
    included = read("included_en_de")["tests"]["test split"]["bleu"]
    yield Entry(
        "Table 2",
        "base, English-German, newstest2014, BLEU",
        "27.3",
        f"{LAUNCH}/base.yaml",
        "base.yaml",
        small=f"2.3M parameters, Multi30k, test_2016_flickr: {tiny['bleu']:.1f}; "
        f"8.9M, the included model, test split of its corpus: {included:.1f}",
    )
    yield Entry("Table 2", "big, English-German", "28.4", f"{LAUNCH}/big.yaml", "big.yaml")
    french = ("model.d_model=512", "model.d_ff=2048", "model.n_heads=8", "train.max_steps=100000")
    command = f"{LAUNCH}/wmt14_en_fr.yaml {' '.join(french)}"
    yield Entry("Table 2", "base, English-French", "38.1", command, "wmt14_en_fr.yaml", french, small=english_french())
    yield Entry("Table 2", "big, English-French", "41.8", f"{LAUNCH}/wmt14_en_fr.yaml", "wmt14_en_fr.yaml")
    for name, printed in (("base", 65), ("big", 213)):
        counted = f"{parameters(f'{name}.yaml'):,} counted for V = 37,000 ([section 2](#2-the-number-of-parameters))"
        yield Entry("Table 3", f"parameters of {name}, millions", str(printed), small=counted, is_exact=True)


def table_3() -> Iterator[Entry]:
    """Yield the rows of Table 3, each with the row of the small sweep that changes the model in the same way."""
    small = read("table3_small").get("rows", {})
    full, reduced = (read_rows(folder / "paper.csv") for folder in (TABLE_3, SMALL))
    for (row, (perplexity, bleu)), own in zip(full.items(), reduced, strict=True):
        group = row.split("_")[0]
        yield Entry(
            f"Table 3{f' ({group})' if len(group) == 1 else ''}",
            f"{row.removeprefix(f'{group}_')}, perplexity / BLEU on newstest2013",
            f"{perplexity} / {bleu}",
            f"{LAUNCH}/table3/{row}.yaml checkpoints.average_last=1",
            f"table3/{row}.yaml",
            small=small_row(small, own) if own in small else "",
        )


def small_row(rows: dict[str, Any], name: str) -> str:
    """Return perplexity and BLEU of a row of the small sweep, and how far its BLEU is from that of the base."""
    own, base = rows[name], rows["base"]
    bleu = statistics.mean(own["bleu"])
    difference = bleu - statistics.mean(base["bleu"])
    tested = "" if name == "base" else f" ({difference:+.1f}, p {own['p']:.3f})"
    return f"{name.split('_')[-1]}: {statistics.mean(own['perplexity']):.2f} / {bleu:.1f}{tested}"


def parsing() -> Iterator[Entry]:
    """Yield the results of section 6.3."""
    found = read("parsing_craft")
    small = ""
    if found:
        constrained = (row for row in found["rows"] if row["constrained"])
        best = max(constrained, key=lambda row: row["beam"])
        evalb, all_sentences = (best[name]["all"]["f1"] for name in ("evalb", "gold_tags"))
        scores = f"{evalb:.1f}; {all_sentences:.1f} if every sentence counts"
        small = f"[1.8M parameters, CRAFT's test split](parsing.md), beam {best['beam']}: {scores}"
    command = f"{LAUNCH}/parsing_wsj.yaml"
    yield Entry("Table 4", "parsing, WSJ only, F1 on WSJ 23", "91.3", command, small=small)
    yield Entry("Table 4", "parsing, with 17M parsed sentences", "92.7")


def english_french() -> str:
    """Return BLEU of the small English-French model on newstest2014; "" if there is none."""
    models = read("multilingual").get("models", {})
    scores = models.get("en-fr", {}).get("scores", {}).get("en-fr", {})
    return f"[2.4M parameters, Tatoeba](multilingual.md): {scores['test']['bleu']:.1f}" if scores else ""


def read(name: str) -> dict[str, Any]:
    """Return a result; {} if there is none."""
    file = RESULTS / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def read_rows(file: Path) -> dict[str, tuple[str, str]]:
    """Return perplexity and BLEU of each row of the paper's table, as printed."""
    with file.open(encoding="utf-8", newline="") as text:
        return {row["row"]: (row["perplexity"], row["bleu"]) for row in csv.DictReader(text)}


def load(config: str, changes: tuple[str, ...] = ()) -> RunConfig:
    """Return the settings of a run at full size."""
    return load_settings(RunConfig, ROOT / "configs" / config, list(changes))


def parameters(config: str) -> int:
    """Return the number of parameters with the vocabulary of the file."""
    settings = load(config)
    with torch.device("meta"):
        return count_parameters(build(settings.model))


def gpu_hours(config: str, changes: tuple[str, ...]) -> float:
    """Return the hours of all updates on one GPU, without validation, checkpoints and preparation.

    A micro-batch takes the time of its matrix products at `FLOPS`, or `MICRO_BATCH_SECONDS` per block if that is more.
    """
    settings = load(config, changes)
    with torch.device("meta"):
        model = build(settings.model)
    tokens, micro_batches = settings.batches.tokens_per_update, settings.batches.per_update
    products = update_flops(model, settings.model, 0, tokens, tokens) / FLOPS
    least = micro_batches * MICRO_BATCH_SECONDS * 2 * settings.model.n_layers
    return settings.train.max_steps * max(products, least) / 3600


def show(entry: Entry) -> dict[str, Any]:
    """Return an entry as it is saved."""
    hours = round(gpu_hours(entry.config, entry.changes), 1) if entry.config else None
    state = "the figure itself" if entry.is_exact else "small size" if entry.small else "no"
    return {
        "place": entry.place,
        "what": entry.what,
        "paper": entry.paper,
        "command": entry.command,
        "gpu_hours": hours,
        "reproduced": state,
        "small": entry.small,
    }


def make_tables(result: dict[str, Any]) -> Tables:
    """Return the record."""
    rows = [
        [
            entry["place"],
            entry["what"],
            entry["paper"],
            entry["reproduced"],
            entry["small"],
            f"`{entry['command']}`" if entry["command"] else "",
            "" if entry["gpu_hours"] is None else f"{entry['gpu_hours']:.1f}",
        ]
        for entry in result["entries"]
    ]
    headings = [
        "place",
        "figure",
        "paper",
        "reproduced here",
        "measured here",
        "command at full size",
        "GPU hours (H200)",
    ]
    return {NAME: [table(headings, rows)]}


if __name__ == "__main__":
    run_command(main)
