"""Measure how fast text becomes batches, and whether the model ever waits for them.

    python -m benchmarks.data
    python -m benchmarks.data --data multi30k train.en train.de --data open_en_de train.en train.de

For every corpus: pairs per second of each stage of `prepare` and of the plan, on one core; the padding of its plan by
the number of length buckets; and how many tokens per second the loader makes in its one thread from prepared data,
compared with training a model of configs/multi30k.yaml on this machine, and with a GPU (assumed). A corpus is CONFIG
SOURCE TARGET, where configs/CONFIG.yaml gives vocabulary and updates, or SOURCE TARGET with those of base; the default
is the demo's corpus. Then the seconds from the command to the first update with 225,000 pairs, and an estimate for a
billion pairs from these figures. Writes benchmarks/results/data.json.
"""

import json
import os
import sys
import tempfile
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from benchmarks.prepare import measure_start
from benchmarks.runner import RESULTS, ROOT, Table, Tables, command_line, new_result, save, say, seconds_of, table
from common.command import run_command
from common.errors import InputError
from common.settings import load_settings
from data_pipeline import prepare_pairs
from data_pipeline.batch_plan import BatchPlan
from data_pipeline.config import DataConfig
from data_pipeline.examples import Examples
from data_pipeline.micro_batches import AnyInts
from data_pipeline.prepared_data import PreparedData, prepare
from data_pipeline.sources.filters import mark_duplicates
from data_pipeline.token_store import TokenStoreWriter
from train.config import RunConfig
from train.distributed import make_accelerator
from train.loop import Run, ahead, start_run
from train.run.progress import Progress
from train.setup import make_setup

STAGES = {
    "load_corpora": "read",
    "_filter_train": "filter",
    "mark_duplicates": "duplicates",
    "_make_tokenizer": "vocabulary",
}
"""Functions of data_pipeline/prepare_pairs.py that are stages; its encoder, which also writes, is `tokenise`."""
BUCKETS = (8, 16, 24, 48, 96)
GPU_TOKENS = 1_000_000
"""Most target tokens per second that one GPU trains on: half of the matrix products of one H100 (estimated)."""
START_PAIRS = 225_000
BILLION = 1_000_000_000
HOST_GB = 64
"""Memory of a host, for the estimate."""


@dataclass(frozen=True)
class Corpus:
    """Data and updates of a configuration, with other text."""

    name: str
    overrides: tuple[str, ...]

    def config(self, cache: Path) -> RunConfig:
        """Return the settings. Raises FileNotFoundError if configs/ has no such file."""
        places = [f"data.cache_dir={cache}", "train.log_with=none", "train.threads=1"]
        return load_settings(RunConfig, ROOT / "configs" / f"{self.name}.yaml", [*self.overrides, *places])


