"""Test that a run that is killed again and again ends like an uninterrupted run.

    python -m benchmarks.faults --kills 30

For each of 1, 2 and 3 processes: one uninterrupted run, then runs whose processes are all killed (SIGKILL) at seeded
random moments. After each kill the same command starts again, until the run finishes. At the end every file of the run
folder must be byte-identical to the uninterrupted run, and TensorBoard must show each value once.

Of ten kills, four come at a uniformly random moment between the first update and the end; three inside a save, as soon
as a random file of the temporary folder exists; two during start-up, and one while the model folder is written. The
files on disk show afterwards what each kill interrupted. Writes benchmarks/results/faults.json; the exit status is 1 if
anything differs.
"""

import random
import sys
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Literal

from benchmarks.launch import Ranks, StartRanks, run_to_end, start_ranks
from benchmarks.run_folders import SETTINGS, STEPS, differences, write_corpus
from benchmarks.run_logs import read_lines
from benchmarks.runner import Tables, command_line, new_result, save, say, table, temporary_folder
from common.command import run_command
from common.errors import InputError
from train.run.checkpoints import find_damage

SEED = 1
WORLD_SIZES = (1, 2, 3)
KILLS_PER_RUN = 5
Kind = Literal["moment", "save", "start-up", "end"]
KINDS: tuple[Kind, ...] = (
    *("moment", "save", "moment", "save", "start-up"),
    *("moment", "save", "moment", "start-up", "end"),
)
SAVED = ("", "model.safetensors", "optimizer.safetensors", "metrics.jsonl", "progress.json", "manifest.json")
"""Parts of a checkpoint in the order in which they are written; first the empty folder."""


@dataclass(frozen=True)
class Kill:
    """When to kill: `delay` seconds after update `step` is logged, or when `file` exists."""

    kind: Kind
    step: int
    delay: float = 0.0
    file: str = ""


@dataclass
class Campaign:
    """Result of the runs with one number of ranks."""

    runs: int = 0
    starts: int = 0
    missed: int = 0
    """Kills that came too late, after the end of the run."""
    phases: Counter[str] = field(default_factory=Counter)
    """What the kills interrupted, without those that came too late."""
    differences: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        """Number of kills that were in time."""
        return self.phases.total()

    @property
    def inside_a_save(self) -> int:
        """Number of kills after which the temporary folder of a checkpoint still existed."""
        return sum(count for phase, count in self.phases.items() if phase.startswith("save"))

    def figures(self) -> dict[str, Any]:
        """Return the counts as JSON."""
        counts = {"runs": self.runs, "starts": self.starts, "kills": self.kills, "inside_a_save": self.inside_a_save}
        return counts | {"phases": dict(sorted(self.phases.items())), "differences": self.differences}


