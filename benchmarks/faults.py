"""Whether a run that is killed again and again ends as if nothing had happened.

    python benchmarks/faults.py --kills 30

For each of 1, 2 and 3 processes: a run that nothing disturbs, then runs whose processes are all killed (SIGKILL) at
moments that a seed draws, each followed by the same command, until it finishes. At the end the run folder must be byte
for byte that of the undisturbed run, and TensorBoard must show each value once.

Of ten kills, four fall at a moment that is uniform between the first update and the end; three fall inside a save, as
soon as a drawn file of the temporary folder is there; two fall in the start-up, and one while the model folder is
written. What each of them really hit is read from the disk afterwards. Writes benchmarks/results/faults.json; ends
with status 1 where anything differs.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Literal

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.launching import (
    SETTINGS,
    STEPS,
    Ranks,
    Start,
    differences,
    run_to_end,
    start_command,
    write_corpus,
)
from benchmarks.machine import describe_machine, write_result
from common.command import run_command
from common.errors import InputError
from train.run.checkpoints import find_damage

WORLDS = (1, 2, 3)
KILLS_OF_A_RUN = 5
Kind = Literal["moment", "save", "start-up", "end"]
KINDS: tuple[Kind, ...] = (
    *("moment", "save", "moment", "save", "start-up"),
    *("moment", "save", "moment", "start-up", "end"),
)
SAVED = ("", "model.safetensors", "optimizer.safetensors", "metrics.jsonl", "progress.json", "manifest.json")
"""What there is of a checkpoint, in this order, while it is written; first the empty folder."""


@dataclass(frozen=True)
class Kill:
    """When to kill: after update `step` is logged and then `delay` seconds, or when `file` is there."""

    kind: Kind
    step: int
    delay: float = 0.0
    file: str = ""


@dataclass
class Outcome:
    """What became of the runs with one number of ranks."""

    runs: int = 0
    starts: int = 0
    missed: int = 0
    """Kills that came too late: the run had ended."""
    phases: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        """That hit."""
        return self.phases.total()

    @property
    def inside_a_save(self) -> int:
        """Kills after which the temporary folder was still there."""
        return sum(count for phase, count in self.phases.items() if phase.startswith("save"))


def main() -> None:
    """Read the command line, kill, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30, help="over all numbers of processes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="work in this new folder and leave it there")
    args = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-") as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=args.folder is None)
        write_corpus(folder)
        outcomes = {ranks: campaign(folder, ranks, -(-args.kills // len(WORLDS)), args.seed) for ranks in WORLDS}
    write_result("faults", summary(outcomes, args.seed) | {"seconds": round(time.monotonic() - started)})
    print(table(outcomes))
    if any(outcome.differences for outcome in outcomes.values()):
        sys.exit(1)


def campaign(folder: Path, ranks: int, kills: int, seed: int, start: Start = start_command) -> Outcome:
    """Runs with this many ranks, until `kills` kills have hit; `folder` holds the corpus."""
    undisturbed = folder / f"{ranks}-undisturbed"
    timeline = read_timeline(run_to_end(start, undisturbed, ranks))
    draw, outcome = random.Random(f"{seed} {ranks}"), Outcome()
    kinds = cycle(KINDS)
    while outcome.kills < kills:
        if outcome.missed > kills:
            raise InputError(f"{outcome.missed} kills came too late with {ranks} ranks, this machine is too uneven")
        some = list(islice(kinds, min(KILLS_OF_A_RUN, kills - outcome.kills)))
        case = folder / f"{ranks}-killed-{outcome.runs}"
        disturbed_run(case, ranks, draw_kills(some, timeline, draw), outcome, start)
        outcome.differences += [f"{case.name}: {text}" for text in differences(case / "run", undisturbed / "run")]
    return outcome


def disturbed_run(folder: Path, ranks: int, kills: list[Kill], outcome: Outcome, start: Start) -> None:
    """Start, kill, start again, as often as `kills` are planned; then once more, to the end."""
    folder.mkdir()
    outcome.runs += 1
    for kill in kills:
        started = start(SETTINGS, folder, ranks)
        outcome.starts += 1
        try:
            wait_for(kill, started)
            hit = started.running()
        finally:
            started.kill()
        if not hit and started.wait():
            raise InputError(f"a start in {folder.name} failed by itself and said: {started.said()}")
        phase = phase_of(started) if hit else None
        outcome.missed += phase is None
        outcome.phases.update([phase] if phase else [])
        print(f"{folder.name}: {kill.kind} kill: {phase or 'too late, the run had ended'}", flush=True)
    last = run_to_end(start, folder, ranks)
    outcome.starts += 1
    if "damaged checkpoints ignored" in last.said():
        outcome.differences.append(f"{folder.name}: a kill left a damaged checkpoint behind")


@dataclass(frozen=True)
class Timeline:
    """Seconds of the undisturbed run: of its start-up, and from its start until each update was logged, and its end."""

    logged: dict[int, float]
    end: float


def read_timeline(finished: Ranks) -> Timeline:
    """From the run folder of a start that went to the end."""
    run, since = finished.folder / "run", finished.since / 1e9
    lines = map(json.loads, (run / "timing.jsonl").read_text().splitlines())
    logged = {line["step"]: line["time"] - since for line in lines if "seconds_per_update" in line}
    return Timeline(logged, (run / "model.safetensors").stat().st_mtime - since)


def draw_kills(kinds: list[Kind], timeline: Timeline, draw: random.Random) -> list[Kill]:
    """One of each kind, in the order of their updates, so that every start gets further."""
    kills = []
    for kind in kinds:
        if kind == "moment":
            moment = draw.uniform(timeline.logged[1], timeline.end)
            step = max(step for step, logged in timeline.logged.items() if logged <= moment)
            kills.append(Kill(kind, step, moment - timeline.logged[step]))
        elif kind == "save":
            kills.append(Kill(kind, draw.randrange(STEPS - 3), file=draw.choice(SAVED)))
        elif kind == "start-up":
            kills.append(Kill(kind, draw.randrange(STEPS), draw.uniform(0, timeline.logged[1])))
        else:
            kills.append(Kill(kind, STEPS))
    return sorted(kills, key=lambda kill: kill.step)


def wait_for(kill: Kill, started: Ranks) -> None:
    """Return at the moment of the kill, or when the run has ended or failed."""
    if kill.kind == "start-up":
        until = time.monotonic() + kill.delay
        started.watch(lambda: time.monotonic() > until or started.step() > 0)
        return
    started.watch(lambda: started.step() >= max(1, kill.step))
    if kill.kind == "moment":
        time.sleep(kill.delay)
    elif kill.kind == "save":
        started.watch(lambda: any((path / kill.file).exists() for path in unfinished(started, "checkpoints")), pause=0)
    else:
        started.watch(lambda: any(unfinished(started, ".")), pause=0)


def unfinished(started: Ranks, folder: str) -> Iterator[Path]:
    """Temporary files or folders of this start."""
    for path in (started.folder / "run" / folder).glob(".*" if folder == "checkpoints" else ".*.tmp"):
        try:
            if path.stat().st_mtime_ns >= started.since:
                yield path
        except FileNotFoundError:
            continue  # renamed meanwhile


def phase_of(killed: Ranks) -> str:
    """What a start was doing when it was killed, from what is on the disk."""
    checkpoints = killed.folder / "run/checkpoints"
    for path in unfinished(killed, "checkpoints"):
        begun = [name for name in SAVED[1:] if (path / name).exists()]
        return f"save, {begun[-1] if begun else 'nothing'} there"
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


def summary(outcomes: dict[int, Outcome], seed: int) -> dict[str, Any]:
    """The result as JSON."""
    return {
        "machine": describe_machine(),
        "seed": seed,
        "settings": list(SETTINGS),
        "kills": sum(outcome.kills for outcome in outcomes.values()),
        "inside_a_save": sum(outcome.inside_a_save for outcome in outcomes.values()),
        "differences": sum(len(outcome.differences) for outcome in outcomes.values()),
        "ranks": {
            str(ranks): {
                "runs": outcome.runs,
                "starts": outcome.starts,
                "kills": outcome.kills,
                "inside_a_save": outcome.inside_a_save,
                "phases": dict(sorted(outcome.phases.items())),
                "differences": outcome.differences,
            }
            for ranks, outcome in outcomes.items()
        },
    }


def table(outcomes: dict[int, Outcome]) -> str:
    """For the terminal."""
    lines = ["ranks  runs  starts  kills  inside a save  differences"]
    for ranks, outcome in outcomes.items():
        counts = f"{outcome.runs:>4}  {outcome.starts:>6}  {outcome.kills:>5}  {outcome.inside_a_save:>13}"
        lines.append(f"{ranks:>5}  {counts}  {len(outcome.differences):>11}")
        lines += [f"       {text}" for text in outcome.differences]
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main)
