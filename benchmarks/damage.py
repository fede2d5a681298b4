"""Test what happens to a run if its files are damaged or its disk is full.

    python -m benchmarks.damage --trials 300

Every file of the newest checkpoint is damaged in every way, at seeded random places. Resuming must then report that
checkpoint and that file, and continue from the checkpoint before. Some of these cases, and damage to other files of the
run folder, run the command to the end; the result must be byte-identical to an uninterrupted run. Then the run folder
is on a small disk (a tmpfs, if this user may mount one) that is full at several points of a save. Writes
benchmarks/results/damage.json; the exit status is 1 if a guarantee does not hold.
"""

import io
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

from benchmarks.launch import StartRanks, run_to_end, start_ranks
from benchmarks.run_folders import SETTINGS, differences, write_corpus
from benchmarks.runner import Tables, command_line, new_result, save, say, table, temporary_folder
from common.command import run_command
from train.run.checkpoints import Checkpoints, find_damage

FILES = ("model.safetensors", "optimizer.safetensors", "metrics.jsonl", "progress.json", "manifest.json")
SEED = 1
KILLED_AT = 20
"""Update after which the damaged run was killed. It then has checkpoints of updates 12, 15 and 18."""
FREE = (0.0, 0.2, 0.6)
"""Free space on the full disk, as a share of a checkpoint's size."""

Damage = Callable[[Path, Path, random.Random], None]
"""Damages the first file; the second is the same file of an older checkpoint."""


def truncate(path: Path, older: Path, draw: random.Random) -> None:
    """Keep only the beginning."""
    os.truncate(path, draw.randrange(1, path.stat().st_size))


def empty(path: Path, older: Path, draw: random.Random) -> None:
    """Remove the content."""
    os.truncate(path, 0)


def flip(path: Path, older: Path, draw: random.Random) -> None:
    """Flip one bit."""
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def remove(path: Path, older: Path, draw: random.Random) -> None:
    """Delete the file."""
    path.unlink()


def replace(path: Path, older: Path, draw: random.Random) -> None:
    """Replace the file by the older one."""
    shutil.copyfile(older, path)


DAMAGES: dict[str, tuple[Damage, bool]] = {
    "truncated": (truncate, True),
    "emptied": (empty, False),
    "one bit flipped": (flip, True),
    "removed": (remove, False),
    "replaced by an older one": (replace, False),
}
"""Kinds of damage, and whether the place is random."""


Result = dict[str, Any]


def main() -> None:
    """Damage, compare and save the result."""
    parser = command_line(__doc__)
    parser.add_argument("--trials", type=int, default=300, help="number of random places per file and kind of damage")
    args = parser.parse_args()
    with temporary_folder() as folder:
        write_corpus(folder)
        run_to_end(start_ranks, folder / "uninterrupted", SETTINGS)
        interrupt(start_ranks, folder / "killed")
        detections = detect(folder / "killed/run", folder / "detection", 2 if args.smoke_test else args.trials)
        cases = list(damaged_checkpoints(folder))
        if not args.smoke_test:
            cases += [*damaged_run_folders(folder), *full_disks(folder)]
    for case in cases:
        say(f"{case['name']}: status {case['status']}, {case['wrong'] or 'as expected'}")
    wrong = sum(own["wrong"] for own in detections) + sum(bool(case["wrong"]) for case in cases)
    counts = {"seed": SEED, "damaged": sum(own["trials"] for own in detections), "wrong": wrong}
    result = new_result(**counts, detection=detections, commands=cases)
    save("damage", result, make_tables(result), smoke_test=args.smoke_test)
    if wrong:
        sys.exit(1)


def interrupt(start: StartRanks, folder: Path) -> None:
    """Kill a run after update `KILLED_AT`."""
    folder.mkdir()
    run = start(SETTINGS, folder, 1)
    run.watch(lambda: run.step() >= KILLED_AT)
    run.kill()


def detect(run: Path, work: Path, trials: int) -> list[Result]:
    """Damage each file of the newest checkpoint in each way, and find out where resuming would continue."""
    shutil.copytree(run / "checkpoints", work)
    before, newest = newest_two(work)
    draw, results = random.Random(SEED), []
    for file in FILES:
        content = (newest / file).read_bytes()
        for name, (damage, random_place) in DAMAGES.items():
            problems = []
            for _ in range(trials if random_place else 1):
                damage(newest / file, before / file, draw)
                problems.append(find_problem(work, newest, file, before))
                (newest / file).write_bytes(content)
            found = [problem for problem in problems if problem]
            counts = {"trials": len(problems), "wrong": len(found), "example": found[0] if found else ""}
            results.append({"file": file, "damage": name, **counts})
    return results