def main() -> None:
    """Run the campaigns and save the result."""
    parser = command_line(__doc__)
    parser.add_argument("--kills", type=int, default=30, help="total over all numbers of processes")
    args = parser.parse_args()
    kills = 1 if args.smoke_test else -(-args.kills // len(WORLD_SIZES))
    before = time.monotonic()
    with temporary_folder() as folder:
        write_corpus(folder)
        found = {str(ranks): campaign(folder, ranks, kills, SEED).figures() for ranks in WORLD_SIZES}
    totals = {name: sum(own[name] for own in found.values()) for name in ("kills", "inside_a_save")}
    differing = sum(len(own["differences"]) for own in found.values())
    seconds = round(time.monotonic() - before)
    result = new_result(
        seed=SEED, settings=list(SETTINGS), **totals, differences=differing, ranks=found, seconds=seconds
    )
    save("faults", result, make_tables(result), smoke_test=args.smoke_test)
    if differing:
        sys.exit(1)


def campaign(folder: Path, ranks: int, kills: int, seed: int, start: StartRanks = start_ranks) -> Campaign:
    """Run with this many ranks until `kills` kills were in time; `folder` contains the corpus."""
    reference = folder / f"{ranks}-uninterrupted"
    times = read_times(run_to_end(start, reference, SETTINGS, ranks))
    draw, result = random.Random(f"{seed} {ranks}"), Campaign()
    kinds = cycle(KINDS)
    while result.kills < kills:
        if result.missed > kills:
            raise InputError(f"{result.missed} kills came too late with {ranks} ranks; this machine is too uneven")
        some = list(islice(kinds, min(KILLS_PER_RUN, kills - result.kills)))
        case = folder / f"{ranks}-killed-{result.runs}"
        interrupted_run(case, ranks, draw_kills(some, times, draw), result, start)
        result.differences += [f"{case.name}: {text}" for text in differences(case / "run", reference / "run")]
    return result


def interrupted_run(
    folder: Path,
    ranks: int,
    kills: list[Kill],
    result: Campaign,
    start: StartRanks,
    settings: Sequence[str] = SETTINGS,
) -> None:
    """Start and kill a run once per planned kill; then start it once more and wait for its end."""
    folder.mkdir()
    result.runs += 1
    for kill in kills:
        run = start(settings, folder, ranks)
        result.starts += 1
        try:
            wait_for(kill, run)
            in_time = run.running()
        finally:
            run.kill()
        if not in_time and run.wait():
            raise InputError(f"a run in {folder.name} failed before it was killed and printed: {run.messages()}")
        phase = phase_of(run) if in_time else None
        result.missed += phase is None
        result.phases.update([phase] if phase else [])
        say(f"{folder.name}: {kill.kind} kill: {phase or 'too late, the run had ended'}")
    last = run_to_end(start, folder, settings, ranks)
    result.starts += 1
    if "damaged checkpoints ignored" in last.messages():
        result.differences.append(f"{folder.name}: a kill left a damaged checkpoint")


def read_times(finished: Ranks) -> list[float]:
    """Return the seconds from the start of a finished run until each update was logged, and until the end."""
    run, since = finished.folder / "run", finished.since / 1e9
    logged = [line["time"] - since for line in read_lines(run / "timing.jsonl") if "seconds_per_update" in line]
    return [*logged, (run / "model.safetensors").stat().st_mtime - since]


def draw_kills(kinds: list[Kind], times: list[float], draw: random.Random) -> list[Kill]:
    """Draw one kill of each kind, in the order of their updates, so that every start makes progress."""
    kills = []
    for kind in kinds:
        match kind:
            case "moment":
                moment = draw.uniform(times[0], times[-1])
                step = bisect_right(times, moment, hi=STEPS)
                kills.append(Kill(kind, step, moment - times[step - 1]))
            case "save":
                kills.append(Kill(kind, draw.randrange(STEPS - 3), file=draw.choice(SAVED)))
            case "start-up":
                kills.append(Kill(kind, draw.randrange(STEPS), draw.uniform(0, times[0])))
            case "end":
                kills.append(Kill(kind, STEPS))
    return sorted(kills, key=lambda kill: kill.step)


def wait_for(kill: Kill, run: Ranks) -> None:
    """Wait for the moment of the kill, or for the end of the run."""
    if kill.kind == "start-up":
        until = time.monotonic() + kill.delay
        run.watch(lambda: time.monotonic() > until or run.step() > 0)
        return
    run.watch(lambda: run.step() >= max(1, kill.step))
    if kill.kind == "moment":
        time.sleep(kill.delay)
    elif kill.kind == "save":
        run.watch(lambda: any((path / kill.file).exists() for path in unfinished(run, "checkpoints")), pause=0)
    else:
        run.watch(lambda: any(unfinished(run, ".")), pause=0)


def unfinished(run: Ranks, folder: str) -> Iterator[Path]:
    """Yield the temporary files and folders of this start."""
    for path in (run.folder / "run" / folder).glob(".*" if folder == "checkpoints" else ".*.tmp"):
        try:
            if path.stat().st_mtime_ns >= run.since:
                yield path
        except FileNotFoundError:
            continue  # it was renamed in the meantime


def phase_of(killed: Ranks) -> str:
    """Return what a killed run was doing, from its files."""
    checkpoints = killed.folder / "run/checkpoints"
    for path in unfinished(killed, "checkpoints"):
        begun = [name for name in SAVED[1:] if (path / name).exists()]
        return f"save, after {begun[-1] if begun else 'no file'}"
    if killed.step() == 0:
        return "start-up"
    if any(unfinished(killed, ".")):
        return "while the model folder was written"
    finished = sorted(checkpoints.glob("[!.]*"))
    if any(find_damage(path) for path in finished):
        return "while an old checkpoint was removed"
    if killed.step() == STEPS and any(path.name.startswith("final") for path in finished):
        return "after the last checkpoint"
    return "between two checkpoints" if finished else "before the first checkpoint"


def make_tables(result: dict[str, Any]) -> Tables:
    """Return the counts for each number of ranks."""
    headings = ["ranks", "runs", "starts", "kills", "kills inside a save", "files, lines or TensorBoard values that "
                "differ"]  # fmt: skip
    rows = [
        [ranks, *(own[key] for key in ("runs", "starts", "kills", "inside_a_save")), f"**{len(own['differences'])}**"]
        for ranks, own in result["ranks"].items()
    ]
    return {"faults": [table(headings, rows)]}


if __name__ == "__main__":
    run_command(main)
