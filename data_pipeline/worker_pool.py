"""Work on a large corpus in several processes."""

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from multiprocessing.pool import Pool
from typing import Any, Generic, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")
POOL_FROM = 200_000
"""Number of sentence pairs from which several processes are faster than one."""


def map_in_order(
    function: Callable[[Task], Result], tasks: Iterable[Task], pairs: int, processes: int
) -> Iterator[Result]:
    """Yield `function(task)` of each task, in their order. If there are many `pairs`, several processes compute them.

    Function, tasks and results are pickled then.
    """
    if processes == 1 or pairs < POOL_FROM:
        yield from map(function, tasks)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap(function, tasks)


class Workers(Generic[Task, Result]):
    """Processes that compute the same function again and again. They start with the first task and end with this one.

    Args:
        function: pickled once for each process; its state stays there from task to task.
        processes: with 1, the calling thread computes.
    """

    def __init__(self, function: Callable[[Task], Result], processes: int) -> None:
        self._function, self._processes = function, processes

    def map(self, tasks: Iterable[Task]) -> Iterator[Result]:
        """Yield `function(task)` of each task, in their order."""
        return map(self._function, tasks) if self._processes <= 1 else self._pool.imap(_call, tasks)

    @cached_property
    def _pool(self) -> Pool:
        return multiprocessing.get_context("spawn").Pool(self._processes, _set_function, (self._function,))


_function: Callable[[Any], Any]
"""The function of this worker process."""


def _set_function(function: Callable[[Any], Any]) -> None:
    global _function
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the one that started this decides
    _function = function


def _call(task: Any) -> Any:
    return _function(task)
