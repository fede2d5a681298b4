"""Progress on standard error: a line that is drawn again and again on a terminal, or a line per minute in a file.

The line has no colours, so `NO_COLOR` changes nothing. A terminal that cannot go back to the start of a line
(`TERM=dumb`) gets the lines of a file.
"""

import os
import stat
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from tqdm import tqdm

from common.notes import print_note

LINE_EVERY = 60.0
"""Seconds between two lines in a file or a pipe."""
BAR = range(10, 41)
"""Width of the bar in characters: a line without space for the smallest bar has none."""


def shows_live_line() -> bool:
    """Return True if standard error is a terminal that can draw a line again, or a notebook."""
    if "ipykernel" in sys.modules:
        return True
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def shows_progress_to(output: Path | None) -> bool:
    """Return True if a command with this output shows its progress: not between results on a terminal or in a pipe.

    `output` None is standard output.
    """
    if not shows_live_line():
        return False
    return output is not None or (sys.stdout is sys.__stdout__ and stat.S_ISREG(os.fstat(1).st_mode))


class LiveLine(tqdm):
    """The line on a terminal: what is done, a bar, the share, the speed, and the time left, as far as they fit."""

    speed, left = "", ""
    """Texts that `set` gives; "" shows nothing."""

    def __init__(self, what: str, total: int | None, done: int = 0, delay: float = 0) -> None:
        """Draw the line after `delay` seconds. It is removed at the end."""
        super().__init__(
            desc=what, total=total, initial=done, delay=delay, leave=False, dynamic_ncols=True, file=sys.stderr
        )

    def set(self, done: int, speed: str, left: str) -> None:
        """Set what is done and both texts. The line is drawn at most ten times per second."""
        self.speed, self.left = speed, left
        self.update(done - self.n)

    @property
    def format_dict(self) -> dict[str, Any]:
        """Return tqdm's values, with a format that fits the width of the terminal."""
        values: dict[str, Any] = super().format_dict
        columns = (values["ncols"] or 80) - 1  # a full line would begin the next one on some terminals
        return values | {"bar_format": line_format(self.desc, self.n, self.total, self.speed, self.left, columns)}


def line_format(what: str, done: int, total: int | None, speed: str, left: str, columns: int) -> str:
    """Return tqdm's format of a line that fits in `columns`: the most important values remain in a narrow terminal."""
    if not total:
        return _escape(_first_fitting([f"{what} {done:,} | {speed}" if speed else f"{what} {done:,}", what], columns))
    share, head, tail = f"{done / total:4.0%}", f"{what} {done:,}/{total:,}", f" | {left}" if left else ""
    middle = f" | {speed}" if speed else ""
    for begin, end in ((head, f"{share}{middle}{tail}"), (head, f"{share}{tail}")):
        width = columns - len(begin) - len(end) - len(" || ")
        if width in BAR or width > max(BAR):
            return f"{_escape(begin)} |{{bar:{min(width, max(BAR))}}}| {_escape(end)}"
    share = share.strip()
    return _escape(_first_fitting([f"{head} {share}{tail}", f"{share} {left}".strip(), share], columns))


def clock(seconds: float) -> str:
    """Return a time such as 2h05m or 3m20s."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{int(seconds):02}s"


class ProgressBar:
    """Counts what is done and shows it: the live line on a terminal, a line per minute otherwise.

    Args:
        what: what is done, such as "filtering".
        total: number of `unit`; None if it is not known.
        show: False shows nothing.
        delay: seconds before the line on a terminal is drawn, so that short work shows none.
    """

    def __init__(self, what: str, total: int | None, unit: str, *, show: bool = True, delay: float = 0) -> None:
        self.what, self.total, self.unit, self.done = what, total, unit, 0
        self._started = self._printed = time.monotonic()
        self._live = LiveLine(what, total, delay=delay) if show and shows_live_line() else None
        self._prints = show and self._live is None

    def update(self, number: int) -> None:
        """Count `number` more."""
        self.done += number if self.total is None else min(number, self.total - self.done)
        now = time.monotonic()
        speed, left = self._rates(now - self._started)
        if self._live is not None:
            self._live.set(self.done, speed, left)
        elif self._prints and now - self._printed >= LINE_EVERY:
            self._printed = now
            of_total = (
                f" of {self.total:,} {self.unit}, {self.done / self.total:.0%}" if self.total else f" {self.unit}"
            )
            print_note(", ".join(filter(None, (f"{self.what}: {self.done:,}{of_total}", speed, left))))

    def _rates(self, seconds: float) -> tuple[str, str]:
        """Return the speed and the time left as texts; "" if they are not known."""
        if not self.done or seconds <= 0:
            return "", ""
        left = (
            "" if self.total in (None, self.done) else f"{clock((self.total - self.done) * seconds / self.done)} left"
        )
        return f"{self.done / seconds:,.0f} {self.unit}/s", left

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.close()


def _first_fitting(texts: list[str], columns: int) -> str:
    return next((text for text in texts if len(text) <= columns), "")


def _escape(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
