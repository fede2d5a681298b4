"""Requests that arrive together are computed together, by one thread."""

import asyncio
import math
import time
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, NoReturn, TypeVar

from serve.errors import ApiError
from serve.limits import Limits

Job = TypeVar("Job")
Result = TypeVar("Result")
WAIT = 0.005
"""Seconds for which the first request waits for others while nothing is computed."""


class Batcher(Generic[Job, Result]):
    """Computes jobs in batches. While a batch is computed, the next one collects.

    A batch begins with the job that has waited longest, so no job waits for later ones without end.
    """

    def __init__(
        self,
        compute: Callable[[list[Job]], list[Result]],
        kind: Callable[[Job], Hashable],
        size: Callable[[Job], int],
        limits: Limits,
        count: Callable[[int], object] = lambda jobs: None,
    ) -> None:
        """Create a batcher; `run` must run in the event loop.

        Args:
            compute: returns the result of each job of a batch. It runs in a thread of its own.
            kind: only jobs of equal kind are computed together.
            size: number of characters of a job; `limits.characters` is that of a batch of several jobs.
            count: called with the number of jobs of each batch.
        """
        self._compute = compute
        self._kind = kind
        self._size = size
        self._limits = limits
        self._count = count
        self._waiting: list[tuple[Job, asyncio.Future[Result]]] = []
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "translate")
        self._seconds = 0.0

    @property
    def waiting(self) -> int:
        """Number of jobs that wait."""
        self._drop_cancelled()
        return len(self._waiting)

    async def submit(self, job: Job, continued: bool = False) -> Result:
        """Return the result of a job. Raises ApiError if too many jobs wait, or if it takes too long.

        A job that continues a request, whose first part is computed, waits also if too many jobs wait.
        """
        if self.waiting >= self._limits.queue and not continued:
            raise ApiError(429, "Slowdown: too many requests are waiting", max(1, math.ceil(self._seconds)))
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((job, future))
        self._arrived.set()
        try:
            async with asyncio.timeout(self._limits.seconds):
                return await future
        except TimeoutError:
            message = f"The translation took more than {self._limits.seconds:g} seconds"
            raise ApiError(503, message, max(1, math.ceil(self._seconds))) from None

    async def run(self) -> NoReturn:
        """Compute what is submitted, until the task is cancelled."""
        while True:
            if not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
                if self._limits.batch > 1:
                    await asyncio.sleep(WAIT)
            started = time.monotonic()
            batch = self._take()
            if batch:
                self._count(len(batch))
                await self._finish(batch)
            self._seconds = time.monotonic() - started

    def _drop_cancelled(self) -> None:
        self._waiting = [item for item in self._waiting if not item[1].done()]

    def _take(self) -> list[tuple[Job, asyncio.Future[Result]]]:
        """Return the next batch; jobs that do not belong to it stay."""
        self._drop_cancelled()
        batch: list[tuple[Job, asyncio.Future[Result]]] = []
        rest, size = [], 0
        for item in self._waiting:
            size += self._size(item[0])
            fits = len(batch) < self._limits.batch and size <= self._limits.characters
            if not batch or (fits and self._kind(item[0]) == self._kind(batch[0][0])):
                batch.append(item)
            else:
                size -= self._size(item[0])
                rest.append(item)
        self._waiting = rest
        return batch

    async def _finish(self, batch: list[tuple[Job, asyncio.Future[Result]]]) -> None:
        """Give each job of a batch its result. If the batch fails, each job is computed alone."""
        jobs = [job for job, _ in batch]
        try:
            results = await asyncio.get_running_loop().run_in_executor(self._thread, self._compute, jobs)
        except Exception as error:
            if len(batch) > 1:
                for item in batch:
                    await self._finish([item])
            else:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
            return
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)