def newest_two(checkpoints: Path) -> tuple[Path, Path]:
    """Return the newest checkpoint but one, and the newest."""
    before, newest = Checkpoints(checkpoints).to_average()[-2:]
    return before, newest


def find_problem(checkpoints: Path, damaged: Path, file: str, expected: Path) -> str:
    """Return what is wrong with the reaction to a damaged checkpoint; empty if nothing is."""
    with redirect_stderr(io.StringIO()) as stderr:
        found = Checkpoints(checkpoints).newest()
    if found != expected:
        return f"training would continue from {found.name if found else 'the beginning'}"
    return wrong_report(stderr.getvalue(), damaged.name, file)


def wrong_report(messages: str, checkpoint: str, file: str) -> str:
    """Return a text if the warning does not report checkpoint and file; empty if it does."""
    warnings = [line for line in messages.splitlines() if "damaged checkpoints ignored" in line]
    if len(warnings) != 1 or checkpoint not in warnings[0]:
        return f"{checkpoint} is not reported"
    reason = warnings[0].split("damaged checkpoints ignored", 1)[1]
    reported = sorted((reason.index(name), name) for name in FILES if name in reason)
    return "" if reported and reported[0][1] == file else f"{file} was damaged, and the reason is{reason}"


def damaged_checkpoints(folder: Path) -> Iterator[Result]:
    """Start the command after each kind of damage to the newest checkpoint."""
    draw = random.Random(SEED)
    for file, (name, (damage, _)) in zip(FILES, DAMAGES.items(), strict=True):
        case = copy_run(folder, "killed", f"{file} {name}")
        before, newest = newest_two(case / "run/checkpoints")
        damage(newest / file, before / file, draw)
        result = start_again(folder, case, f"newest checkpoint: {file} {name}")
        failed = ["the run does not continue"] if result["status"] else result["differences"]
        yield result | {"wrong": wrong_report(result["message"], newest.name, file) or "; ".join(failed)}


def damaged_run_folders(folder: Path) -> Iterator[Result]:
    """Damage other files: the command must stop with an error that names the file, repair it, or report it."""
    draw = random.Random(SEED)

    def in_run(damage: Damage, file: str) -> Callable[[Path], None]:
        return lambda run: damage(run / file, run, draw)

    cases: list[tuple[str, str, str, Callable[[Path], None]]] = [
        ("killed", "regular-00000018", "weights of all checkpoints flipped", lambda run: flip_all(run, draw)),
        ("killed", "regular-00000015", "weights of the checkpoint before flipped", lambda run: flip_before(run, draw)),
        ("uninterrupted", "regular-00000036", "weights of an averaged checkpoint flipped, run finished",
         lambda run: flip_before(run, draw)),
        ("uninterrupted", "model.safetensors", "emptied, run finished", in_run(empty, "model.safetensors")),
        ("killed", "metrics.jsonl", "truncated in the middle of a line", lambda run: halve(run / "metrics.jsonl")),
        ("killed", "metrics.jsonl", "flipped", in_run(flip, "metrics.jsonl")),
        ("killed", "metrics.jsonl", "removed", in_run(remove, "metrics.jsonl")),
        ("killed", "config.yaml", "emptied", in_run(empty, "config.yaml")),
        ("killed", "config.yaml", "removed", in_run(remove, "config.yaml")),
        ("killed", "identity.json", "emptied", in_run(empty, "identity.json")),
        ("killed", "identity.json", "removed", in_run(remove, "identity.json")),
        ("killed", "tokenizer.model", "emptied", in_run(empty, "tokenizer.model")),
        ("killed", "tokenizer.model", "flipped", in_run(flip, "tokenizer.model")),
        ("killed", "regular-00000018-copy", "a checkpoint copied by hand", copy_checkpoint),
    ]  # fmt: skip
    for origin, file, damaged, damage in cases:
        case = copy_run(folder, origin, f"{file}: {damaged}")
        damage(case / "run")
        result = start_again(folder, case, f"{file}: {damaged}")
        yield result | {"wrong": unreported(file, result["status"], result["message"], result["differences"])}


def unreported(file: str, status: int, message: str, different: list[str]) -> str:
    """Return what no message reports; empty if the run is like an uninterrupted one or a message names the file."""
    if "Traceback" in message:
        return "a traceback"
    different = [line for line in different if not (file in line and line.endswith("is left over"))]  # the user's file
    if status or different:
        return "" if file in message else "not reported: " + ("; ".join(different) or message)
    return ""


