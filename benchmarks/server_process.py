"""Start the translation server as a process of its own."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from benchmarks.runner import ROOT
from common.errors import InputError


@dataclass
class Server:
    """A running server. `log` has its lines on standard error so far."""

    process: subprocess.Popen[str]
    url: str
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.log.extend(self.process.stderr)

    @property
    def port(self) -> int:
        """Port of the server."""
        return int(self.url.rpartition(":")[2])

    def wait(self, seconds: float) -> int:
        """Return the exit status when the server has ended, and its log is complete."""
        status = self.process.wait(seconds)
        self._reader.join(seconds)
        return status


@contextmanager
def running_server(*options: str, threads: int = 1) -> Iterator[Server]:
    """Start `python -m transformer.serve` on a free port; kill it at the end. Raises InputError if that fails."""
    command = [sys.executable, "-m", "transformer.serve", "--port", "0", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            line = next((line for line in process.stderr if line.startswith("http")), None)
            if line is None:
                raise InputError(f"the server ended with status {process.wait()}")
            yield Server(process, line.split()[0])
        finally:
            process.kill()
