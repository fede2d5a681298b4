"""What becomes of a run whose files were damaged, or whose disk is full.

    python benchmarks/damage.py --trials 300

Every file of the newest checkpoint and every kind of damage, at places that a seed draws: what starts again must name
that checkpoint and that file and continue from the checkpoint before. A few of these cases, and damage to what else is
in the run folder, go through the command and to the end, and are compared byte for byte with a run that nothing
disturbed. Then the run folder lies on a small disk (a tmpfs; where it may be mounted) that is full at several points of
a save. Writes benchmarks/results/damage.json; ends with status 1 where a promise does not hold.
"""

import argparse
import io
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.launching import SETTINGS, Start, differences, run_to_end, start_command, write_corpus
from benchmarks.machine import describe_machine, write_result
from common.command import run_command
from train.run.checkpoints import Checkpoints, find_damage

FILES = ("model.safetensors", "optimizer.safetensors", "metrics.jsonl", "progress.json", "manifest.json")
KILLED_AT = 20
"""Update after which the run that is damaged was killed: it then has checkpoints of updates 12, 15 and 18."""
ROOM = (0.0, 0.2, 0.6)
"""Of a checkpoint's size, left on the full disk."""

Damage = Callable[[Path, Path, random.Random], None]
"""Damages the first file; the second is the same file of an older checkpoint."""


def cut(path: Path, older: Path, draw: random.Random) -> None:
    """Leave the beginning of it."""
    os.truncate(path, draw.randrange(1, path.stat().st_size))


def empty(path: Path, older: Path, draw: random.Random) -> None:
    """Leave nothing of it."""
    os.truncate(path, 0)


def flip(path: Path, older: Path, draw: random.Random) -> None:
    """Turn one bit over."""
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def remove(path: Path, older: Path, draw: random.Random) -> None:
    """Take it away."""
    path.unlink()


def replace(path: Path, older: Path, draw: random.Random) -> None:
    """Put the older one in its place."""
    shutil.copyfile(older, path)


DAMAGES: dict[str, tuple[Damage, bool]] = {
    "cut": (cut, True),
    "emptied": (empty, False),
    "one bit flipped": (flip, True),
    "removed": (remove, False),
    "replaced by an older one": (replace, False),
}
"""And whether it is drawn where."""


@dataclass(frozen=True)
class Row:
    """One file and one kind of damage, many times."""

    file: str
    damage: str
    trials: int
    wrong: int
    example: str
    """Of what went wrong."""


@dataclass(frozen=True)
class Case:
    """A start of the command on a damaged run folder."""

    name: str
    status: int
    said: str
    differences: list[str]
    wrong: str
    """What a user must not meet; empty where all is well."""


