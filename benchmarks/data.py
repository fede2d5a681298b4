"""How fast text becomes batches, and whether the model ever waits for them.

    python benchmarks/data.py
    python benchmarks/data.py --data multi30k train.en train.de --data open_en_de train.en train.de

For every corpus: pairs per second of each stage of `prepare` and of the plan, on one core; the padding of its plan by
the number of shapes; and how many tokens per second the loop's loader makes in its one thread from a warm cache, beside
what a model of configs/multi30k.yaml's shape learns from here and what the fastest GPU is hoped to. A corpus is
CONFIG SOURCE TARGET, where configs/CONFIG.yaml says the vocabulary and the updates, or SOURCE TARGET with those of
base; where none is given it is the demo's. Then the seconds from the command to the first update at 225,000 pairs, and
what a billion pairs would take, on paper, from these rates. Writes benchmarks/results/data.json.
"""

import argparse
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
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
import torch

from benchmarks.machine import RESULTS, describe_machine, write_result
from benchmarks.prepare import measure_start
from common.command import run_command
from common.errors import InputError
from common.settings import load_settings
from data_pipeline import prepare_pairs as build
from data_pipeline.batch_plan import BatchPlan
from data_pipeline.config import DataConfig
from data_pipeline.examples import Examples
from data_pipeline.micro_batches import AnyInts
from data_pipeline.prepared_data import PreparedData, prepare
from data_pipeline.sources.filters import mark_duplicates
from data_pipeline.token_store import TokenStoreWriter
from train.config import RunConfig
from train.distributed import make_accelerator
from train.loop import Run, ahead
from train.tasks import make_task

ROOT = Path(__file__).resolve().parent.parent
STAGES = {
    "load_many": "read",
    "_judge_train": "filter",
    "mark_duplicates": "duplicates",
    "_make_tokenizer": "vocabulary",
}
"""Functions of data_pipeline/prepare_pairs.py that make up a stage; `tokenise` is its encoder and writes the ids."""
SHAPES = (8, 16, 24, 48, 96)
GPU_TOKENS = 1_000_000
"""Target tokens per second that one GPU learns from at best: half of the matrix products of one H100, on paper."""
START_PAIRS = 225_000
BILLION = 1_000_000_000
HOST_GB = 64
"""Memory of a host that a step of the billion pairs must fit."""


@dataclass(frozen=True)
class Corpus:
    """A configuration's data and updates, with other text."""

    name: str
    overrides: tuple[str, ...]

    def config(self, cache: Path) -> RunConfig:
        """Its recipe. Raises FileNotFoundError where configs/ has none of its name."""
        places = [f"data.cache_dir={cache}", "train.log_with=none", "train.threads=1"]
        return load_settings(RunConfig, ROOT / "configs" / f"{self.name}.yaml", [*self.overrides, *places])


