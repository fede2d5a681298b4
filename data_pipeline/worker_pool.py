"""Work on a large corpus in several processes."""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cached_property
from threading import Thread
from typing import Any, Generic, TypeVar

from common.errors import InputError

Task = TypeVar("Task")
Result = TypeVar("Result")
POOL_FROM = 200_000
"""Number of sentence pairs from which several processes are faster than one."""


def map_in_order(
    function: Callable[[Task], Result], tasks: Iterable[Task], pairs: int, processes: int
) -> Iterator[Result]:
    """Yield `function(task)` of each task, in their order. If there are many `pairs`, several processes compute them.

    Function, tasks and results are pickled then. Raises as `Workers.map`.
    """
    workers = Workers(function, processes if pairs >= POOL_FROM else 1)
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
        try:
            for task in tasks:
                waiting.append(self._pool.submit(_call, task))
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
        """End the processes after the tasks that they have begun."""
        if "_pool" in vars(self):
            self._pool.shutdown(wait=False, cancel_futures=True)

    @cached_property
    def _pool(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._processes, context, _start, (self._function,))


_function: Callable[[Any], Any]
"""The function of this worker process."""


def _start(function: Callable[[Any], Any]) -> None:
    global _function
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the one that started this decides
    Thread(target=_end_with_parent, daemon=True).start()
    _function = function


def _end_with_parent() -> None:
    """End this process when the one that started it ends, however that ends: it would wait for tasks forever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _call(task: Any) -> Any:
    return _function(task)
