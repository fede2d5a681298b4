"""Routes that translate files: `/translate_file` and `/download_file`."""

from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from serve.connected import while_connected
from serve.documents import MEDIA_TYPES, FileStore
from serve.errors import invalid
from serve.fields import read_upload
from serve.service import Service
from serve.spec import DOWNLOAD, ERRORS, TRANSLATE_FILE


def add_file_routes(app: FastAPI, service: Service, store: FileStore) -> None:
    """Add the routes; translated files are kept in `store`."""

    @app.post("/translate_file", responses=ERRORS, openapi_extra=TRANSLATE_FILE)
    async def translate_file(request: Request) -> Response:
        """Translate a file, and return the address of the translation."""
        fields, file = await read_upload(request, service.limits.file_body)
        service.check_key(fields)
        if file is None:
            raise invalid("missing file parameter")
        translated = await while_connected(request, service.translate_file(fields, file))
        return JSONResponse({"translatedFileUrl": f"{request.base_url}download_file/{quote(store.add(translated))}"})

    @app.get("/download_file/{name}", responses=ERRORS, openapi_extra=DOWNLOAD)
    async def download_file(name: str) -> Response:
        """Return a translated file; its name is in the address that `/translate_file` returned."""
        file = store.find(name)
        headers = {
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.name)}",
            "Content-Security-Policy": "sandbox; default-src 'none'",  # a page of somebody must not run on this site
        }
        return Response(file.content, media_type=f"{MEDIA_TYPES[file.format]}; charset=utf-8", headers=headers)