def main() -> None:
    """Read the command line, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a rehearsal: a small corpus; writes nothing")
    parser.add_argument("--data", nargs="+", action="append", metavar="FILE", help="[CONFIG] SOURCE TARGET; repeatable")
    parser.add_argument("--pairs", type=int, default=200_000, help="of the built-in corpus, where no --data is given")
    parser.add_argument("--vocab-size", type=int, default=8000, help="for --data without CONFIG")
    parser.add_argument("--tokens-per-update", type=int, nargs="+", help="for the padding; else its own and 25,000")
    parser.add_argument("--loader-tokens", type=int, default=3_000_000, help="target tokens that the loader makes")
    parser.add_argument("--updates", type=int, default=5, help="that the model makes to see what it consumes")
    parser.add_argument("--consumed", type=float, metavar="TOKENS", help="per second, instead of those updates")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of that model; all else has one")
    parser.add_argument("--starts", type=int, default=3)
    args = parser.parse_args()
    pairs, start_pairs, sample = (4000, 2000, 50_000) if args.quick else (args.pairs, START_PAIRS, 1_000_000)
    loader_tokens, updates, starts = (20_000, 1, 1) if args.quick else (args.loader_tokens, args.updates, args.starts)
    threads = 1 if args.quick else args.threads
    result: dict[str, Any] = {"command": command(sys.argv), "machine": describe_machine(), "corpora": {}}
    torch.set_num_threads(1)
    import_module("datasets")  # seconds that are no stage's
    with tempfile.TemporaryDirectory(prefix="data-") as folder:
        for i, corpus in enumerate(corpora(args.data, pairs, args.vocab_size)):
            place = Path(folder) / str(i)
            made, prepared, config = measure_corpus(corpus, place, sample)
            sizes = args.tokens_per_update or sorted({config.batches.tokens_per_update, 25_000})
            made["padding"] = [row for size in sizes for row in paddings(prepared.train, config, size)]
            run = make_run(config, prepared, place / "run")
            made["loader"] = {"tgt_tokens_per_second": round(measure_loader(run, loader_tokens))}
            eaten = args.consumed if args.consumed is not None else learn(run, updates, threads)
            made["consumed"] = {
                "tgt_tokens_per_second": round(eaten, 1),
                "threads": threads,
                "given": bool(args.consumed),
            }
            result["corpora"][corpus.name] = made
        result["start"] = {"pairs": start_pairs, "seconds": measure_starts(start_pairs, starts)}
    result["wmt14_size"] = figures_of_prepare()
    name, largest = max(result["corpora"].items(), key=lambda item: item[1]["pairs"])
    result["gpu_tokens_per_second"] = GPU_TOKENS
    result["billion"] = {"pairs": BILLION, "like": name, "host_gb": HOST_GB, **on_paper(BILLION, largest)}
    if args.quick:
        print(json.dumps(result, indent=2))
    else:
        write_result("data", result)


def command(words: list[str]) -> str:
    """The command with the names of its files, not their places."""
    return " ".join(["python", words[0], *(Path(word).name for word in words[1:])])


def corpora(given: list[list[str]] | None, pairs: int, vocab_size: int) -> list[Corpus]:
    """What the command line asks for. Raises ValueError where a corpus is not two files, or its name is taken."""
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
        raise InputError("two --data have the same CONFIG: measure them one after the other")
    return found


def measure_corpus(corpus: Corpus, place: Path, sample: int) -> tuple[dict[str, Any], PreparedData, RunConfig]:
    """Every stage from the text to the first update's rows, and the bytes that a pair takes on the disk."""
    config = corpus.config(place / "cache")
    say(f"{corpus.name}: prepare and plan")
    with one_core(), timed_stages() as (seconds, sizes):
        started = time.perf_counter()
        prepared = prepare(config.data, place / "cache", threads=1, quiet=True)
        whole = time.perf_counter() - started
        seconds["rest"] = whole - sum(seconds.values())
        started = time.perf_counter()
        plan = make_plan(prepared.train, config, config.batches.tokens_per_update, config.batches.buckets)
        plan.update(0)
        seconds["plan"] = time.perf_counter() - started
    pairs, kept = prepared.report["train"]["read"], len(prepared.train)
    stages = {name: {"seconds": round(s, 3), "pairs_per_second": round(pairs / s)} for name, s in seconds.items()}
    ids = prepared.train
    files = [prepared.folder / f"train.{side}.{kind}.npy" for side in ("src", "tgt") for kind in ("ids", "offsets")]
    made = {
        "pairs": pairs,
        "pairs_kept": kept,
        "vocab_size": config.data.vocab_size,
        "sentences_learned_from": min(2 * kept, config.data.tokenizer_sentences),
        "tokens_per_pair": [round(float(lengths.mean()), 2) for lengths in (ids.src_lengths, ids.tgt_lengths)],
        "stages": stages,
        "bytes_per_pair": {
            "text": round(sizes["arrow"] / pairs, 1),
            "ids": round(sum(file.stat().st_size for file in files) / kept, 1),
        },
        "memory_bytes_per_pair": memory_per_pair(ids, config, sample),
    }
    return made, prepared, config


