"""Work on a large corpus in several processes."""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cached_property
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any, Generic, TypeVar

from common.errors import InputError

Task = TypeVar("Task")
Result = TypeVar("Result")
POOL_FROM = 200_000
"""Number of sentence pairs from which several processes are faster than one."""


def is_large(pairs: int) -> bool:
    """Return True if several processes are faster than one for a corpus of this size."""
    return pairs >= POOL_FROM


def map_in_order(
    function: Callable[[Task], Result], tasks: Iterable[Task], pairs: int, processes: int
) -> Iterator[Result]:
    """Yield `function(task)` of each task, in their order. If there are many `pairs`, several processes compute them.

    Function, tasks and results are pickled then. Raises as `Workers.map`.
    """
    workers = Workers(function, processes if is_large(pairs) else 1)
    try:
        yield from workers.map(tasks)
    finally:
        workers.close()


class Workers(Generic[Task, Result]):
    """Processes that compute the same function again and again. They start with the first task and end with this one.

    Args:
        function: pickled once for each process; its state stays there from task to task.
        processes: with 1, the calling thread computes.
    """

    def __init__(self, function: Callable[[Task], Result], processes: int) -> None:
        self._function, self._processes = function, processes

    def map(self, tasks: Iterable[Task]) -> Iterator[Result]:
        """Yield `function(task)` of each task, in their order. Results that nobody has taken yet are few.

        Raises InputError if one of the processes was ended, and what `function` raises.
        """
        if self._processes <= 1:
            yield from map(self._function, tasks)
            return
        waiting: deque[Future[Result]] = deque()
        pool = self._pool  # made first: `multiprocessing` lets interrupts through when it starts its own process
        try:
            for task in tasks:
                with _without_interrupts():  # a process that is started now inherits this
                    waiting.append(pool.submit(_call, task))
                if len(waiting) > 2 * self._processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise InputError(
                "a process that works on the data was ended from outside, perhaps because the memory was full. "
                "Run the same command again; --threads 1 (prepare) or fewer cores need less memory"
            ) from error

    def close(self) -> None:
        """End the processes at once."""
        if "_pool" in vars(self):
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._open_end.close()

    @cached_property
    def _pool(self) -> ProcessPoolExecutor:
        # If this process is killed, Python's resource tracker cleans up, and warns of what it does.
        os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")
        context = multiprocessing.get_context("spawn")
        watched, self._open_end = context.Pipe(duplex=False)
        return ProcessPoolExecutor(self._processes, context, _start, (self._function, watched))


_function: Callable[[Any], Any]
"""The function of this worker process."""


def _start(function: Callable[[Any], Any], watched: Connection) -> None:
    global _function
    Thread(target=_end_with, args=(watched,), daemon=True).start()
    _function = function


def _end_with(watched: Connection) -> None:
    """End this process when the other end of a pipe is closed, or the process that has it ends, however it ends."""
    watched.poll(None)
    os._exit(1)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Let SIGINT wait. Ctrl-C reaches all processes; the one that started the others decides."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _call(task: Any) -> Any:
    return _function(task)
