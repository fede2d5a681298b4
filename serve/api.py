"""The routes of the server."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from common.errors import InputError
from serve.api_page import describe_api
from serve.connected import CLIENT_LEFT, while_connected
from serve.documents import FileStore
from serve.errors import ApiError
from serve.fields import read_fields
from serve.file_routes import add_file_routes
from serve.metrics import METRICS_TYPE, Metrics
from serve.page import add_page
from serve.service import Service
from serve.spec import DESCRIPTION, DETECT, DETECT_QUERY, ERRORS, TRANSLATE, TRANSLATE_QUERY

log = logging.getLogger(__name__)
HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


def create_app(service: Service, version: str, origins: Sequence[str] = ()) -> FastAPI:
    """Return the server as an ASGI application. Pages of `origins`, such as https://example.org, may use it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(batcher.run()) for batcher in (service.batcher, service.explainer)]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    app = FastAPI(
        title="paper-transformer", version=version, description=DESCRIPTION, lifespan=lifespan,
        openapi_url="/openapi.json", docs_url=None, redoc_url=None, redirect_slashes=False,
    )  # fmt: skip
    app.add_middleware(CORSMiddleware, allow_origins=origins, allow_methods=["GET", "POST"], allow_headers=["*"])
    app.middleware("http")(partial(_answer_always, service.metrics))
    app.exception_handler(ApiError)(_api_error)
    app.exception_handler(InputError)(_input_error)
    app.exception_handler(HTTPException)(_http_error)
    _add_routes(app, service)
    add_file_routes(app, service, FileStore())
    add_page(app, service)
    return app


def _add_routes(app: FastAPI, service: Service) -> None:
    async def translate(request: Request) -> Response:
        """Translate a text or a list of texts."""
        fields = await read_fields(request, service.limits.body)
        service.check_key(fields)
        return JSONResponse(await while_connected(request, service.translate(fields)))

    async def detect(request: Request) -> Response:
        """Tell which of the languages of the server a text is in."""
        fields = await read_fields(request, service.limits.body)
        service.check_key(fields)
        return JSONResponse(service.detect(fields))

    for path, answer, body, query in (
        ("/translate", translate, TRANSLATE, TRANSLATE_QUERY),
        ("/detect", detect, DETECT, DETECT_QUERY),
    ):
        app.post(path, responses=ERRORS, openapi_extra=body)(answer)
        app.get(path, responses=ERRORS, openapi_extra=query)(answer)

    @app.get("/languages")
    async def languages() -> Response:
        """List the languages of the server, and to which ones each is translated."""
        return JSONResponse(service.languages())

    @app.get("/frontend/settings")
    async def settings() -> Response:
        """Return the limits of the server and its first direction."""
        return JSONResponse(service.settings())

    @app.get("/health")
    async def health() -> Response:
        """Return `ok` while the server runs."""
        return JSONResponse({"status": "ok"})

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=METRICS_TYPE)

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        page = describe_api(app.openapi(), str(request.base_url).rstrip("/"))
        return Response(page, media_type="text/html", headers={"Content-Security-Policy": "frame-ancestors 'none'"})

    @app.get("/spec", include_in_schema=False)
    async def spec() -> Response:
        return JSONResponse(app.openapi())


async def _answer_always(
    metrics: Metrics, request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    """Answer also after an unexpected exception; log and count the answer without the text of the client."""
    started = time.monotonic()
    try:
        response = await call_next(request)
    except ClientDisconnect:
        response = error_response(CLIENT_LEFT, "The client has left")
    except Exception as error:
        log.error("%s while a request was answered", type(error).__name__, exc_info=True)
        response = error_response(500, "The server could not answer this request")
    response.headers.update(HEADERS)
    route = getattr(request.scope.get("route"), "path", "(other path)")
    seconds = time.monotonic() - started
    log.info("%s %s %d, %.0f ms", _method(request), route, response.status_code, 1000 * seconds)
    metrics.count_request(route, response.status_code, seconds)
    return response


def _method(request: Request) -> str:
    return request.method if request.method in ("GET", "POST", "HEAD", "OPTIONS") else "(other method)"


async def _api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error_response(error.status, str(error), error.retry_after)


async def _input_error(_: Request, error: Exception) -> Response:
    return error_response(400, f"Invalid request: {error}")


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = error_response(error.status_code, str(error.detail))
    response.headers.update(error.headers or {})
    if error.status_code == 405:  # Starlette names only the methods of the first route of this path
        routes = (route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE)
        response.headers["Allow"] = ", ".join(sorted({method for route in routes for method in route.methods}))
    return response


def error_response(status: int, message: str, retry_after: int | None = None) -> Response:
    """Return an error as LibreTranslate writes it."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return JSONResponse({"error": message}, status, headers)
