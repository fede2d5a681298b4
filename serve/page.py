"""The page at `/`: files that are read once, their content security policy, and the routes behind them."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from common.page import STYLE, policy_hash
from evaluate.explain import page as explanation
from serve.connected import while_connected
from serve.fields import read_fields
from serve.service import Service
from serve.spec import ERRORS, EXPLAIN, SENTENCES

FOLDER = Path(__file__).with_name("static")
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
PATHS = {"/": "index.html", "/page.css": "page.css", "/page.js": "page.js", "/icon.svg": "icon.svg"}
"""Files by the path of their route."""


def policy() -> str:
    """Return the content security policy of the page.

    The view of an explanation is a frame, whose document has the policy of the page, too. So the policy also allows
    style and script of that document, by their hashes.
    """
    style, script = (file.read_text(encoding="utf-8") for file in (explanation.STYLE, explanation.SCRIPT))
    style = STYLE.read_text(encoding="utf-8") + style
    return "; ".join(
        [
            "default-src 'none'",
            f"style-src 'self' '{policy_hash(style)}'",
            f"script-src 'self' '{policy_hash(script)}'",
            "img-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


def add_page(app: FastAPI, service: Service) -> None:
    """Add the page and the routes that only the page needs."""
    headers = {"Content-Security-Policy": policy(), "Referrer-Policy": "no-referrer"}
    for path, name in PATHS.items():
        content = (FOLDER / name).read_bytes()
        if name.endswith(".css"):
            content = STYLE.read_bytes() + content
        app.get(path, include_in_schema=False)(_file(content, KINDS[Path(name).suffix], headers))

    @app.post("/sentences", responses=ERRORS, openapi_extra=SENTENCES)
    async def sentences(request: Request) -> Response:
        """Translate a text, and return the translations of each sentence with their scores."""
        fields = await read_fields(request, service.limits.body)
        service.check_key(fields)
        return JSONResponse(await while_connected(request, service.sentences(fields)))

    @app.post("/explain", responses=ERRORS, openapi_extra=EXPLAIN)
    async def explain(request: Request) -> Response:
        """Return a page that shows how the model translates a sentence: attention, probabilities and search."""
        fields = await read_fields(request, service.limits.body)
        service.check_key(fields)
        page = await while_connected(request, service.explain(fields))
        return Response(page, media_type="text/html")


def _file(content: bytes, kind: str, headers: dict[str, str]) -> Callable[[], Awaitable[Response]]:
    async def answer() -> Response:
        return Response(content, media_type=kind, headers=headers)

    return answer