def flip_all(run: Path, draw: random.Random) -> None:
    """Flip a bit in the weights of every checkpoint."""
    for path in Checkpoints(run / "checkpoints").to_average():
        flip(path / "model.safetensors", path, draw)


def flip_before(run: Path, draw: random.Random) -> None:
    """Flip a bit in the weights of the newest checkpoint but one."""
    before, _ = newest_two(run / "checkpoints")
    flip(before / "model.safetensors", before, draw)


def halve(path: Path) -> None:
    """Keep half of the lines, and 10 characters of the next one."""
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[: len(lines) // 2]) + lines[len(lines) // 2][:10])


def copy_checkpoint(run: Path) -> None:
    """Copy the newest checkpoint, as a user might do by hand."""
    _, newest = newest_two(run / "checkpoints")
    shutil.copytree(newest, newest.with_name(f"{newest.name}-copy"))


def full_disks(folder: Path) -> Iterator[Result]:
    """Run on a disk that is full at the start, in the weights of the best checkpoint, and in Adam's moments."""
    for free in FREE:
        name = f"full disk, with space for {free:.0%} of a checkpoint"
        case = folder / folder_name(name)
        with small_disk(case / "run") as mounted:
            if not mounted:
                say(f"{name}: skipped, this user may not mount a tmpfs")
                return
            shutil.copytree(folder / "killed/run", case / "run", dirs_exist_ok=True)
            _, newest = newest_two(case / "run/checkpoints")
            fill(case / "run", round(free * sum(file.stat().st_size for file in newest.iterdir())))
            result = start_again(folder, case, name)
            clear = result["status"] == 2 and "the disk is full" in result["message"] and "\n" not in result["message"]
            kept = [path for path in (case / "run/checkpoints").glob("[!.]*") if find_damage(path)]
            wrong = ("" if clear else "no clear message") or "; ".join(f"{path.name} is damaged" for path in kept)
            (case / "run/ballast").unlink()
            again = start_again(folder, case, name)
            wrong = wrong or ("the run does not continue" if again["status"] else "") or "; ".join(again["differences"])
            yield result | {"differences": again["differences"], "wrong": wrong}


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Mount a disk of 64 MiB in memory; False if that is not possible."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    mounted = shutil.which("mount") is not None and subprocess.run(mount, capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path, free: int) -> None:
    """Leave `free` bytes of space."""
    state = os.statvfs(disk)
    with (disk / "ballast").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, state.f_bavail * state.f_frsize - free)


def copy_run(folder: Path, origin: str, name: str) -> Path:
    """Return a new folder for a case, with a copy of the run."""
    case = folder / folder_name(name)
    shutil.copytree(folder / origin / "run", case / "run")
    return case


def start_again(folder: Path, case: Path, name: str) -> Result:
    """Start the same command again. Return its status, its errors and, if it succeeds, the differences from an
    uninterrupted run."""
    run = start_ranks(SETTINGS, case, 1)
    try:
        status = run.wait()
    finally:
        run.kill()
    different = differences(case / "run", folder / "uninterrupted/run") if status == 0 else []
    return {"name": name, "status": status, "message": run.messages(), "differences": different}


def folder_name(name: str) -> str:
    """Return a name without special characters."""
    return "".join(c if c.isalnum() else "-" for c in name)


def make_tables(result: dict[str, Any]) -> Tables:
    """Return the detection by file and kind of damage, and the results of the command."""
    kinds = list(dict.fromkeys(own["damage"] for own in result["detection"]))
    cells: dict[str, dict[str, str]] = {}
    for own in result["detection"]:
        cells.setdefault(own["file"], {})[own["damage"]] = f"{own['trials'] - own['wrong']} of {own['trials']}"
    detection = [[f"`{file}`", *(found[kind] for kind in kinds)] for file, found in cells.items()]
    commands = [[case["name"], case["status"], outcome(case)] for case in result["commands"]]
    return {
        "damage": [
            table(["file: damage found, reported and checkpoint skipped", *kinds], detection),
            table(["damage, then `train/train.py`", "exit status", "result"], commands),
        ]
    }


def outcome(case: dict[str, Any]) -> str:
    """Return the result of one case as text."""
    if case["wrong"]:
        return "**wrong**"
    if case["status"] and not case["name"].startswith("full disk"):
        return "stops with an error message"
    return "differs from an uninterrupted run" if case["differences"] else "equals an uninterrupted run"


if __name__ == "__main__":
    run_command(main)
