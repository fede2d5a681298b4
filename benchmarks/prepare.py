"""How long a corpus of WMT14's size takes from text to the first update, and how much memory.

    python benchmarks/prepare.py --pairs 4500000

makes that many pairs of the built-in corpus, prepares them with the base model's vocabulary, plans base's updates, and
then starts training twice from the warm cache until the first update is done, with a model so small that it does not
count. Writes benchmarks/results/prepare.json.
"""

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.machine import describe_machine, write_result
from common.command import run_command
from common.errors import InputError
from data_pipeline.batch_plan import BatchPlan
from data_pipeline.config import DataConfig
from data_pipeline.prepared_data import PreparedData, prepare

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Read the command line, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=4_500_000)
    parser.add_argument("--vocab-size", type=int, default=8000, help="the built-in corpus has too few words for 37,000")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="prepare-") as cache:
        config = DataConfig(
            train="grammar", vocab_size=args.vocab_size, grammar_pairs=args.pairs, drop_duplicates=True, cache_dir=cache
        )
        result = {"pairs": args.pairs, "threads": args.threads, "machine": describe_machine()}
        prepared, result["prepare"] = measure_prepare(config, args.threads)
        result["plan"] = measure_plan(prepared)
        result["start_to_first_update_seconds"] = [measure_start(config, cache) for _ in range(2)]
    write_result("prepare", result)


def measure_prepare(config: DataConfig, threads: int) -> tuple[PreparedData, dict[str, float]]:
    """Seconds, and the peak of this process's private memory (RssAnon) in GB, sampled; its children's in all."""
    peak, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            peak[0] = max(peak[0], anonymous_gb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    prepared = prepare(config, Path(config.cache_dir), threads)
    seconds = time.perf_counter() - started
    done.set()
    watcher.join()
    kept = len(prepared.train)
    return prepared, {
        "seconds": round(seconds, 1),
        "pairs_kept": kept,
        "peak_private_gb": round(peak[0], 2),
        "peak_rss_gb_with_mapped_files": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "peak_rss_gb_of_a_child": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20, 2),
    }


def measure_plan(prepared: PreparedData) -> dict[str, float]:
    """Seconds to plan base's updates and to make the first of an epoch, and the padding."""
    started = time.perf_counter()
    lengths = (prepared.train.src_lengths, prepared.train.tgt_lengths)
    plan = BatchPlan(*lengths, tokens_per_update=25_000, per_update=4, max_buckets=24, seed=1)
    planned = time.perf_counter()
    plan.update(0)
    return {
        "seconds": round(planned - started, 2),
        "first_update_seconds": round(time.perf_counter() - planned, 2),
        "updates_per_epoch": plan.updates_per_epoch,
        "shapes": len(plan.buckets),
        "padding": round(plan.padding(), 4),
    }


def measure_start(config: DataConfig, cache: str) -> float:
    """Seconds from the start of the command to the line of the first update."""
    settings = [
        *("data.train=grammar", f"data.grammar_pairs={config.grammar_pairs}", f"data.vocab_size={config.vocab_size}"),
        *(f"data.cache_dir={cache}", f"run_dir={tempfile.mkdtemp(dir=cache)}/run", "train.max_steps=1000"),
        *("model.d_model=16", "model.n_layers=1", "model.n_heads=1", "model.d_ff=16"),
        *("batches.tokens_per_update=2048", "train.log_every=1", "train.log_with=none"),
    ]
    started = time.perf_counter()
    command = [sys.executable, "train/train.py", *settings]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if re.match(r"step +1 ", line):
                seconds = time.perf_counter() - started
                process.kill()
                return round(seconds, 2)
    raise InputError("the training command ended before its first update; run it by hand to see why")


def anonymous_gb() -> float:
    """Private memory of this process in GB; 0 where the system does not say."""
    status = Path("/proc/self/status")
    found = re.search(r"RssAnon:\s+(\d+)", status.read_text()) if status.exists() else None
    return int(found[1]) / 2**20 if found else 0.0


if __name__ == "__main__":
    run_command(main)
