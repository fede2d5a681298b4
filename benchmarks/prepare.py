"""Measure time and memory of preparing a corpus of WMT14's size, and the time until the first update.

    python -m benchmarks.prepare --pairs 4500000

makes that many pairs of the built-in corpus, prepares them with the base model's settings, plans base's updates, and
then starts training twice from the cache until the first update is done, with a model that is too small to matter. The
vocabulary has 8,000 subwords, since the built-in corpus has too few words for 37,000. Writes
benchmarks/results/prepare.json.
"""

import os
import re
import resource
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.launch import environment, training_command
from benchmarks.runner import (
    ROOT,
    Tables,
    about_machine,
    command_line,
    memory_mb,
    new_result,
    save,
    table,
    temporary_folder,
)
from common.command import run_command
from common.errors import InputError
from data_pipeline.batch_plan import BatchPlan
from data_pipeline.config import DataConfig
from data_pipeline.prepared_data import PreparedData, prepare


def main() -> None:
    """Measure and save the result."""
    parser = command_line(__doc__)
    parser.add_argument("--pairs", type=int, default=4_500_000)
    args = parser.parse_args()
    pairs, vocab_size = (4000, 1000) if args.smoke_test else (args.pairs, 8000)
    with temporary_folder() as cache:
        config = DataConfig(train="grammar", vocab_size=vocab_size, grammar_pairs=pairs, cache_dir=str(cache))
        threads = os.cpu_count() or 1
        result = new_result(pairs=pairs, threads=threads)
        prepared, result["prepare"] = measure_prepare(config, threads)
        result["plan"] = measure_plan(prepared)
        result["start_to_first_update_seconds"] = [measure_start(config) for _ in range(2)]
    save("prepare", result, make_tables(result), smoke_test=args.smoke_test)


def measure_prepare(config: DataConfig, threads: int) -> tuple[PreparedData, dict[str, float]]:
    """Return seconds and peak memory in GB: private memory of this process (RssAnon, sampled), and all of its memory
    and of its children's."""
    peak, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            peak[0] = max(peak[0], memory_mb("RssAnon") * 1e3 / 2**20)

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    prepared = prepare(config, Path(config.cache_dir), threads)
    seconds = time.perf_counter() - started
    done.set()
    watcher.join()
    return prepared, {
        "seconds": round(seconds, 1),
        "pairs_kept": len(prepared.train),
        "peak_private_gb": round(peak[0], 2),
        "peak_rss_gb_with_mapped_files": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "peak_rss_gb_of_a_child": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20, 2),
    }


def measure_plan(prepared: PreparedData) -> dict[str, float]:
    """Return the seconds to plan base's updates and to make the first update of an epoch, and the padding."""
    started = time.perf_counter()
    src_lengths, tgt_lengths = prepared.train.src_lengths, prepared.train.tgt_lengths
    plan = BatchPlan(src_lengths, tgt_lengths, tokens_per_update=25_000, per_update=4, max_buckets=24, seed=1)
    planned = time.perf_counter()
    plan.update(0)
    return {
        "seconds": round(planned - started, 2),
        "first_update_seconds": round(time.perf_counter() - planned, 2),
        "updates_per_epoch": plan.updates_per_epoch,
        "buckets": len(plan.buckets),
        "padding": round(plan.padding(), 4),
    }


def measure_start(config: DataConfig) -> float:
    """Return the seconds from the start of the training command to the log line of the first update."""
    settings = [
        *("data.train=grammar", f"data.grammar_pairs={config.grammar_pairs}", f"data.vocab_size={config.vocab_size}"),
        *(f"data.cache_dir={config.cache_dir}", f"run_dir={tempfile.mkdtemp(dir=config.cache_dir)}/run"),
        *("model.d_model=16", "model.n_layers=1", "model.n_heads=1", "model.d_ff=16"),
        *("batches.tokens_per_update=2048", "train.max_steps=1000", "train.log_every=1", "train.log_with=none"),
    ]
    started = time.perf_counter()
    command = training_command(settings)
    with subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if re.match(r"step +1 ", line):
                seconds = time.perf_counter() - started
                process.kill()
                return round(seconds, 2)
    raise InputError("the training command ended before its first update; run it by hand to see the error")


def make_tables(result: dict[str, Any]) -> Tables:
    """Return one table of all measures."""
    prepared, plan = result["prepare"], result["plan"]
    start = " and ".join(f"{seconds:.1f}" for seconds in result["start_to_first_update_seconds"])
    rows = [
        ["sentence pairs made, pairs kept", f"{result['pairs']:,}, {prepared['pairs_kept']:,}"],
        ["prepare (make, filter, train the tokenizer, tokenize)", f"{prepared['seconds'] / 60:.1f} min"],
        ["peak of private memory", f"{prepared['peak_private_gb']:.2f} GB"],
        ["peak with memory-mapped files", f"{prepared['peak_rss_gb_with_mapped_files']:.2f} GB"],
        [f"plan {plan['updates_per_epoch']:,} updates of 25,000 tokens",
         f"{plan['seconds']:.1f} s, {plan['padding']:.1%} padding in {plan['buckets']} length buckets"],
        ["start of the command to the first update, data in the cache", f"{start} s"],
        ["machine", about_machine(result)],
    ]  # fmt: skip
    return {"preparation": [table(["measurement", "value"], rows)]}


if __name__ == "__main__":
    run_command(main)
