"""Work on a large corpus in several processes."""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

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
