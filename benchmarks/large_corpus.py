"""Measure memory and time of a corpus that is too large for memory.

    python -m benchmarks.large_corpus --pairs 40000000 --processes 2 --folder /scratch

makes that many short random sentence pairs as Parquet files (every tenth pair is a duplicate), prepares them, and then
starts training on two ranks until their first updates are done, twice, with a model that is too small to matter and
`batches.shard=4000000`. For `prepare` and for every rank it measures the peak of private memory (RssAnon, sampled),
without memory-mapped files, which processes share. The last table computes a billion pairs from these figures. Writes
benchmarks/results/large_corpus.json.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]

from benchmarks.launch import environment, start_ranks
from benchmarks.runner import ROOT, Table, Tables, about_machine, command_line, new_result, save, say, table
from common.command import run_command
from common.errors import InputError
from common.files import read_json
from data_pipeline.sources.filters import LABELS, FilterReason

FILE_PAIRS = 1_000_000
"""Pairs of a Parquet file."""
WORDS = 2_000
"""Distinct words of a language."""
LONGEST = 8
"""Words of the longest sentence."""
SHARD = 4_000_000
BILLION = 1_000_000_000
PRIVATE_BYTES = 3
"""Private memory of `prepare` for each pair: its filter reason, and two marks while a sample of the pairs is drawn."""
HASH_BYTES = 8
GROUP_BYTES = 10
"""Bytes per pair by which the files of the groups are larger than the prepared data: reasons twice, and a hash."""
RANKS = 2


def main() -> None:
    """Measure and save the result."""
    parser = command_line(__doc__)
    parser.add_argument("--pairs", type=int, default=40_000_000, help="number of pairs (default: 40000000)")
    parser.add_argument("--processes", type=int, default=1, help="processes of prepare (default: 1)")
    parser.add_argument("--folder", type=Path, help="folder for files of about 10 GB (default: that of the system)")
    args = parser.parse_args()
    pairs, shard = (20_000, 5000) if args.smoke_test else (args.pairs, SHARD)
    result = new_result(pairs=pairs, processes=args.processes, shard=shard, ranks=RANKS)
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="benchmark-") as name:
        folder = Path(name)
        say(f"making {pairs:,} pairs")
        started = time.perf_counter()
        make_corpus(pairs, folder / "text")
        result["make_seconds"] = round(time.perf_counter() - started, 1)
        settings = [
            *(f"data.train={folder}/text/*.parquet", f"data.cache_dir={folder}/cache", "data.vocab_size=8000"),
            "data.tokenizer_sentences=200000",
        ]
        result["prepare"] = measure_prepare(settings, folder, args.processes)
        say(f"prepared in {result['prepare']['seconds']} s")
        result["starts"] = [measure_start(settings, folder, shard, number) for number in range(2)]
    result["billion"] = estimate(result)
    save("large_corpus", result, make_tables(result), smoke_test=args.smoke_test)


def make_corpus(pairs: int, folder: Path) -> None:
    """Write random pairs. The last tenth of each file repeats pairs of the same file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    rng = np.random.default_rng(1)
    words = [pa.array(make_words(rng)) for _ in range(2)]
    for number, start in enumerate(range(0, pairs, FILE_PAIRS)):
        size = min(FILE_PAIRS, pairs - start)
        new = size - size // 10
        repeated = np.concatenate([np.arange(new), rng.integers(0, new, size - new)])
        lengths = rng.integers(3, LONGEST + 1, new)
        columns = [make_sentences(own, lengths, rng).take(pa.array(repeated)) for own in words]
        pq.write_table(pa.table(columns, names=["source", "target"]), folder / f"{number:04}.parquet")


def make_words(rng: np.random.Generator) -> list[str]:
    """Return random words of 3 to 8 letters."""
    letters = rng.choice(list("aeinorstlukdmgbh"), (WORDS, 8))
    return ["".join(row[:n]) for row, n in zip(letters, rng.integers(3, 9, WORDS), strict=True)]


