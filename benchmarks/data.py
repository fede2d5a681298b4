"""Measure how fast text becomes batches, and whether the model ever waits for them.

    python -m benchmarks.data
    python -m benchmarks.data --data multi30k train.en train.de --data open_en_de train.en train.de

For every corpus: pairs per second of each stage of `prepare` and of the plan, on one core; the padding of its plan by
the number of length buckets; and how many tokens per second the loader makes in its one thread from prepared data,
compared with training a model of configs/multi30k.yaml on this machine, and with a GPU (assumed). A corpus is CONFIG
SOURCE TARGET, where configs/CONFIG.yaml gives vocabulary and updates, or SOURCE TARGET with those of base and 8,000
subwords; the default is the demo's corpus with 200,000 pairs. Then the seconds from the command to the first update
with 225,000 pairs. Memory is measured by benchmarks/large_corpus.py. Writes benchmarks/results/data.json.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import datasets  # noqa: F401  # a slow import that belongs to no stage
import torch

from benchmarks.prepare import measure_start
from benchmarks.runner import (
    ROOT,
    Table,
    Tables,
    command_line,
    new_result,
    save,
    say,
    seconds_of,
    table,
    temporary_folder,
    timed_calls,
)
from benchmarks.tables import read_results
from common.command import run_command
from common.errors import InputError
from common.settings import load_settings
from data_pipeline import prepare_pairs
from data_pipeline.batch_plan import BatchPlan
from data_pipeline.config import DataConfig
from data_pipeline.examples import Examples
from data_pipeline.prepared_data import PreparedData, prepare
from data_pipeline.sources.corpus import load_corpora
from train.config import RunConfig
from train.distributed import make_accelerator
from train.loop import Run, ahead, start_run
from train.setup import make_plan, make_setup

STAGES = {
    (prepare_pairs, "load_corpora"): "read",
    (prepare_pairs, "_filter_train"): "filter",
    (prepare_pairs, "mark_duplicates"): "duplicates",
    (prepare_pairs, "_make_tokenizer"): "vocabulary",
    (prepare_pairs._Encoder, "__call__"): "tokenise",
}
"""Functions that are stages of `prepare`. The encoder also writes."""
KINDS = ("ids", "offsets", "lengths")
"""Files of a token store."""
BUCKETS = (8, 16, 24, 48, 96)
GPU_TOKENS = 1_000_000
"""Most target tokens per second that one GPU trains on: half of the matrix products of one H100 (estimated)."""


def main() -> None:
    """Measure and save the result."""
    parser = command_line(__doc__)
    parser.add_argument("--data", nargs="+", action="append", metavar="FILE", help="[CONFIG] SOURCE TARGET; repeatable")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of training; the rest has one")
    args = parser.parse_args()
    pairs, start_pairs, loaded, updates = 200_000, 225_000, 3_000_000, 5
    if args.smoke_test:
        pairs, start_pairs, loaded, updates = 4000, 2000, 20_000, 1
    result = new_result(corpora={})
    torch.set_num_threads(1)
    for name, overrides in read_corpora(args.data, pairs).items():
        with temporary_folder() as folder:
            settings = [*overrides, f"data.cache_dir={folder / 'cache'}", "train.log_with=none", "train.threads=1"]
            config = load_settings(RunConfig, ROOT / "configs" / f"{name}.yaml", settings)
            say(f"{name}: prepare, plan and padding")
            prepared, measured = measure_prepare(config, folder)
            say("loader and training")
            run = make_run(config, prepared, folder / "run")
            measured["loader"] = {"tgt_tokens_per_second": round(measure_loader(run, loaded))}
            speed = {"tgt_tokens_per_second": round(train(run, updates, args.threads), 1), "threads": args.threads}
            result["corpora"][name] = measured | {"consumed": speed}
    say(f"start with {start_pairs:,} pairs")
    result["start"] = {"pairs": start_pairs, "seconds": measure_starts(start_pairs, 1 if args.smoke_test else 3)}
    wmt14_size = read_results().get("prepare")
    result["wmt14_size"] = wmt14_size and {
        k: wmt14_size[k] for k in ("command", "pairs", "threads", "prepare", "machine")
    }
    result["gpu_tokens_per_second"] = GPU_TOKENS
    save("data", result, make_tables(result), smoke_test=args.smoke_test)


def read_corpora(given: list[list[str]] | None, pairs: int) -> dict[str, list[str]]:
    """Return the configuration and the settings of each corpus. Raises InputError if one is not two files, or if a
    configuration occurs twice."""
    if given is None:
        return {"demo": [f"data.grammar_pairs={pairs}"]}
    found: dict[str, list[str]] = {}
    for words in given:
        if len(words) not in (2, 3):
            raise InputError(f"--data {' '.join(words)} is not [CONFIG] SOURCE TARGET")
        name = words[0] if len(words) == 3 else "base"
        if name in found:
            raise InputError("two --data have the same CONFIG. Measure them one after the other.")
        files = ",".join(str(Path(file).resolve()) for file in words[-2:])
        vocabulary = [] if len(words) == 3 else ["data.vocab_size=8000"]
        found[name] = [f"data.train=[{files}]", "data.valid=null", "data.test=null", *vocabulary]
    return found


def measure_prepare(config: RunConfig, folder: Path) -> tuple[PreparedData, dict[str, Any]]:
    """Measure every stage from the text to the first update, the bytes per pair on disk, and the padding."""
    with one_core(), timed_calls(STAGES) as seconds:
        started = time.perf_counter()
        prepared = prepare(config.data, folder / "cache", threads=1, quiet=True)
        seconds["rest"] = time.perf_counter() - started - sum(seconds.values())
        ids = prepared.train
        seconds["plan"] = seconds_of(lambda: make_plan(config, ids).update(0))
    text = load_corpora(config.data.train, config.data, "train", folder, 1)
    pairs, kept = prepared.report["train"]["read"], len(ids)
    text_files = [Path(file["filename"]) for file in text.cache_files]
    id_files = [prepared.folder / f"train.{side}.{kind}.npy" for side in ("src", "tgt") for kind in KINDS]
    return prepared, {
        "pairs": pairs,
        "pairs_kept": kept,
        "vocab_size": config.data.vocab_size,
        "tokenizer_sentences": min(2 * kept, config.data.tokenizer_sentences),
        "tokens_per_pair": [round(float(lengths.mean()), 2) for lengths in (ids.src_lengths, ids.tgt_lengths)],
        "stages": {name: {"seconds": round(s, 3), "pairs_per_second": round(pairs / s)} for name, s in seconds.items()},
        "bytes_per_pair": {
            "text": round(sum(file.stat().st_size for file in text_files) / pairs, 1),
            "ids": round(sum(file.stat().st_size for file in id_files) / kept, 1),
        },
        "padding": [
            measure_padding(ids, config, size, buckets)
            for size in sorted({config.batches.tokens_per_update, 25_000})
            for buckets in BUCKETS
        ],
    }


@contextmanager
def one_core() -> Iterator[None]:
    """Use one core only, since SentencePiece starts threads of its own."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def measure_padding(ids: Examples, config: RunConfig, tokens_per_update: int, buckets: int) -> dict[str, Any]:
    """Return padding and shapes of an epoch with this size of updates and number of length buckets."""
    batches = replace(config.batches, tokens_per_update=tokens_per_update, buckets=buckets)
    plan = make_plan(replace(config, batches=batches), ids)
    assert isinstance(plan, BatchPlan)
    used = {"tokens_per_update": tokens_per_update, "per_update": batches.per_update, "buckets": buckets}
    return used | count_padding(plan)


