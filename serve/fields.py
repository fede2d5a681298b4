"""Read the fields of a request: JSON, a form, or a query string."""

import asyncio
import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.types import Message

from common.text import replace_surrogates
from serve.documents import File
from serve.errors import ApiError, invalid
from serve.limits import READ_SECONDS

MAX_FIELDS = 1000
Fields = dict[str, Any]


async def read_fields(request: Request, max_body: int) -> Fields:
    """Return the fields of the query string and of the body. A name that occurs several times gives a list.

    Raises ApiError for a body that is too large, comes too slowly or cannot be read.
    """
    fields = _collect(request.query_params.multi_items())
    body = await _read_body(request, max_body)
    kind = _kind(request)
    if not body:
        return fields
    if kind == "application/json" or kind.endswith("+json"):
        return fields | _parse_json(body)
    if kind == "application/x-www-form-urlencoded":
        return fields | _parse_form(body)
    if kind == "multipart/form-data":
        return fields | (await _parse_multipart(request, body, max_files=0))[0]
    raise invalid("the body must be JSON or a form, with the matching Content-Type")


async def read_upload(request: Request, max_body: int) -> tuple[Fields, File | None]:
    """Return the fields of a request, and the file in its field `file`. Raises as `read_fields`."""
    fields = _collect(request.query_params.multi_items())
    body = await _read_body(request, max_body)
    if _kind(request) != "multipart/form-data":
        raise invalid("a file must be sent as multipart/form-data")
    more, file = await _parse_multipart(request, body, max_files=1)
    return fields | more, file


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _read_body(request: Request, max_body: int) -> bytes:
    try:
        async with asyncio.timeout(READ_SECONDS):
            return await _read_limited(request, max_body)
    except TimeoutError:
        raise ApiError(408, f"The request was not complete after {READ_SECONDS:g} seconds") from None


async def _read_limited(request: Request, max_body: int) -> bytes:
    """Return the body. A body that is too large is refused before it is read, or when it exceeds its limit."""
    length = request.headers.get("content-length", "0")
    too_large = ApiError(413, f"Invalid request: the body has more than {max_body} bytes")
    if length.isdecimal() and int(length[:20]) > max_body:
        raise too_large
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > max_body:
            raise too_large
    return bytes(body)


def _parse_json(body: bytes) -> Fields:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ApiError(400, "Invalid JSON format")
    return {name: _clean(value) for name, value in found.items()}


def _clean(value: Any) -> Any:
    """Return a value whose text can be encoded as UTF-8."""
    if isinstance(value, list):
        return [_clean(item) if isinstance(item, str) else item for item in value]
    return replace_surrogates(value) if isinstance(value, str) else value


def _parse_form(body: bytes) -> Fields:
    try:
        return _collect(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except ValueError:
        raise invalid(f"the form has more than {MAX_FIELDS} fields") from None


async def _parse_multipart(request: Request, body: bytes, max_files: int) -> tuple[Fields, File | None]:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    form = Request(request.scope, receive).form(
        max_files=max_files, max_fields=MAX_FIELDS, max_part_size=max(1, len(body))
    )
    async with form as fields:
        file = fields.get("file")
        upload = File(file.filename or "", await file.read()) if isinstance(file, UploadFile) else None
        return _collect((name, value) for name, value in fields.multi_items() if isinstance(value, str)), upload


def _collect(pairs: Iterable[tuple[str, str]]) -> Fields:
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(replace_surrogates(value))
    return {name: found if len(found) > 1 else found[0] for name, found in values.items()}