def make_sentences(words: Any, lengths: np.ndarray, rng: np.random.Generator) -> Any:
    """Return sentences with these numbers of words, in which frequent words are more frequent."""
    import pyarrow as pa
    import pyarrow.compute as pc

    chosen = (WORDS * rng.random(int(lengths.sum())) ** 3).astype(np.int32)
    offsets = np.concatenate([[0], lengths.cumsum()]).astype(np.int32)
    return pc.binary_join(pa.ListArray.from_arrays(offsets, words.take(pa.array(chosen))), " ")


def measure_prepare(settings: list[str], folder: Path, processes: int) -> dict[str, Any]:
    """Run the command `prepare`; return its seconds, counts, peak memory and the size of its files."""
    command = [sys.executable, "data_pipeline/prepare.py", *settings, "--threads", str(processes)]
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL)
    peaks: dict[str, float] = {}
    while process.poll() is None:
        for name, gb in private_memory(process.pid).items():
            peaks[name] = max(peaks.get(name, 0), gb)
        time.sleep(0.2)
    if process.returncode:
        raise InputError(f"prepare ended with status {process.returncode}; its error is printed above")
    seconds = time.perf_counter() - started
    (prepared,) = (path.parent for path in (folder / "cache").glob("*/report.json"))
    counts = read_json(prepared / "report.json")["train"]
    return {
        "seconds": round(seconds, 1),
        "pairs_kept": counts[LABELS[FilterReason.KEPT]],
        "duplicates": counts[LABELS[FilterReason.DUPLICATE]],
        "peak_private_gb": round(peaks["process"], 2),
        "peak_private_gb_of_a_child": round(peaks.get("child", 0), 2),
        "peak_private_gb_together": round(peaks["together"], 2),
        "prepared_gb": round(sum(file.stat().st_size for file in prepared.iterdir()) / 1e9, 2),
        "lengths_gb": round(sum(file.stat().st_size for file in prepared.glob("*.lengths.npy")) / 1e9, 3),
    }


