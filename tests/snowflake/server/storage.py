"""The cloud storage behind internal stages: objects over HTTP as the client's GCS code asks for them."""

from __future__ import annotations

import hashlib
import os
import uuid
from functools import lru_cache, partial
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from tests.snowflake.server.model import Server

PREFIX = "/storage"


def routes(server: Server) -> list[Route]:
    path = PREFIX + "/{bucket}/{key:path}"
    return [
        Route(path, partial(upload, server), methods=["PUT"]),
        Route(path, partial(download, server), methods=["GET", "HEAD"]),
    ]


def folder(server: Server, bucket: str) -> Path:
    """Where the objects of a stage lie."""
    return server.home / "stages" / bucket


def object_path(server: Server, request: Request) -> Path | None:
    """The file of an object; None for a key that leaves its stage."""
    root = folder(server, request.path_params["bucket"])
    path = Path(os.path.normpath(root / request.path_params["key"]))
    return path if path.is_relative_to(root) else None


async def upload(server: Server, request: Request) -> Response:
    """An object is there whole or not at all."""
    path = object_path(server, request)
    if path is None:
        return Response(status_code=400)
    if request.headers.get("x-goog-if-generation-match") == "0" and path.exists():
        return Response(status_code=412)
    path.parent.mkdir(parents=True, exist_ok=True)
    partly = server.home / f"upload-{uuid.uuid4().hex}"
    with partly.open("wb") as file:
        async for chunk in request.stream():
            file.write(chunk)
    partly.replace(path)
    return Response()


async def download(server: Server, request: Request) -> Response:
    path = object_path(server, request)
    if path is None or not path.is_file():
        return Response(status_code=404)
    return FileResponse(path)


def md5(path: Path) -> str:
    """Of a file's bytes, read once as long as it stays the same."""
    told = path.stat()
    return _md5(path, told.st_mtime_ns, told.st_size, told.st_ino)


@lru_cache(maxsize=10_000)
def _md5(path: Path, _changed: int, _size: int, _inode: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
