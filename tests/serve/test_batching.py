"""Jobs that arrive together are computed together, within the limits."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from serve.batching import Batcher
from serve.errors import ApiError
from serve.limits import Limits

Words = Batcher[str, str]


class Computer:
    """Answers words in upper case and records the batches. A word that begins with ! fails."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.may_answer = threading.Event()
        self.may_answer.set()

    def __call__(self, words: list[str]) -> list[str]:
        self.batches.append(words)
        assert self.may_answer.wait(10)
        if any(word.startswith("!") for word in words):
            raise ValueError(words)
        return [word.upper() for word in words]


def run(computer: Computer, limits: Limits, test: Callable[[Words], Awaitable[None]]) -> None:
    """Run a test with a batcher; words are of one kind if they begin with the same letter."""

    async def main() -> None:
        batcher = Batcher(computer, lambda word: word[0], len, limits)
        task = asyncio.create_task(batcher.run())
        await test(batcher)
        task.cancel()

    asyncio.run(main())


def test_batcher_computes_jobs_of_one_kind_together_and_answers_each() -> None:
    computer = Computer()

    async def test(batcher: Words) -> None:
        assert await asyncio.gather(*map(batcher.submit, ["a1", "b1", "a2", "b2"])) == ["A1", "B1", "A2", "B2"]

    run(computer, Limits(), test)
    assert computer.batches == [["a1", "a2"], ["b1", "b2"]]


@pytest.mark.parametrize("limits", [Limits(batch=2), Limits(characters=5)])
def test_batcher_limits_jobs_and_characters_of_a_batch(limits: Limits) -> None:
    computer = Computer()

    async def test(batcher: Words) -> None:
        await asyncio.gather(*map(batcher.submit, ["a1", "a2", "a3", "a-long-word"]))

    run(computer, limits, test)
    if limits.batch == 2:
        assert computer.batches == [["a1", "a2"], ["a3", "a-long-word"]]
    else:
        assert computer.batches == [["a1", "a2"], ["a3"], ["a-long-word"]]


def test_batcher_collects_next_batch_while_it_computes() -> None:
    computer = Computer()
    computer.may_answer.clear()

    async def test(batcher: Words) -> None:
        first = asyncio.create_task(batcher.submit("a1"))
        while not computer.batches:
            await asyncio.sleep(0.001)
        rest = [asyncio.create_task(batcher.submit(word)) for word in ("a2", "a3")]
        await asyncio.sleep(0)
        computer.may_answer.set()
        await asyncio.gather(first, *rest)

    run(computer, Limits(), test)
    assert computer.batches == [["a1"], ["a2", "a3"]]


def test_batcher_refuses_job_if_queue_is_full() -> None:
    computer = Computer()
    computer.may_answer.clear()

    async def test(batcher: Words) -> None:
        tasks = [asyncio.create_task(batcher.submit("a1"))]
        while not computer.batches:
            await asyncio.sleep(0.001)
        tasks += [asyncio.create_task(batcher.submit("a2"))]
        await asyncio.sleep(0)
        with pytest.raises(ApiError, match="too many requests") as caught:
            await batcher.submit("a3")
        computer.may_answer.set()
        assert (caught.value.status, caught.value.retry_after) == (429, 1)
        assert await asyncio.gather(*tasks) == ["A1", "A2"]

    run(computer, Limits(queue=1), test)


def test_batcher_does_not_compute_job_that_waited_too_long() -> None:
    computer = Computer()
    computer.may_answer.clear()

    async def test(batcher: Words) -> None:
        first = asyncio.create_task(batcher.submit("a1"))
        while not computer.batches:
            await asyncio.sleep(0.001)
        batcher._limits = Limits(seconds=0.05)
        with pytest.raises(ApiError, match=r"more than 0\.05 seconds") as caught:
            await batcher.submit("b1")
        assert caught.value.status == 503
        batcher._limits = Limits()
        computer.may_answer.set()
        assert await asyncio.gather(first, batcher.submit("c1")) == ["A1", "C1"]

    run(computer, Limits(), test)
    assert computer.batches == [["a1"], ["c1"]]


def test_batcher_answers_other_jobs_of_batch_that_fails() -> None:
    computer = Computer()

    async def test(batcher: Words) -> None:
        async def submit(word: str) -> str:
            try:
                return await batcher.submit(word)
            except ValueError as error:
                return str(error)

        assert await asyncio.gather(*map(submit, ["!1", "!2"])) == ["['!1']", "['!2']"]
        computer.batches.clear()
        assert await submit("a1") == "A1"

    run(computer, Limits(), test)