def main() -> None:
    """Measure and save the result."""
    parser = command_line(__doc__)
    parser.add_argument("--data", nargs="+", action="append", metavar="FILE", help="[CONFIG] SOURCE TARGET; repeatable")
    parser.add_argument("--pairs", type=int, default=200_000, help="size of the built-in corpus, without --data")
    parser.add_argument("--vocab-size", type=int, default=8000, help="for --data without CONFIG")
    parser.add_argument(
        "--tokens-per-update", type=int, nargs="+", help="updates whose padding to count (default: its own and 25,000)"
    )
    parser.add_argument("--loader-tokens", type=int, default=3_000_000, help="target tokens that the loader makes")
    parser.add_argument("--updates", type=int, default=5, help="updates that measure the speed of training")
    parser.add_argument(
        "--consumed", type=float, metavar="TOKENS", help="target tokens per second of training, instead"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of training; the rest has one")
    parser.add_argument("--starts", type=int, default=3)
    args = parser.parse_args()
    start_pairs, sample = START_PAIRS, 1_000_000
    if args.smoke_test:
        args.pairs, start_pairs, sample, args.loader_tokens = 4000, 2000, 50_000, 20_000
        args.updates = args.starts = args.threads = 1
    result = new_result() | {"command": without_folders(sys.argv), "corpora": {}}
    torch.set_num_threads(1)
    import datasets  # noqa: F401  # a slow import that belongs to no stage

    with tempfile.TemporaryDirectory(prefix="data-") as folder:
        for i, corpus in enumerate(read_corpora(args.data, args.pairs, args.vocab_size)):
            place = Path(folder) / str(i)
            measured, prepared, config = measure_corpus(corpus, place, sample)
            sizes = args.tokens_per_update or sorted({config.batches.tokens_per_update, 25_000})
            measured["padding"] = [row for size in sizes for row in paddings(prepared.train, config, size)]
            run = make_run(config, prepared, place / "run")
            measured["loader"] = {"tgt_tokens_per_second": round(measure_loader(run, args.loader_tokens))}
            speed = args.consumed if args.consumed is not None else train(run, args.updates, args.threads)
            consumed = {"tgt_tokens_per_second": round(speed, 1), "threads": args.threads, "given": bool(args.consumed)}
            result["corpora"][corpus.name] = measured | {"consumed": consumed}
        result["start"] = {"pairs": start_pairs, "seconds": measure_starts(start_pairs, args.starts)}
    result["wmt14_size"] = figures_of_prepare()
    name, largest = max(result["corpora"].items(), key=lambda item: item[1]["pairs"])
    result["gpu_tokens_per_second"] = GPU_TOKENS
    result["billion"] = {"pairs": BILLION, "like": name, "host_gb": HOST_GB, **estimate(BILLION, largest)}
    save("data", result, make_tables(result), smoke_test=args.smoke_test)


def without_folders(words: list[str]) -> str:
    """Return the command without the folders of its files."""
    return " ".join(["python -m benchmarks.data", *(Path(word).name for word in words[1:])])


def read_corpora(given: list[list[str]] | None, pairs: int, vocab_size: int) -> list[Corpus]:
    """Return the corpora of the command line. Raises InputError if one is not two files, or a name occurs twice."""
    if given is None:
        return [Corpus("demo", (f"data.grammar_pairs={pairs}",))]
    found = []
    for words in given:
        if len(words) not in (2, 3):
            raise InputError(f"--data {' '.join(words)} is not [CONFIG] SOURCE TARGET")
        *name, source, target = words
        texts = (f"data.train=[{Path(source).resolve()},{Path(target).resolve()}]", "data.valid=null", "data.test=null")
        found.append(Corpus(name[0], texts) if name else Corpus("base", (*texts, f"data.vocab_size={vocab_size}")))
    if len({corpus.name for corpus in found}) < len(found):
        raise InputError("two --data have the same CONFIG. Measure them one after the other.")
    return found


def measure_corpus(corpus: Corpus, place: Path, sample: int) -> tuple[dict[str, Any], PreparedData, RunConfig]:
    """Measure every stage from the text to the first update, and the bytes per pair."""
    config = corpus.config(place / "cache")
    say(f"{corpus.name}: prepare and plan")
    with one_core(), timed_stages() as (seconds, sizes):
        started = time.perf_counter()
        prepared = prepare(config.data, place / "cache", threads=1, quiet=True)
        seconds["rest"] = time.perf_counter() - started - sum(seconds.values())
        ids = prepared.train
        batches = config.batches
        seconds["plan"] = seconds_of(
            lambda: plan(ids.src_lengths, ids.tgt_lengths, config, batches.tokens_per_update, batches.buckets).update(0)
        )
    pairs, kept = prepared.report["train"]["read"], len(ids)
    files = [prepared.folder / f"train.{side}.{kind}.npy" for side in ("src", "tgt") for kind in ("ids", "offsets")]
    measured = {
        "pairs": pairs,
        "pairs_kept": kept,
        "vocab_size": config.data.vocab_size,
        "tokenizer_sentences": min(2 * kept, config.data.tokenizer_sentences),
        "tokens_per_pair": [round(float(lengths.mean()), 2) for lengths in (ids.src_lengths, ids.tgt_lengths)],
        "stages": {name: {"seconds": round(s, 3), "pairs_per_second": round(pairs / s)} for name, s in seconds.items()},
        "bytes_per_pair": {
            "text": round(sizes["arrow"] / pairs, 1),
            "ids": round(sum(file.stat().st_size for file in files) / kept, 1),
        },
        "memory_bytes_per_pair": memory_per_pair(ids, config, sample),
    }
    return measured, prepared, config


@contextmanager
def one_core() -> Iterator[None]:
    """Use one core only, since SentencePiece starts threads of its own."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


@contextmanager
def timed_stages() -> Iterator[tuple[dict[str, float], dict[str, int]]]:
    """Measure the seconds of each stage inside the block, and the bytes of the training text on disk."""
    seconds: dict[str, float] = defaultdict(float)
    sizes: dict[str, int] = {}

    def timed(function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if stage == "filter":
                sizes["arrow"] = sum(Path(file["filename"]).stat().st_size for file in arguments[0].cache_files)
            started = time.perf_counter()
            returned = function(*arguments)
            seconds[stage] += time.perf_counter() - started
            return returned

        return call

    with ExitStack() as patches:
        for name, stage in STAGES.items():
            function = timed(getattr(prepare_pairs, name), stage)
            patches.enter_context(mock.patch.object(prepare_pairs, name, function))
        encoder = prepare_pairs._Encoder
        patches.enter_context(mock.patch.object(encoder, "__call__", timed(encoder.__call__, "tokenise")))
        yield seconds, sizes


def plan(src: AnyInts, tgt: AnyInts, config: RunConfig, tokens_per_update: int, buckets: int) -> BatchPlan:
    """Return the plan of a configuration with another size of updates and number of length buckets."""
    return BatchPlan(
        src,
        tgt,
        tokens_per_update=tokens_per_update,
        per_update=config.batches.per_update,
        max_buckets=buckets,
        seed=config.train.seed,
    )


def paddings(ids: Examples, config: RunConfig, tokens_per_update: int) -> list[dict[str, Any]]:
    """Return padding and shapes of an epoch for each number of length buckets, counted batch by batch."""
    say(f"padding of updates of {tokens_per_update:,} tokens")
    return [
        {"tokens_per_update": tokens_per_update, "per_update": config.batches.per_update, "buckets": buckets}
        | count_padding(plan(ids.src_lengths, ids.tgt_lengths, config, tokens_per_update, buckets))
        for buckets in BUCKETS
    ]


def count_padding(plan: BatchPlan) -> dict[str, Any]:
    """Return the share of positions without a token in an epoch, with padding rows; the number of distinct shapes of
    bucket batches; and the positions of the smallest and the largest one."""
    shapes: set[tuple[int, int, int]] = set()
    positions = tokens = 0
    for step in range(plan.updates_per_epoch):
        update = plan.update(step)
        indices = np.concatenate([batch.indices for batch in update.bucket_batches])
        indices = indices[indices >= 0]
        tokens += int(plan.src_lengths[indices].sum() + plan.tgt_lengths[indices].sum())
        for batch in update.bucket_batches:
            shapes.add((len(batch.indices), batch.src_len, batch.tgt_len))
            positions += len(batch.indices) * (batch.src_len + batch.tgt_len)
    sizes = [rows * (src + tgt) for rows, src, tgt in shapes]
    return {
        "padding": round(1 - tokens / positions, 4),
        "shapes": len(shapes),
        "updates_per_epoch": plan.updates_per_epoch,
        "positions_of_a_batch": [min(sizes), max(sizes)],
    }


def make_run(config: RunConfig, prepared: PreparedData, run_dir: Path) -> Run:
    """Return a run on these data with a model of Multi30k's size."""
    say("loader")
    model = load_settings(RunConfig, ROOT / "configs/multi30k.yaml").model
    config = replace(config, model=model, train=replace(config.train, precision="bf16"))
    run_dir.mkdir()
    with mock.patch.object(Progress, "say"):
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
    say(f"start with {pairs:,} pairs")
    with tempfile.TemporaryDirectory(prefix="start-") as cache:
        config = DataConfig(train="grammar", grammar_pairs=pairs, vocab_size=1000, cache_dir=cache)
        prepare(config, Path(cache), threads=1, quiet=True)
        return [measure_start(config) for _ in range(starts)]


def figures_of_prepare() -> dict[str, Any] | None:
    """Return the figures of benchmarks/prepare.py, which has 4.5 million pairs; None if there are none."""
    file = RESULTS / "prepare.json"
    if not file.exists():
        return None
    found = json.loads(file.read_text(encoding="utf-8"))
    return {name: found[name] for name in ("command", "pairs", "threads", "prepare", "plan", "machine")}


def memory_per_pair(ids: Examples, config: RunConfig, pairs: int) -> dict[str, float]:
    """Return the peak bytes per pair of what grows with the corpus, measured on arrays for `pairs` pairs."""
    src, tgt = (np.resize(lengths, pairs) for lengths in (ids.src_lengths, ids.tgt_lengths))
    reasons, hashes = np.zeros(pairs, np.uint8), np.random.default_rng(1).integers(0, 2**63, pairs).astype(np.uint64)

    def write() -> None:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            writers = [stack.enter_context(TokenStoreWriter(Path(folder) / name, 2)) for name in ("src", "tgt")]
            for start in range(0, pairs, prepare_pairs.PAIRS_AT_ONCE):
                for writer in writers:
                    writer.append([[0]] * min(prepare_pairs.PAIRS_AT_ONCE, pairs - start))

    def make_plan() -> None:
        plan(src, tgt, config, config.batches.tokens_per_update, config.batches.buckets).update(0)

    kept = reasons.itemsize + hashes.itemsize  # until the end of prepare
    peaks = {
        "duplicates": peak(lambda: mark_duplicates(reasons, hashes)) / pairs,
        "tokenise": peak(write) / pairs,
        "plan": peak(make_plan) / pairs,
    }
    indices = np.dtype(np.int64).itemsize  # the encoder's list of the pairs that are kept
    return {
        "filter": float(kept),
        "duplicates": round(kept + peaks["duplicates"], 1),
        "tokenise": round(kept + indices + peaks["tokenise"], 1),
        "plan": round(src.itemsize + tgt.itemsize + peaks["plan"], 1),
    }


def peak(work: Callable[[], None]) -> int:
    """Return the peak of allocated bytes during a call."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


ADVICE = {
    "read": "one process reads: write the corpus as Parquet, which is memory-mapped without a copy, or use one process "
    "for each file",
    "filter": "one process filters: use one for each file",
    "duplicates": "set data.drop_duplicates=false and remove duplicates before, with a sort on disk or one range of "
    "hashes at a time",
    "vocabulary": "nothing: the tokenizer is trained on a sample of data.tokenizer_sentences sentences of any corpus",
    "tokenise": "more threads; write the lengths at once instead of keeping them",
    "plan": "every rank has its own copy: share one copy per host, or plan each file separately",
    "one epoch": "more GPUs, or less than an epoch: the paper's base model sees 2.5 billion target tokens",
}
"""What to do if a step takes too long or needs too much memory."""


def estimate(pairs: int, corpus: dict[str, Any]) -> dict[str, Any]:
    """Estimate hours on one core, GB of disk and GB of memory of each step for a large corpus like the measured one, if
    every step grows in proportion; and how often the loader would read from the disk at the speed of one GPU."""
    stages, memory, disk = corpus["stages"], corpus["memory_bytes_per_pair"], corpus["bytes_per_pair"]
    seconds = {name: pairs / stages[name]["pairs_per_second"] for name in ADVICE if name in stages}
    sentences = min(2 * pairs, DataConfig().tokenizer_sentences)
    seconds["vocabulary"] = stages["vocabulary"]["seconds"] * sentences / corpus["tokenizer_sentences"]
    seconds["one epoch"] = pairs * corpus["tokens_per_pair"][1] / GPU_TOKENS
    on_disk = {"read": disk["text"], "tokenise": disk["ids"]}
    steps = []
    for name, advice in ADVICE.items():
        needed = memory[name] * pairs / 1e9 if name in memory else None
        steps.append(
            {
                "step": name,
                "hours": round(seconds[name] / 3600, 2),
                "disk_gb": round(on_disk[name] * pairs / 1e9, 1) if name in on_disk else None,
                "memory_gb": round(needed, 1) if needed is not None else None,
                "fits": needed is None or needed <= HOST_GB,
                "advice": advice,
            }
        )
    # two reads per sentence, of its position and of its ids, for source and target; at this size none is in memory
    return {"steps": steps, "reads_per_second": round(4 * GPU_TOKENS / corpus["tokens_per_pair"][1])}


def make_tables(result: dict[str, Any]) -> Tables:
    """Return stages, loader, start and estimate; and the padding."""
    corpora = result["corpora"]
    parts = [stages_table(corpora), loader_table(result), start_table(result), estimate_table(result["billion"])]
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
        [name, *(f"{own['stages'][stage]['pairs_per_second'] / 1000:,.1f}" if stage in own["stages"] else ""
                 for own in corpora.values())]
        for stage, name in names.items()
    ]  # fmt: skip
    return table(
        ["1,000 pairs per second on one core", *(f"{name}, {own['pairs']:,} pairs" for name, own in corpora.items())],
        rows,
    )


def loader_table(result: dict[str, Any]) -> Table:
    """Return the loader's speed compared with training."""
    rows = []
    for name, corpus in result["corpora"].items():
        loader, training = corpus["loader"]["tgt_tokens_per_second"], corpus["consumed"]["tgt_tokens_per_second"]
        source = "given" if corpus["consumed"]["given"] else f"{corpus['consumed']['threads']} threads"
        gpu = loader / result["gpu_tokens_per_second"]
        rows.append([name, f"{loader:,}", f"{training:,.0f} ({source})", f"{loader / training:,.0f}", f"{gpu:.2f}"])
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


def estimate_table(billion: dict[str, Any]) -> Table:
    """Return every step of the estimate."""
    rows = []
    for step in billion["steps"]:
        sizes = [f"{step[key]:,.0f}" if step[key] is not None else "" for key in ("disk_gb", "memory_gb")]
        name = "one epoch, on one GPU" if step["step"] == "one epoch" else step["step"]
        rows.append([name, f"{step['hours']:,.1f}", *sizes, "yes" if step["fits"] else "**no**", step["advice"]])
    headings = [f"estimate for {billion['pairs']:,} pairs like those of {billion['like']}", "hours, one core",
                "disk (GB)", "memory (GB)", f"fits {billion['host_gb']} GB", "what to do"]  # fmt: skip
    note = (
        f"To feed one GPU at its highest speed, the loader would read {billion['reads_per_second']:,} times per second "
        "from the disk. The estimate assumes that every step except the vocabulary grows in proportion; sorts "
        "(duplicates, plan) grow a little faster."
    )
    return table(headings, rows, note)


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
