"""Work on the groups of a large corpus, which several hosts share without a service that coordinates them.

The result of each group is a file in a folder that all hosts see. A process holds a lock file while it computes a
group. If it ends, however it ends, its locks are free, and another process computes these groups. A file appears by one
rename, so the next start uses all that a killed process has finished.
"""

import os
import shutil
import socket
import time
import uuid
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from common.errors import InputError
from common.files import sync
from common.notes import print_note
from data_pipeline.worker_pool import Workers

Arrays = tuple[npt.NDArray[Any], ...]
PAUSE = 0.5
"""Seconds until a process looks again for groups that it could compute."""


@dataclass(frozen=True)
class Step:
    """A function that is computed for each group of a corpus."""

    name: str
    """Part of the names of the files."""
    function: Callable[[Any], Arrays]
    """Computes a task. It is pickled for other processes of this host, as tasks and results are."""
    task: Callable[[int], Any]
    """Returns the task of a group, from the number of the group."""
    groups: int
    """Number of groups."""


@dataclass(frozen=True)
class GroupFiles:
    """Files with the results of groups."""

    folder: Path
    """All hosts that work together have the same one."""
    processes: int
    """Number of processes of this host."""
    check: Callable[[], None] = lambda: None
    """Is called before a file gets its name. Raises an exception if what was computed until then may be wrong."""

    @property
    def started(self) -> bool:
        """Return True from the first step on, until the folder is removed."""
        return self._mark.exists()

    def compute_all(self, step: Step, quiet: bool) -> Iterator[int]:
        """Compute all groups, together with other hosts. Yield the number of each.

        Raises FileNotFoundError if another process removes the folder, and as `Workers.map`.
        """
        self.folder.mkdir(exist_ok=True)
        self._mark.touch()
        missing, said = set(range(step.groups)), quiet
        while missing:
            for number in self.compute(step, sorted(missing)):
                missing.discard(number)
                yield number
            for number in sorted(missing):
                if self._file(step, number).exists():
                    missing.discard(number)
                    yield number
            if missing:
                self._mark.stat()
                if not said:
                    print_note(f"note: waiting for {self._worker(step, min(missing))}, which prepares the same data")
                    said = True
                time.sleep(PAUSE)

    def compute(self, step: Step, numbers: Iterable[int]) -> Iterator[int]:
        """Compute those of the groups that no process has computed or computes now. Yield the number of each."""
        workers: Workers[Any, Arrays] = Workers(step.function, self.processes)
        claims: deque[tuple[int, FileLock]] = deque()
        try:
            for result in workers.map(map(step.task, self._claim(step, numbers, claims))):
                number, claim = claims[0]
                self.save(self._file(step, number).name, *result)
                claims.popleft()
                claim.release()
                yield number
        finally:
            workers.close()
            for _, claim in claims:
                claim.release()

    def read(self, step: Step) -> Iterator[Arrays]:
        """Yield the results of all groups, in their order."""
        return (self.load(self._file(step, number).name) for number in range(step.groups))

    def load(self, name: str) -> Arrays:
        """Return the arrays that `save` has saved."""
        try:
            with np.load(self.folder / name) as stored:
                return tuple(stored[key] for key in stored.files)
        except (zipfile.BadZipFile, ValueError, EOFError) as error:
            raise InputError(
                f"{self.folder / name} is damaged. Delete {self.folder} and run the same command again"
            ) from error

    def save(self, name: str, *arrays: npt.NDArray[Any]) -> None:
        """Save arrays in a file."""
        with self.publish(name) as file, file.open("wb") as out:
            np.savez(out, *arrays)

    @contextmanager
    def publish(self, name: str) -> Iterator[Path]:
        """Yield the path of a new file, which gets its name when the block ends without an exception."""
        temporary = self.folder / f".{uuid.uuid4().hex[:8]}-{name}"
        try:
            yield temporary
            sync(temporary)
            self.check()
            temporary.replace(self.folder / name)
        finally:
            temporary.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the folder."""
        self._mark.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _mark(self) -> Path:
        return self.folder / "started"

    def _claim(self, step: Step, numbers: Iterable[int], claims: deque[tuple[int, FileLock]]) -> Iterator[int]:
        """Yield the groups of which this process gets the lock. Append their locks to `claims`."""
        for number in numbers:
            file = self._file(step, number)
            claim = FileLock(file.with_suffix(".lock"))
            try:
                if not file.exists():
                    claim.acquire(timeout=0)
            except Timeout:
                continue
            if file.exists() or not self.started:  # another process was faster, perhaps it has removed the folder
                claim.release()
                continue
            file.with_suffix(".txt").write_text(f"{socket.gethostname()}, process {os.getpid()}")
            claims.append((number, claim))
            yield number

    def _worker(self, step: Step, number: int) -> str:
        """Return host and process that compute a group."""
        try:
            return self._file(step, number).with_suffix(".txt").read_text()
        except OSError:
            return "another process"

    def _file(self, step: Step, number: int) -> Path:
        return self.folder / f"{step.name}-{number:06}-of-{step.groups:06}.npz"
