"""A plain HTTP client for tests: what a test does to a server, without the code under test."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable, Mapping
from threading import Lock
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

BULK = 1000


class Refused(Exception):
    """The server said no; `status` and `body` are its answer."""

    def __init__(self, call: str, status: int, body: str) -> None:
        super().__init__(f"{call}: {status} {body[:500]}")
        self.status = status
        self.body = body


class Client:
    """One connection to a server, safe to share between threads."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        self._lock = Lock()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON answer. A str or bytes body is sent as it is. Raises `Refused` for a status of 300 or more."""
        data = body if isinstance(body, bytes | str | None) else json.dumps(body)
        headers = {} if data is None else {"content-type": "application/json"}
        with self._lock:
            try:
                self._connection.request(method, path, data, headers)
                answer = self._connection.getresponse()
                text = answer.read()
            except (OSError, http.client.HTTPException):
                self._connection.close()
                raise
        if answer.status >= 300:
            raise Refused(f"{method} {path}", answer.status, text.decode(errors="replace"))
        return json.loads(text) if text else None

    def close(self) -> None:
        self._connection.close()

    def new_index(self, properties: Mapping[str, Any], *, shards: int = 1, name: str = "t", **mapping: Any) -> str:
        """Make an empty index under a name that nobody has; `mapping`: more of it than `properties`."""
        index = f"{name}-{uuid4().hex[:12]}"
        settings = {"number_of_shards": shards, "number_of_replicas": 0, "refresh_interval": "60s"}
        body = {"settings": {"index": settings}, "mappings": {"properties": properties, **mapping}}
        self.call("PUT", f"/{index}", body)
        return index

    def put(self, index: str, documents: Mapping[str, Any]) -> None:
        """Index documents by id, a str being the document's own JSON text, and make them visible."""
        lines = list(_lines(documents))
        for start in range(0, len(lines), BULK):
            self._bulk(index, "".join(lines[start : start + BULK]))
        self.refresh(index)

    def put_unseen(self, index: str, documents: Mapping[str, Any]) -> None:
        """The same, not visible until the index is refreshed."""
        self._bulk(index, "".join(_lines(documents)))

    def refresh(self, index: str) -> None:
        self.call("POST", f"/{index}/_refresh")

    def _bulk(self, index: str, lines: str) -> None:
        answer = self.call("POST", f"/{index}/_bulk", lines.encode("utf-8", "surrogatepass"))
        if answer["errors"]:
            wrong = [item for item in answer["items"] if "error" in item["index"]]
            raise Refused(f"bulk into {index}", 400, json.dumps(wrong[0]))


def _lines(documents: Mapping[str, Any]) -> Iterable[str]:
    for name, document in documents.items():
        text = document if isinstance(document, str) else json.dumps(document)
        yield f"{json.dumps({'index': {'_id': name}})}\n{text}\n"


def no_answer(client: Client, path: str) -> bool:
    """True while the server does not answer `path` with a success."""
    try:
        client.call("GET", path)
    except (OSError, http.client.HTTPException, Refused):
        return True
    return False
