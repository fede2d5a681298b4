"""Give up work whose client has left."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from fastapi import Request

from serve.errors import ApiError

Answer = TypeVar("Answer")
CLIENT_LEFT = 499
"""Status for the log; the client does not get it."""


async def while_connected(request: Request, work: Coroutine[None, None, Answer]) -> Answer:
    """Return the result of the work, which is cancelled if the client closes the connection.

    The body of the request must have been read. Raises ApiError if the client has left.
    """
    working, leaving = asyncio.create_task(work), asyncio.create_task(_wait_until_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ApiError(CLIENT_LEFT, "The client has left")
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _wait_until_left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