@contextmanager
def one_core() -> Iterator[None]:
    """Keep to one core, for SentencePiece starts threads of its own."""
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
    """Seconds by stage of what is prepared within, and the bytes of the training text as it lay on the disk."""
    seconds: dict[str, float] = defaultdict(float)
    sizes: dict[str, int] = {}

    def clocked(function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if stage == "filter":
                sizes["arrow"] = sum(Path(file["filename"]).stat().st_size for file in arguments[0].cache_files)
            started = time.perf_counter()
            made = function(*arguments)
            seconds[stage] += time.perf_counter() - started
            return made

        return call

    with ExitStack() as patches:
        for name, stage in STAGES.items():
            patches.enter_context(mock.patch.object(build, name, clocked(vars(build)[name], stage)))
        encoder = build._Encoder
        patches.enter_context(mock.patch.object(encoder, "__call__", clocked(encoder.__call__, "tokenise")))
        yield seconds, sizes


def make_plan(ids: Examples, settings: RunConfig, tokens_per_update: int, shapes: int) -> BatchPlan:
    """The plan of a recipe with another size of an update and another number of shapes."""
    return plan_lengths(ids.src_lengths, ids.tgt_lengths, settings, tokens_per_update, shapes)


def plan_lengths(src: AnyInts, tgt: AnyInts, settings: RunConfig, tokens_per_update: int, shapes: int) -> BatchPlan:
    """The same of any lengths."""
    return BatchPlan(
        src,
        tgt,
        tokens_per_update=tokens_per_update,
        per_update=settings.batches.per_update,
        max_buckets=shapes,
        seed=settings.train.seed,
    )


def paddings(ids: Examples, settings: RunConfig, tokens_per_update: int) -> list[dict[str, Any]]:
    """One row for each number of shapes: padding and shapes of an epoch, counted batch by batch."""
    say(f"padding of updates of {tokens_per_update:,} tokens")
    return [
        {"tokens_per_update": tokens_per_update, "bricks": settings.batches.per_update, "asked": shapes}
        | count_padding(make_plan(ids, settings, tokens_per_update, shapes))
        for shapes in SHAPES
    ]


def count_padding(plan: BatchPlan) -> dict[str, Any]:
    """Share of an epoch's positions that hold no token, padding rows included; distinct shapes of its batches; and the
    share of positions in the smallest and largest batch."""
    shapes: set[tuple[int, int, int]] = set()
    positions = tokens = 0
    for step in range(plan.updates_per_epoch):
        update = plan.update(step)
        tokens += int(plan.src_lengths[real := real_rows(update.bucket_batches)].sum() + plan.tgt_lengths[real].sum())
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


def real_rows(batches: Any) -> AnyInts:
    """The examples of an update, without its padding rows."""
    rows = np.concatenate([batch.indices for batch in batches])
    real: AnyInts = rows[rows >= 0]
    return real


def make_run(config: RunConfig, prepared: PreparedData, run_dir: Path) -> Run:
    """A run on these data that learns a model of Multi30k's shape."""
    say("loader")
    model = load_settings(RunConfig, ROOT / "configs/multi30k.yaml").model
    config = replace(config, model=model, train=replace(config.train, precision="bf16"))
    run_dir.mkdir()
    with mock.patch("train.run.progress.Progress.say"):
        return Run(make_task(config, prepared), run_dir, make_accelerator(config.train, run_dir))


def measure_loader(run: Run, tokens: int) -> float:
    """Target tokens per second from a warm cache, over about so many tokens, at most an epoch."""
    assert isinstance(run.plan, BatchPlan)
    steps = range(min(run.plan.updates_per_epoch, -(-tokens // run.config.batches.tokens_per_update)))
    load(run, steps)  # its pages are in memory now, and the epoch's order is known
    return load(run, steps)


def load(run: Run, steps: range) -> float:
    """Target tokens per second of the thread that makes batches, when nobody keeps it waiting."""
    started = time.perf_counter()
    tokens = sum(update.predicted_tokens for update, _ in ahead(run._batches, steps))
    return tokens / (time.perf_counter() - started)


def learn(run: Run, updates: int, threads: int) -> float:
    """Target tokens per second of a model that learns, its batches made before."""
    torch.set_num_threads(threads)
    run.rehearse()
    work = [run._batches(step) for step in range(updates + 1)]
    run.updater.learn(*work[0], lambda: ())  # warms up
    started = time.perf_counter()
    for update, batches in work[1:]:
        run.updater.learn(update, batches, lambda: ())
    seconds = time.perf_counter() - started
    torch.set_num_threads(1)
    return sum(update.predicted_tokens for update, _ in work[1:]) / seconds


def measure_starts(pairs: int, starts: int) -> list[float]:
    """Seconds from the command to its first update, from a warm cache."""
    say(f"start with {pairs:,} pairs")
    with tempfile.TemporaryDirectory(prefix="start-") as cache:
        config = DataConfig(train="grammar", grammar_pairs=pairs, vocab_size=1000, cache_dir=cache)
        prepare(config, Path(cache), threads=1, quiet=True)
        return [measure_start(config, cache) for _ in range(starts)]


def figures_of_prepare() -> dict[str, Any] | None:
    """Time and memory of 4.5 million pairs, which benchmarks/prepare.py measures; None where it has not."""
    file = RESULTS / "prepare.json"
    if not file.exists():
        return None
    found = json.loads(file.read_text())
    return {name: found[name] for name in ("command", "pairs", "threads", "prepare", "plan", "machine")}


def memory_per_pair(ids: Examples, settings: RunConfig, pairs: int) -> dict[str, float]:
    """Peak bytes a pair of what grows with the corpus, measured on the arrays of so many pairs."""
    src, tgt = (np.resize(lengths, pairs) for lengths in (ids.src_lengths, ids.tgt_lengths))
    flags, hashes = np.zeros(pairs, np.uint8), np.random.default_rng(1).integers(0, 2**63, pairs).astype(np.uint64)

    def write() -> None:
        with (
            tempfile.TemporaryDirectory() as folder,
            TokenStoreWriter(Path(folder) / "src", 2) as one,
            TokenStoreWriter(Path(folder) / "tgt", 2) as other,
        ):
            for start in range(0, pairs, build.BATCH):
                chunk = [[0]] * min(build.BATCH, pairs - start)
                one.append(chunk)
                other.append(chunk)

    def plan() -> None:
        plan_lengths(src, tgt, settings, settings.batches.tokens_per_update, settings.batches.buckets).update(0)

    verdicts = flags.itemsize + hashes.itemsize  # are kept until the end of prepare
    peaks = {"duplicates": peak(lambda: mark_duplicates(flags, hashes)), "tokenise": peak(write), "plan": peak(plan)}
    per_pair = {name: bytes_ / pairs for name, bytes_ in peaks.items()}
    rows = np.dtype(np.int64).itemsize  # the encoder's list of the pairs that are kept
    return {
        "filter": float(verdicts),
        "duplicates": round(verdicts + per_pair["duplicates"], 1),
        "tokenise": round(verdicts + rows + per_pair["tokenise"], 1),
        "plan": round(src.itemsize + tgt.itemsize + per_pair["plan"], 1),
    }


def peak(work: Callable[[], None]) -> int:
    """Most bytes that were taken at once while it worked."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


CURES = {
    "read": "one process reads: write the corpus as Parquet, which is mapped as it is, or one process for each part",
    "filter": "one process judges: one for each part of the corpus",
    "duplicates": "data.drop_duplicates=false, and duplicates removed before, by a sort on the disk or part by part of "
    "the hash",
    "vocabulary": "nothing: a sample of data.tokenizer_sentences is learned from, however large the corpus is",
    "tokenise": "more threads; the lengths written as they come instead of kept",
    "plan": "every rank keeps it all: one copy for a host, or a corpus in parts, each planned on its own",
    "one epoch": "more GPUs, or not the whole epoch: the paper's base sees 2.5 billion target tokens",
}
"""What one would do where a step takes too much of something."""


def on_paper(pairs: int, corpus: dict[str, Any]) -> dict[str, Any]:
    """Hours on one core, GB of disk and GB of memory of each step for so many pairs like those that were measured,
    every step growing in proportion; and how often the loader would read from the disk at the speed of one GPU."""
    stages, memory, disk = corpus["stages"], corpus["memory_bytes_per_pair"], corpus["bytes_per_pair"]
    seconds = {name: pairs / stages[name]["pairs_per_second"] for name in CURES if name in stages}
    learned = min(2 * pairs, DataConfig().tokenizer_sentences)
    seconds["vocabulary"] = stages["vocabulary"]["seconds"] * learned / corpus["sentences_learned_from"]
    seconds["one epoch"] = pairs * corpus["tokens_per_pair"][1] / GPU_TOKENS
    taken = {"read": disk["text"], "tokenise": disk["ids"]}
    steps = []
    for name, cure in CURES.items():
        needed = memory[name] * pairs / 1e9 if name in memory else None
        steps.append(
            {
                "step": name,
                "hours": round(seconds[name] / 3600, 2),
                "disk_gb": round(taken[name] * pairs / 1e9, 1) if name in taken else None,
                "memory_gb": round(needed, 1) if needed is not None else None,
                "fits": needed is None or needed <= HOST_GB,
                "what_one_would_do": cure,
            }
        )
    # A sentence is two reads, of its place and of its ids, on either side; at this size none is in memory already.
    return {"steps": steps, "reads_per_second": round(4 * GPU_TOKENS / corpus["tokens_per_pair"][1])}


def say(text: str) -> None:
    """At once: the stages take minutes."""
    print(text, flush=True)


if __name__ == "__main__":
    run_command(main)
