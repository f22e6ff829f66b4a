"""One HTTP connection pool to one node: bytes out, bounded, with errors told apart by what they mean."""

from __future__ import annotations

import ssl
import time
from typing import ClassVar

import aiohttp
from elastic_transport import (
    ApiResponseMeta,
    BaseAsyncNode,
    ConnectionTimeout,
    HttpHeaders,
    NodeConfig,
    TlsError,
)
from elastic_transport import ConnectionError as Broken
from elastic_transport._node import NodeApiResponse  # what a node must return, and exported nowhere else
from elastic_transport.client_utils import DEFAULT, DefaultType

RESPONSE_LIMIT = 128 << 20
"""Bytes of one answer at most, decompressed: above the 100 MB that servers take for a document by default."""

_READ_BUFFER = 1 << 20
"""Bytes; pages are megabytes, and the library's 64 KiB wakes the loop too often."""

_NO_TLS = ("WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")


_CONNECT_SECONDS = 30.0
"""Until a connection is there, of the whole time of a request; a server across the world needs one."""


class NobodyThere(Broken):
    """No connection came about."""


class AnswerTooLarge(Exception):
    """The answer is larger than `RESPONSE_LIMIT`; the rest of it was not read."""


class BoundedNode(BaseAsyncNode):
    """A node of the client's pool. Answers stay bytes whatever their content type says."""

    _CLIENT_META_HTTP_CLIENT: ClassVar[tuple[str, str]] = ("ai", aiohttp.__version__)
    limit: ClassVar[int] = RESPONSE_LIMIT

    def __init__(self, config: NodeConfig) -> None:
        super().__init__(config)
        self._session: aiohttp.ClientSession | None = None

    async def perform_request(  # type: ignore[override]  # as in the library's own asynchronous nodes
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: HttpHeaders | None = None,
        request_timeout: DefaultType | float | None = DEFAULT,
    ) -> NodeApiResponse:
        """Raises `elastic_transport` errors, which mark the node as dead, and `AnswerTooLarge`, which does not."""
        timeout = self.config.request_timeout if isinstance(request_timeout, DefaultType) else request_timeout
        began = time.monotonic()
        try:
            async with self._opened().request(
                method,
                self.base_url + target,
                data=body,
                headers={**self.headers, **(headers or {})},
                timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=_CONNECT_SECONDS),
                allow_redirects=False,
            ) as answer:
                data = await _read(answer, self.limit)
        except aiohttp.ConnectionTimeoutError as error:
            raise NobodyThere("no connection within the time for it", errors=(error,)) from error
        except TimeoutError as error:
            raise ConnectionTimeout(f"no answer within {timeout} s", errors=(error,)) from error
        except (aiohttp.ClientError, OSError) as error:
            raise _told(error) from error
        kept = HttpHeaders({**answer.headers, "content-type": "application/json"})
        meta = ApiResponseMeta(answer.status, "1.1", kept, time.monotonic() - began, self.config)
        return NodeApiResponse(meta, data)

    async def close(self) -> None:  # type: ignore[override]  # likewise
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _opened(self) -> aiohttp.ClientSession:
        """Made at the first request, inside the running loop."""
        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit_per_host=self.config.connections_per_node, ssl=self.config.ssl_context or True
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                read_bufsize=_READ_BUFFER,
                skip_auto_headers=("accept-encoding", "user-agent", "content-type"),
            )
        return self._session


async def _read(answer: aiohttp.ClientResponse, limit: int) -> bytes:
    pieces, size = [], 0
    async for piece in answer.content.iter_any():
        size += len(piece)
        if size > limit:
            answer.close()
            raise AnswerTooLarge
        pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _told(error: Exception) -> Broken:
    """`TlsError` only for what waiting does not mend: a wrong certificate, or a server that speaks no TLS."""
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    reason = getattr(cause, "reason", None) or ""
    if isinstance(cause, ssl.SSLCertVerificationError | ssl.CertificateError) or reason in _NO_TLS:
        return TlsError(str(error), errors=(error,))
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.ClientPayloadError):
        # The library quotes what came, cut: half a credential that a proxy sends back could not be masked.
        return Broken(f"{type(error).__name__}: the answer is broken or was cut off", errors=(error,))
    if isinstance(error, aiohttp.ClientConnectorError):
        return NobodyThere(f"{type(error).__name__}: {error}", errors=(error,))
    return Broken(f"{type(error).__name__}: {error}", errors=(error,))
