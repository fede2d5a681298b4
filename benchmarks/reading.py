"""Measure the memory of reading: a line of 3 GB in a .gz file, and 100 million short lines.

    python -m benchmarks.reading --model runs/demo

The files are made first, in a temporary folder; packed they have 15 MB. Each command runs alone. Writes
benchmarks/results/reading.json.
"""

import gzip
import itertools
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.launch import environment
from benchmarks.runner import ROOT, Tables, about_machine, command_line, new_result, save, table, temporary_folder
from common.command import module_name, run_command
from common.files import expand

BLOCK = 1 << 20
COUNT = "from pathlib import Path\nimport sys\nfrom common.command import run_command\n"
COUNT += "from common.text_input import read_lines\n"
COUNT += "run_command(lambda: print(sum(1 for _ in read_lines(Path(sys.argv[1])))))"


def main() -> None:
    """Make the files, run the commands, and save the result."""
    parser = command_line(__doc__)
    parser.add_argument("--model", type=expand, required=True, help="folder of a translation model")
    args = parser.parse_args()
    size, lines = (10_000_000, 10_000) if args.smoke_test else (3_000_000_000, 100_000_000)
    result = new_result(line_bytes=size, lines=lines, runs=[])
    with temporary_folder() as folder:
        long, short = folder / "long.gz", folder / "short.gz"
        write(long, itertools.repeat(b"a" * 1000, size // 1000))
        write(short, itertools.repeat(b"ab\n", lines))
        for file, name in ((long, f"one line of {size:,} bytes"), (short, f"{lines:,} lines")):
            for what, command in commands(file, folder, args.model).items():
                result["runs"].append({"text": name, "reading": what, **measure(command, folder)})
    save("reading", result, make_tables(result), smoke_test=args.smoke_test)


def write(file: Path, parts: Iterable[bytes]) -> None:
    """Write a .gz file."""
    rest = iter(parts)
    with gzip.open(file, "wb", 1) as out:
        while block := b"".join(itertools.islice(rest, BLOCK // 3)):
            out.write(block)


def commands(file: Path, folder: Path, model: Path) -> dict[str, list[str]]:
    """Return the commands that read a file, by what they do with it."""

    def module(name: str, *arguments: object) -> list[str]:
        return [sys.executable, "-m", module_name(name), *map(str, arguments)]

    cache = f"data.cache_dir={folder / 'cache'}"
    text = ["data.task=language_modelling", f"data.train={file}", "data.vocab_type=characters", cache]
    return {
        "all lines, one by one": [sys.executable, "-c", COUNT, str(file)],
        "`--input` of a translation, until its first lines": module(
            "transformer/translate.py", "--model", model, "--input", file, "--max-length", 1, "--beam", 1
        ),
        "`--hypotheses` of a score": module(
            "evaluate/bleu.py", "--hypotheses", file, "--reference", file, "--output", folder / "eval"
        ),
        "`data.train` of a language model": module("data_pipeline/prepare.py", *text),
    }


def measure(command: list[str], folder: Path) -> dict[str, Any]:
    """Run a command; a translation is stopped at its first output. Return its end, seconds and peak memory."""
    started = time.perf_counter()
    out, err = folder / "out", folder / "err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=stdout, stderr=stderr)
        peak = 0
        while process.poll() is None:
            peak = max(peak, peak_kb(process.pid))
            if "--input" in command and out.stat().st_size:
                process.terminate()
            time.sleep(0.05)
    message = err.read_text(encoding="utf-8", errors="replace").strip().split("\n")[-1].replace(f"{folder}/", "")
    return {
        "end": message if process.returncode > 0 else "read",
        "seconds": round(time.perf_counter() - started, 1),
        "peak_mb": round(peak / 1024),
    }


def peak_kb(pid: int) -> int:
    """Return the largest memory of a process so far in kB, without that of its parent; 0 when it has ended."""
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))
    return int(found[1]) if found else 0


def make_tables(result: dict[str, Any]) -> Tables:
    """Return the table of docs/reading.md."""
    rows = [(run["text"], run["reading"], run["end"], run["seconds"], run["peak_mb"]) for run in result["runs"]]
    headings = ["text", "what is read", "result", "seconds", "peak memory (MiB)"]
    return {"reading": [table(headings, rows, f"`{result['command']}`; {about_machine(result)}.")]}


if __name__ == "__main__":
    run_command(main)