def private_memory(pid: int) -> dict[str, float]:
    """Return the private memory in GB of a process, of its largest child, and of all together."""
    try:
        root = psutil.Process(pid)
        own, children = anonymous(root), [anonymous(child) for child in root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return {}
    return {"process": own, "child": max(children, default=0.0), "together": own + sum(children)}


def anonymous(process: psutil.Process) -> float:
    """Return the private memory of a process in GB, or 0 if it has ended."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return 0.0
    found = [line.split()[1] for line in status.splitlines() if line.startswith("RssAnon:")]
    return int(found[0]) * 1024 / 1e9 if found else 0.0


def measure_start(settings: list[str], folder: Path, shard: int, number: int) -> dict[str, Any]:
    """Return the seconds from the start of the ranks to the log line of update 1, and the peak of private memory of
    each rank until update 20."""
    run = folder / f"start{number}"
    run.mkdir()
    own = [
        *settings, f"batches.shard={shard}", f"run_dir={run}/run", "model.d_model=16", "model.n_layers=1",
        "model.n_heads=1", "model.d_ff=16", "batches.tokens_per_update=2048", "train.max_steps=1000",
        "train.long_run=true", "train.log_every=1", "train.log_with=none", "validation.bleu_sentences=0",
        "train.threads=1",
    ]  # fmt: skip
    started, seconds, peaks, mapped = time.perf_counter(), 0.0, [0.0] * RANKS, [False] * RANKS
    ranks = start_ranks(own, run, RANKS)
    try:
        while ranks.running() and ranks.step() < 20:
            for rank, process in enumerate(ranks.processes):
                pid = process.pid  # type: ignore[attr-defined]
                peaks[rank] = max(peaks[rank], private_memory(pid).get("process", 0.0))
                mapped[rank] |= "train.src.lengths.npy" in read_maps(pid)
            if ranks.step() >= 1 and not seconds:
                seconds = time.perf_counter() - started
            time.sleep(0.05)
    finally:
        messages = ranks.messages()
        ranks.kill()
    if not seconds:
        raise InputError(f"the ranks ended before the first update: {messages[-600:]}")
    return {
        "seconds": round(seconds, 1),
        "peak_private_gb_of_rank": [round(gb, 2) for gb in peaks],
        "maps_shared_lengths": mapped,
    }


def read_maps(pid: int) -> str:
    """Return the list of files that a process maps."""
    try:
        return Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return ""


def estimate(result: dict[str, Any]) -> dict[str, float]:
    """Return hours, disk and memory of a billion pairs. Private memory grows by `PRIVATE_BYTES` per pair in `prepare`
    and does not grow in a rank; the shared lengths of a host grow with the corpus."""
    prepared, times = result["prepare"], BILLION / result["pairs"]
    return {
        "prepare_hours": round(times * prepared["seconds"] / 3600, 1),
        "prepare_private_gb": round(prepared["peak_private_gb"] + PRIVATE_BYTES * (BILLION - result["pairs"]) / 1e9, 1),
        "working_files_gb": round(BILLION * (HASH_BYTES + GROUP_BYTES) / 1e9 + times * prepared["prepared_gb"]),
        "prepared_gb": round(times * prepared["prepared_gb"]),
        "rank_private_gb": max(max(start["peak_private_gb_of_rank"]) for start in result["starts"]),
        "lengths_gb_of_a_host": round(times * prepared["lengths_gb"], 1),
    }


def make_tables(result: dict[str, Any]) -> Tables:
    """Return the measured figures, and those of a billion pairs."""
    return {"large_corpus": [measured_table(result), billion_table(result)]}


def measured_table(result: dict[str, Any]) -> Table:
    """Return what was measured."""
    own, starts = result["prepare"], result["starts"]
    peaks = [gb for start in starts for gb in start["peak_private_gb_of_rank"]]
    rows = [
        ["pairs made, duplicates dropped, pairs kept",
         f"{result['pairs']:,}; {own['duplicates']:,}; {own['pairs_kept']:,}"],
        [f"prepare, processes: {result['processes']}", f"{own['seconds'] / 60:.1f} min"],
        ["peak of private memory of prepare: main process; largest child; together",
         f"{own['peak_private_gb']:.2f}; {own['peak_private_gb_of_a_child']:.2f}; "
         f"{own['peak_private_gb_together']:.2f} GB"],
        ["prepared data; the lengths among them, shared by the ranks of a host",
         f"{own['prepared_gb']:.2f}; {own['lengths_gb']:.3f} GB"],
        [f"start of {result['ranks']} ranks to the first update, data in the cache",
         " and ".join(f"{start['seconds']:.1f}" for start in starts) + " s"],
        [f"peak of private memory of a rank, shards of {result['shard']:,} pairs",
         f"{min(peaks):.2f} to {max(peaks):.2f} GB"],
        ["machine", about_machine(result)],
    ]  # fmt: skip
    return table(["measurement", "value"], rows)


def billion_table(result: dict[str, Any]) -> Table:
    """Return the estimate."""
    found = result["billion"]
    rows = [
        [f"prepare, processes: {result['processes']}", f"{found['prepare_hours']:.1f} hours"],
        ["peak of private memory of prepare, main process", f"{found['prepare_private_gb']:.1f} GB"],
        ["other files until its end: hashes and groups, without the text", f"{found['working_files_gb']:.0f} GB"],
        ["prepared data", f"{found['prepared_gb']:.0f} GB"],
        ["lengths, mapped once on each host", f"{found['lengths_gb_of_a_host']:.1f} GB"],
        ["peak of private memory of a rank", f"{found['rank_private_gb']:.2f} GB"],
    ]
    return table([f"estimate for {BILLION:,} pairs like these", "value"], rows)


if __name__ == "__main__":
    run_command(main)
