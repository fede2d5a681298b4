"""Work is given up if the client leaves."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from fastapi import Request

from serve.api import create_app
from serve.connected import while_connected
from serve.errors import ApiError
from serve.service import Service
from tests.serve.small_service import make_service


async def work(done: list[str], event: asyncio.Event) -> str:
    await event.wait()
    done.append("done")
    return "answer"


def test_while_connected_returns_answer_or_cancels_work() -> None:
    async def test() -> None:
        left, finished, done = asyncio.Event(), asyncio.Event(), []  # type: ignore[var-annotated]

        async def receive() -> dict[str, str]:
            await left.wait()
            return {"type": "http.disconnect"}

        request = Request({"type": "http"}, receive)  # type: ignore[arg-type]
        waiting = asyncio.create_task(while_connected(request, work(done, finished)))
        await asyncio.sleep(0)
        left.set()
        with pytest.raises(ApiError, match="has left"):
            await waiting
        finished.set()
        left.clear()
        assert await while_connected(request, work(done, finished)) == "answer"
        assert done == ["done"]

    asyncio.run(test())


def test_translation_is_cancelled_if_client_leaves(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled = []

    async def translate(self: Service, fields: Any) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(fields["q"])
            raise

    monkeypatch.setattr(Service, "translate", translate)
    app = create_app(make_service(folder), "1")
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": b"q=x"}, {"type": "http.disconnect"}]
    headers = [(b"content-type", b"application/x-www-form-urlencoded")]
    scope = {"type": "http", "method": "POST", "path": "/translate", "query_string": b"", "headers": headers}

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: Any) -> None:
        """Drop the answer, which nobody reads."""

    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    assert cancelled == ["x"]