def count_padding(plan: BatchPlan) -> dict[str, Any]:
    """Return the share of positions without a token in an epoch, with padding rows; the number of distinct shapes of
    bucket batches; and the positions of the smallest and the largest one."""
    shapes = [shape for shape, n in zip(plan.shapes, plan.batches_of_bucket, strict=True) if n]
    positions = [len(shape.indices) * (shape.src_len + shape.tgt_len) for shape in shapes]
    return {
        "padding": round(plan.padding(), 4),
        "shapes": len(shapes),
        "updates_per_epoch": plan.updates_per_epoch,
        "positions_of_a_batch": [min(positions), max(positions)],
    }


def make_run(config: RunConfig, prepared: PreparedData, run_dir: Path) -> Run:
    """Return a run on these data with a model of Multi30k's size."""
    model = load_settings(RunConfig, ROOT / "configs/multi30k.yaml").model
    config = replace(config, model=model, train=replace(config.train, precision="bf16"))
    run_dir.mkdir()
    with redirect_stdout(StringIO()):
        return start_run(make_setup(config, prepared), run_dir, make_accelerator(config.train, run_dir))


def measure_loader(run: Run, tokens: int) -> float:
    """Return the target tokens per second of the thread that makes batches, if nothing makes it wait. The first pass
    loads the data into memory and computes the order of the epoch."""
    assert isinstance(run.plan, BatchPlan)
    steps = range(min(run.plan.updates_per_epoch, -(-tokens // run.config.batches.tokens_per_update)))
    speeds = []
    for _ in range(2):
        started = time.perf_counter()
        loaded = sum(update.predicted_tokens for update, _ in ahead(run._make_batches, steps))
        speeds.append(loaded / (time.perf_counter() - started))
    return speeds[1]


def train(run: Run, updates: int, threads: int) -> float:
    """Return the target tokens per second of training on batches that were made before."""
    torch.set_num_threads(threads)
    run.check_memory()
    work = [run._make_batches(step) for step in range(updates + 1)]
    run.trainer.step(*work[0], lambda: ())  # warm-up
    seconds = seconds_of(lambda: [run.trainer.step(*one, lambda: ()) for one in work[1:]])
    torch.set_num_threads(1)
    return sum(update.predicted_tokens for update, _ in work[1:]) / seconds


def measure_starts(pairs: int, starts: int) -> list[float]:
    """Return the seconds from the command to its first update, with prepared data."""
    with temporary_folder() as cache:
        config = DataConfig(train="grammar", grammar_pairs=pairs, vocab_size=1000, cache_dir=str(cache))
        prepare(config, cache, threads=1, quiet=True)
        return [measure_start(config) for _ in range(starts)]


def make_tables(result: dict[str, Any]) -> Tables:
    """Return stages, loader and start; and the padding."""
    corpora = result["corpora"]
    parts = [stages_table(corpora), loader_table(result), start_table(result)]
    return {"data": parts, "padding": [padding_table(corpora)]}


def stages_table(corpora: dict[str, Any]) -> Table:
    """Return thousands of pairs per second of every stage; one column per corpus."""
    names = {
        "read": "read, or make the built-in corpus",
        "filter": "normalise and filter",
        "duplicates": "find duplicates",
        "vocabulary": "train the tokenizer",
        "tokenise": "tokenize and write",
        "plan": "plan, and the first update",
    }
    rows = [
        [shown, *(f"{own['stages'][stage]['pairs_per_second'] / 1000:,.1f}" for own in corpora.values())]
        for stage, shown in names.items()
    ]
    sizes = (f"{name}, {own['pairs']:,} pairs" for name, own in corpora.items())
    return table(["1,000 pairs per second on one core", *sizes], rows)


def loader_table(result: dict[str, Any]) -> Table:
    """Return the loader's speed compared with training."""
    rows = []
    for name, corpus in result["corpora"].items():
        loader, training = corpus["loader"]["tgt_tokens_per_second"], corpus["consumed"]["tgt_tokens_per_second"]
        here = f"{training:,.0f} ({corpus['consumed']['threads']} threads)"
        gpu = f"{loader / result['gpu_tokens_per_second']:.2f}"
        rows.append([name, f"{loader:,}", here, f"{loader / training:,.0f}", gpu])
    headings = ["target tokens/s", "loader, one thread", "training on this machine", "loader / training",
                f"loader / GPU ({result['gpu_tokens_per_second']:,}, assumed)"]  # fmt: skip
    return table(headings, rows)


def start_table(result: dict[str, Any]) -> Table:
    """Return the time until the first update, and the results of benchmarks/prepare.py."""
    seconds = ", ".join(f"{seconds:.1f}" for seconds in result["start"]["seconds"])
    rows = [[f"command to first update, {result['start']['pairs']:,} pairs, data in the cache", f"{seconds} s"]]
    if found := result["wmt14_size"]:
        own = found["prepare"]
        peaks = f"{own['peak_private_gb']:.2f} GB; {own['peak_rss_gb_with_mapped_files']:.2f} GB"
        time = f"{own['seconds'] / 60:.1f} min"
        rows.append([f"prepare {found['pairs']:,} pairs, {found['threads']} threads", time])
        rows.append(["peak of its private memory; with memory-mapped files", peaks])
    return table(["measurement", "value"], rows)


def padding_table(corpora: dict[str, Any]) -> Table:
    """Return one row per corpus and size of updates, and a column per number of length buckets."""
    asked = list(dict.fromkeys(row["buckets"] for own in corpora.values() for row in own["padding"]))
    rows = []
    for name, own in corpora.items():
        for size in dict.fromkeys(row["tokens_per_update"] for row in own["padding"]):
            found = {row["buckets"]: row for row in own["padding"] if row["tokens_per_update"] == size}
            cells = [f"{found[n]['padding']:.1%} ({found[n]['shapes']})" for n in asked]
            rows.append([name, f"{size:,}", *cells])
    return table(["padding (shapes)", "tokens per update", *(f"{n} length buckets" for n in asked)], rows)


if __name__ == "__main__":
    run_command(main)
