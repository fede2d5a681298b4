"""Progress of a sweep: a table that is redrawn on a terminal, and otherwise one line per change."""

import shutil
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self, TextIO

from train.experiments import Experiment, Sweep

SECONDS = 2.0
"""Time between two redraws."""


class Progress:
    """Shows the states of the experiments."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._sweep: Sweep | None = None
        self._shown: dict[str, str] = {}
        self._height = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._redraw, daemon=True)

    def __enter__(self) -> Self:
        if self._terminal:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        if self._terminal:
            self._thread.join()
            self._draw()

    def show(self, sweep: Sweep) -> None:
        """Show the current states."""
        self._sweep = sweep
        if self._terminal:
            self._draw()
            return
        with self._lock:
            for one in sweep.experiments:
                state = sweep.states[one.name]
                if state != self._shown.get(one.name, "waiting"):
                    print(f"{one.name}: {describe(one, state)}", file=self._stream, flush=True)
            self._shown = dict(sweep.states)

    def _redraw(self) -> None:
        while not self._ended.wait(SECONDS):
            self._draw()

    def _draw(self) -> None:
        with self._lock:
            if self._sweep is None:
                return
            width, height = shutil.get_terminal_size()
            lines = [line[: width - 1] for line in table(self._sweep.experiments, self._sweep.states)]
            lines = lines[: height - 1]
            up = f"\x1b[{self._height}A" if self._height else ""
            self._stream.write(up + "".join(f"\x1b[2K{line}\n" for line in lines))
            self._stream.flush()
            self._height = len(lines)


def table(experiments: Sequence[Experiment], states: Mapping[str, str]) -> list[str]:
    """Return a line per row, with a column per seed."""
    seeds = sorted({one.seed for one in experiments})
    cells = {(one.row, one.seed): describe(one, states[one.name]) for one in experiments}
    rows = list(dict.fromkeys(one.row for one in experiments))
    wide = max(map(len, rows))
    heading = f"{'row':{wide}}  " + "  ".join(f"{f'seed {seed}':16}" for seed in seeds)
    return [heading] + [f"{row:{wide}}  " + "  ".join(f"{cells[row, seed]:16}" for seed in seeds) for row in rows]


def describe(one: Experiment, state: str) -> str:
    """Return the state of an experiment with what is known: BLEU, or the share of the updates."""
    if state == "done" and (result := one.result()) is not None:
        return f"done, BLEU {result['bleu']:.1f}"
    return f"training, {one.progress():.0%}" if state == "training" else state
