"""Train on the first pairs of a corpus with `size=auto`, as the README does for own text, and score held-out lines.

    python -m benchmarks.own_text --data train.en train.de --test test.en test.de --pairs 400 5000 29000
    python -m benchmarks.own_text --smoke-test

A finished run is not trained again, and an interrupted one resumes. Writes benchmarks/results/own_text.json. Settings
at the end of the command are those of every run.
"""

import json
import re
import subprocess
import sys
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from benchmarks.launch import environment, training_command
from benchmarks.run_logs import Clock, find_starts, read_lines, read_settings
from benchmarks.runner import ROOT, Tables, about_machine, command_line, new_result, save, table, temporary_folder
from common.command import run_command
from common.errors import InputError
from data_pipeline.builtin.grammar import generate
from transformer.model import count_parameters
from transformer.pretrained import load_pretrained

START = "start.txt"
"""What the first start of a run printed, in its folder."""


def main() -> None:
    """Train, evaluate and save the result."""
    parser = command_line(__doc__)
    parser.add_argument("--data", nargs=2, type=Path, metavar="FILE", help="training source and target")
    parser.add_argument("--test", nargs=2, type=Path, metavar="FILE", help="held-out source and target")
    parser.add_argument("--pairs", nargs="+", type=int, default=[400, 5000, 29000], help="numbers of pairs")
    parser.add_argument("--runs", type=Path, default=Path("runs/own_text"), help="folder of the runs")
    parser.add_argument("overrides", nargs="*", metavar="section.field=value", help="settings of every run")
    args = parser.parse_intermixed_args()
    if args.smoke_test:
        with temporary_folder() as folder:
            files = write_grammar(folder)
            rows = [measure(60, files, files, folder, ["train.max_steps=2", "model.d_model=16"])]
    elif args.data and args.test:
        rows = [measure(pairs, args.data, args.test, args.runs, args.overrides) for pairs in args.pairs]
    else:
        parser.error("--data and --test are missing: give source and target of a corpus and of a test set")
    result = new_result(rows=rows)
    save("own_text", result, make_tables(result), smoke_test=args.smoke_test)


def measure(pairs: int, data: list[Path], test: list[Path], runs: Path, overrides: list[str]) -> dict[str, Any]:
    """Return the figures of one run, which is trained if it is not finished."""
    run = (runs / str(pairs)).resolve()
    run.mkdir(parents=True, exist_ok=True)
    if not (run / "model.safetensors").exists():
        parts = [take_lines(file, pairs, run / f"train.{i}.txt") for i, file in enumerate(data)]
        start(run, [f"data.train=[{parts[0]},{parts[1]}]", f"data.cache_dir={runs.resolve() / 'cache'}", *overrides])
    files = [f"--source={test[0].resolve()}", f"--reference={test[1].resolve()}"]
    command = [sys.executable, "evaluate/bleu.py", f"--model={run}", f"--output={run / 'eval'}", *files]
    if subprocess.run(command, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL).returncode:
        raise InputError(f"{' '.join(command)} failed")
    return collect(pairs, run)


def take_lines(file: Path, lines: int, out: Path) -> Path:
    """Write the first lines of a file to another one, which is returned."""
    with file.open(encoding="utf-8", newline="\n") as text:
        out.write_text("".join(islice(text, lines)), encoding="utf-8", newline="\n")
    return out


def start(run: Path, settings: list[str]) -> None:
    """Train to the end, and keep what the first start prints."""
    command = training_command(["size=auto", f"run_dir={run}", *settings])
    done = subprocess.run(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True)
    if not (run / START).exists():
        (run / START).write_text(done.stdout, encoding="utf-8")
    if done.returncode:
        raise InputError(f"training on {run} ended with status {done.returncode}")


def collect(pairs: int, run: Path) -> dict[str, Any]:
    """Return size, time and BLEU of a finished run, and what its start printed about time."""
    settings, timing = read_settings(run), read_lines(run / "timing.jsonl")
    clock = Clock(timing)
    report = json.loads(next((run / "eval").glob("*.json")).read_text(encoding="utf-8"))
    said = re.findall(r"^time +(.*)$", (run / START).read_text(encoding="utf-8"), re.MULTILINE)
    updates = settings["train.max_steps"]
    return {
        "pairs": pairs,
        "settings": {name: settings[name] for name in ("data.vocab_size", "model.d_model", "model.n_layers")},
        "threads": settings["train.threads"],
        "parameters": count_parameters(load_pretrained(run)[0]),
        "updates": updates,
        "target_tokens": round(clock.tokens(updates)),
        "minutes_of_updates": round(clock.training_seconds() / 60, 1),
        "minutes": round(clock.clock_seconds(updates) / 60, 1),
        "cpu_minutes": round(cpu_seconds(clock.blocks) / 60, 1),
        "start_said": said[0],
        "bleu": report["bleu"],
        "signature": report["signature"],
        "test_lines": report["lines"],
    }


def cpu_seconds(blocks: list[dict[str, Any]]) -> float:
    """Return the CPU seconds of all processes of a run, from its lines of speed."""
    starts = find_starts(blocks)
    ends = [before for before, line in pairwise(blocks) if line["step"] in starts]
    return float(sum(line["cpu_seconds"] for line in [*ends, blocks[-1]]))


def write_grammar(folder: Path) -> list[Path]:
    """Write some pairs of the built-in corpus and return the two files."""
    files = [folder / "text.en", folder / "text.de"]
    for file, lines in zip(files, zip(*generate("train", 60, seed=1), strict=True), strict=True):
        file.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return files


def make_tables(result: dict[str, Any]) -> Tables:
    """Return a row for each number of pairs."""
    first, headings = result["rows"][0], ["pairs", "parameters (million)", "vocabulary", "updates"]
    headings += ["target tokens (million)", "what the start printed", "minutes", "CPU minutes", "BLEU"]
    threads = {None: "all cores", 1: "1 thread"}.get(first["threads"], f"{first['threads']} threads")
    note = f"{about_machine(result)}; {threads}. BLEU on {first['test_lines']:,} lines: `{first['signature']}`."
    return {"own_text": [table(headings, map(make_row, result["rows"]), note)]}


def make_row(row: dict[str, Any]) -> list[str]:
    """Return a row of the table."""
    sizes = f"{row['parameters'] / 1e6:.1f}", f"{row['settings']['data.vocab_size']:,}", f"{row['updates']:,}"
    times = row["start_said"], f"{row['minutes']:.1f}", f"{row['cpu_minutes']:.1f}"
    return [f"{row['pairs']:,}", *sizes, f"{row['target_tokens'] / 1e6:.2f}", *times, f"{row['bleu']:.1f}"]


if __name__ == "__main__":
    run_command(main)