def main() -> None:
    """Read the command line, damage, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=300, help="places at which a file is cut, and bits flipped")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="damage-") as temporary:
        folder = Path(temporary)
        write_corpus(folder)
        run_to_end(start_command, folder / "undisturbed")
        interrupt(start_command, folder / "killed")
        rows = detection(folder / "killed/run", folder / "detection", args.trials, args.seed)
        cases = [*commands(folder, args.seed), *rest_of_the_folder(folder, args.seed), *full_disk(folder)]
    print(table(rows, cases))
    wrong = sum(row.wrong for row in rows) + sum(bool(case.wrong) for case in cases)
    counts = {"damaged": sum(row.trials for row in rows), "wrong": wrong}
    listed = {"detection": [asdict(row) for row in rows], "commands": [asdict(case) for case in cases]}
    write_result("damage", {"machine": describe_machine(), "seed": args.seed, **counts, **listed})
    if wrong:
        sys.exit(1)


def interrupt(start: Start, folder: Path) -> None:
    """A run that was killed after update `KILLED_AT`."""
    folder.mkdir()
    started = start(SETTINGS, folder, 1)
    started.watch(lambda: started.step() >= KILLED_AT)
    started.kill()


def detection(run: Path, work: Path, trials: int, seed: int) -> list[Row]:
    """Damage each file of the newest checkpoint in each way, and ask where a start would continue; no process."""
    shutil.copytree(run / "checkpoints", work)
    before, newest = newest_two(work)
    draw, rows = random.Random(seed), []
    for file in FILES:
        content = (newest / file).read_bytes()
        for name, (damage, drawn) in DAMAGES.items():
            times, problems = trials if drawn else 1, []
            for _ in range(times):
                damage(newest / file, before / file, draw)
                problems.append(verdict(work, newest, file, before))
                (newest / file).write_bytes(content)
            found = [problem for problem in problems if problem]
            rows.append(Row(file, name, times, len(found), found[0] if found else ""))
    return rows


def newest_two(checkpoints: Path) -> tuple[Path, Path]:
    """The newest checkpoint but one, and the newest."""
    before, newest = Checkpoints(checkpoints).to_average()[-2:]
    return before, newest


def verdict(checkpoints: Path, damaged: Path, file: str, expected: Path) -> str:
    """What is wrong with what a start makes of a damaged checkpoint; empty where nothing is."""
    with redirect_stderr(io.StringIO()) as stderr:
        found = Checkpoints(checkpoints).newest()
    if found != expected:
        return f"it would continue from {found.name if found else 'the beginning'}"
    return misnamed(stderr.getvalue(), damaged.name, file)


def misnamed(said: str, checkpoint: str, file: str) -> str:
    """Whether the warning names checkpoint and file; empty where it does."""
    warnings = [line for line in said.splitlines() if "damaged checkpoints ignored" in line]
    if len(warnings) != 1 or checkpoint not in warnings[0]:
        return f"{checkpoint} is not named"
    reason = warnings[0].split("damaged checkpoints ignored", 1)[1]
    named = sorted((reason.index(name), name) for name in FILES if name in reason)
    return "" if named and named[0][1] == file else f"{file} was damaged, and the reason is{reason}"


def commands(folder: Path, seed: int) -> Iterator[Case]:
    """Each kind of damage through the command."""
    draw = random.Random(seed)
    for file, (name, (damage, _)) in zip(FILES, DAMAGES.items(), strict=True):
        case = copy_run(folder, "killed", f"{file} {name}")
        before, newest = newest_two(case / "run/checkpoints")
        damage(newest / file, before / file, draw)
        status, said = command(case)
        different = differences(case / "run", folder / "undisturbed/run")
        wrong = misnamed(said, newest.name, file) or "; ".join(different)
        yield Case(f"newest checkpoint: {file} {name}", status, said, different, wrong)


def rest_of_the_folder(folder: Path, seed: int) -> Iterator[Case]:
    """Damage to other things: it must be refused in a sentence that names it, made good, or at least told."""
    draw = random.Random(seed)
    cases: list[tuple[str, str, str, Callable[[Path], None]]] = [
        ("killed", "regular-00000018", "weights of all checkpoints flipped", lambda run: flip_all(run, draw)),
        ("killed", "regular-00000015", "weights of the checkpoint before flipped", lambda run: flip_before(run, draw)),
        ("undisturbed", "regular-00000036", "weights of an averaged checkpoint flipped, run finished",
         lambda run: flip_before(run, draw)),
        ("undisturbed", "model.safetensors", "emptied, run finished",
         lambda run: os.truncate(run / "model.safetensors", 0)),
        ("killed", "metrics.jsonl", "cut in the middle of a line", lambda run: cut_half(run / "metrics.jsonl")),
        ("killed", "metrics.jsonl", "flipped", lambda run: flip(run / "metrics.jsonl", run, draw)),
        ("killed", "metrics.jsonl", "removed", lambda run: (run / "metrics.jsonl").unlink()),
        ("killed", "config.yaml", "emptied", lambda run: os.truncate(run / "config.yaml", 0)),
        ("killed", "config.yaml", "removed", lambda run: (run / "config.yaml").unlink()),
        ("killed", "identity.json", "emptied", lambda run: os.truncate(run / "identity.json", 0)),
        ("killed", "identity.json", "removed", lambda run: (run / "identity.json").unlink()),
        ("killed", "tokenizer.model", "emptied", lambda run: os.truncate(run / "tokenizer.model", 0)),
        ("killed", "tokenizer.model", "flipped", lambda run: flip(run / "tokenizer.model", run, draw)),
        ("killed", "regular-00000018-copy", "a checkpoint copied by hand", copy_checkpoint),
    ]  # fmt: skip
    for origin, what, damaged, damage in cases:
        name = f"{what}: {damaged}"
        case = copy_run(folder, origin, name)
        damage(case / "run")
        status, said = command(case)
        different = differences(case / "run", folder / "undisturbed/run") if status == 0 else []
        yield Case(name, status, said, different, untold(what, status, said, different))


def untold(what: str, status: int, said: str, different: list[str]) -> str:
    """What a user would have to find out alone; empty where the end is as it would have been or a sentence names it."""
    if "Traceback" in said:
        return "a traceback"
    different = [line for line in different if not (what in line and line.endswith("is left over"))]  # a user's own
    if status or different:
        return "" if what in said else "not named: " + ("; ".join(different) or said)
    return ""


def flip_all(run: Path, draw: random.Random) -> None:
    """A bit in the weights of every checkpoint."""
    for path in Checkpoints(run / "checkpoints").to_average():
        flip(path / "model.safetensors", path, draw)


def flip_before(run: Path, draw: random.Random) -> None:
    """A bit in the weights of the newest checkpoint but one."""
    before, _ = newest_two(run / "checkpoints")
    flip(before / "model.safetensors", before, draw)


def cut_half(path: Path) -> None:
    """Leave half of it, and of its last line a part."""
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[: len(lines) // 2]) + lines[len(lines) // 2][:10])


def copy_checkpoint(run: Path) -> None:
    """As a careful person does by hand."""
    _, newest = newest_two(run / "checkpoints")
    shutil.copytree(newest, newest.with_name(f"{newest.name}-copy"))


def full_disk(folder: Path) -> Iterator[Case]:
    """The run folder on a disk that is full: at the start, in the best checkpoint's weights, in the moments."""
    for room in ROOM:
        name = f"full disk, with room for {room:.0%} of a checkpoint"
        case = folder / slug(name)
        with small_disk(case / "run") as mounted:
            if not mounted:
                print(f"{name}: skipped, this user may not mount a tmpfs")
                return
            shutil.copytree(folder / "killed/run", case / "run", dirs_exist_ok=True)
            _, newest = newest_two(case / "run/checkpoints")
            fill(case / "run", round(room * sum(file.stat().st_size for file in newest.iterdir())))
            status, said = command(case)
            wrong = "" if status == 2 and "the disk is full" in said and said.count("\n") == 0 else "no clear sentence"
            kept = [path for path in (case / "run/checkpoints").glob("[!.]*") if find_damage(path)]
            wrong = wrong or "; ".join(f"{path.name} is damaged" for path in kept)
            (case / "run/ballast").unlink()
            again, _ = command(case)
            different = differences(case / "run", folder / "undisturbed/run")
            wrong = wrong or ("it does not continue" if again else "") or "; ".join(different)
            yield Case(name, status, said, different, wrong)


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A disk of 64 MiB in memory; False where it cannot be had."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    mounted = shutil.which("mount") is not None and subprocess.run(mount, capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path, room: int) -> None:
    """Leave `room` bytes free."""
    free = os.statvfs(disk)
    with (disk / "ballast").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - room)


def copy_run(folder: Path, origin: str, name: str) -> Path:
    """A folder of its own for a case, with a copy of the run."""
    case = folder / slug(name)
    shutil.copytree(folder / origin / "run", case / "run")
    return case


def command(case: Path) -> tuple[int, str]:
    """Start the same command again: its status, and what it said of trouble."""
    started = start_command(SETTINGS, case, 1)
    try:
        return started.wait(), started.said()
    finally:
        started.kill()


def slug(name: str) -> str:
    """A name for a folder."""
    return "".join(c if c.isalnum() else "-" for c in name)


def table(rows: list[Row], cases: list[Case]) -> str:
    """For the terminal."""
    lines = [f"{'file':24}{'damage':28}{'trials':>6}{'wrong':>7}"]
    lines += [f"{row.file:24}{row.damage:28}{row.trials:>6}{row.wrong:>7}  {row.example}" for row in rows]
    for case in cases:
        outcome = f"WRONG: {case.wrong}" if case.wrong else "as it should be"
        lines += ["", f"{case.name}: status {case.status}, {outcome}"]
        lines += [f"    {line}" for line in [*case.said.splitlines()[-3:], *case.differences]]
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main)
