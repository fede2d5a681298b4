"""Stop requests: signals and the time limit. A run finishes the current update, saves, and ends."""

import math
import signal
import threading
import time
import types
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal

from common.notes import print_note

Reason = Literal["signal", "time"]
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class StopRequest:
    """Collects stop requests of this process while its `with` block runs. Then the old signal handlers return.

    SIGINT, SIGTERM and SIGHUP request a stop, and so does the time limit. A second SIGINT raises KeyboardInterrupt. In
    a thread that is not the main one, only the time limit does: Python allows signal handlers in the main thread only.

    Args:
        until: time limit, as a value of `time.monotonic()`.
    """

    def __init__(self, until: float = math.inf) -> None:
        self.until = until
        self.number: int | None = None
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def asked(self) -> tuple[bool, bool]:
        """Return whether this process received a signal, and whether its time is over. `agreed` combines the ranks."""
        return self.number is not None, time.monotonic() > self.until

    @staticmethod
    def agreed(requests: Sequence[float]) -> Reason | None:
        """Return why all ranks stop, or None if they continue.

        `requests` are the results of `asked`, summed over ranks: all ranks make the same decision.
        """
        signals, overdue = requests
        if signals > 0:
            return "signal"
        return "time" if overdue > 0 else None

    def _handle(self, number: int, frame: types.FrameType | None) -> None:
        if self.number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number
        with suppress(RuntimeError):  # if the signal interrupted a write to standard error
            print_note("Stopping after this update. Press Ctrl-C again to stop at once without saving.")
