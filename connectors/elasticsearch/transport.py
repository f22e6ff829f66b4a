"""Requests to the search server: one client, plain JSON headers, bytes out, errors classified, no retries."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import elastic_transport
import msgspec
from elastic_transport.client_utils import DEFAULT
from elasticsearch import AsyncElasticsearch

from connectors.elasticsearch.errors import is_load, refusal
from connectors.elasticsearch.load import Bounds, LoadGuard, guard_of
from connectors.elasticsearch.node import AnswerTooLarge, BoundedNode, NobodyThere
from connectors.elasticsearch.settings import Auth, ElasticsearchSettings
from connectors.elasticsearch.wire import Wire
from connectors.tls import trusting
from state.errors import ConfigurationError, SluicewayError, TransientError, Unreachable
from state.port import Port

JSON = "application/json"
"""Without a version in it: servers of every major take it, and those of other products too."""

PAGE = "source.page"
"""The effect of asking for a page: the load that speed is measured by, and that a pause is made for."""

CLOSE = "source.close_pit"
"""The effect of giving back what the server keeps for us."""

_PORTS = {"http": 80, "https": 443}


class Answer(NamedTuple):
    """An answer as it came; header names are lower case. `seconds`: from the request to the end of the answer.
    `compressed`: asked for so."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float
    compressed: bool


class _Bytes(elastic_transport.Serializer):
    """Leaves bodies as they are: pages are decoded elsewhere, off the event loop."""

    mimetype = JSON

    def dumps(self, data: Any) -> bytes:
        return bytes(data)

    def loads(self, data: bytes) -> bytes:
        return data


class _Opened(NamedTuple):
    """`secrets`: what must not appear in a message, as it is and as JSON writes it, the longest first."""

    client: AsyncElasticsearch
    guard: LoadGuard
    headers: Mapping[str, str]
    secrets: tuple[str, ...]


class Transport:
    """The one way to the server. As many requests at a time as its guard lets through; the others wait, off the
    clock."""

    def __init__(self, settings: ElasticsearchSettings, port: Port) -> None:
        self._settings = settings
        self._port = port
        self.wire = Wire(settings.compression)
        self._opening = asyncio.Lock()
        self._opened: _Opened | None = None

    async def call(
        self,
        effect: str,
        doing: str,
        method: str,
        target: str,
        body: Mapping[str, Any] | None = None,
        *,
        accept: Collection[int] = (),
        underway: bool = False,
    ) -> Answer:
        """The answer to one request, sent once. `effect` names the port; `doing` begins the message of an error.

        Raises what `errors` says for a status of 300 or more that is not in `accept`. `underway`: the request is
        part of an open snapshot. The body of an answer with a status of 300 or more holds no secret; documents
        stay as they are.
        """
        opened = await self._client()
        page = effect == PAGE
        patience = None if effect == CLOSE else self._settings.request_timeout_seconds
        async with opened.guard.slot(patience, page=page) as slot:
            with self._port(effect):
                try:
                    answer = _masked(await self._sent(opened, doing, method, target, body), opened.secrets)
                    if answer.status >= 300 and answer.status not in accept:
                        raise _hidden(
                            refusal(answer.status, answer.headers, answer.body, doing, underway=underway),
                            opened.secrets,
                        )
                except TransientError as error:
                    if is_load(error):
                        opened.guard.refused(slot, error.retry_after)
                    raise
                if page:
                    opened.guard.came(slot, len(answer.body), answer.seconds)
                return answer

    async def aclose(self) -> None:
        """Close the connections; harmless when repeated."""
        if self._opened is not None:
            opened, self._opened = self._opened, None
            opened.guard.leave(self)
            await opened.client.close()

    async def _sent(
        self, opened: _Opened, doing: str, method: str, target: str, body: Mapping[str, Any] | None
    ) -> Answer:
        began, compressed = time.monotonic(), self.wire.compressed
        try:
            response = await opened.client.transport.perform_request(
                method,
                target,
                headers={**opened.headers, "accept-encoding": "gzip" if compressed else "identity"},
                body=None if body is None else msgspec.json.encode(body),
                request_timeout=self._settings.request_timeout_seconds,
                max_retries=0,  # what is said to the client does not reach its transport
                retry_on_status=(),
                retry_on_timeout=False,
            )
        except AnswerTooLarge:
            raise TransientError(
                f"{doing}: the answer is above {BoundedNode.limit >> 20} MiB",
                hint="Asked for again in smaller pages.",
                code="too_large",
                shrink=True,
            ) from None
        except elastic_transport.TransportError as error:
            raise _hidden(_unreachable(doing, error), opened.secrets) from None
        seconds = time.monotonic() - began
        headers = {k.lower(): v for k, v in response.meta.headers.items()}
        return Answer(response.meta.status, headers, response.body, seconds, compressed)

    async def _client(self) -> _Opened:
        async with self._opening:
            if self._opened is None:
                settings, guard = self._settings, guard_of(_endpoints(self._settings))
                self._opened = await asyncio.to_thread(_open, settings, guard)
                guard.join(self, Bounds(settings.max_concurrent_requests, settings.pages_per_second))
            return self._opened


def _endpoints(settings: ElasticsearchSettings) -> tuple[str, ...]:
    return (settings.endpoint,) if isinstance(settings.endpoint, str) else settings.endpoint


def _open(settings: ElasticsearchSettings, guard: LoadGuard) -> _Opened:
    """Reads secrets and certificates, so not on the event loop. Raises `ConfigurationError`."""
    hosts = [_with_port(endpoint) for endpoint in _endpoints(settings)]
    secure = any(host.startswith("https") for host in hosts)
    authorization, secrets = _authorization(settings.auth)
    client = AsyncElasticsearch(
        hosts,
        node_class=BoundedNode,
        connections_per_node=settings.max_concurrent_requests,
        serializers={JSON: _Bytes()},
        meta_header=False,
        ssl_context=trusting(settings.ca_file) if secure else DEFAULT,
    )
    headers = {"accept": JSON, "content-type": JSON, **authorization}
    return _Opened(client, guard, headers, _spellings(secrets))


def _with_port(endpoint: str) -> str:
    """The client wants the port that a URL leaves out."""
    try:
        parts = urlsplit(endpoint)
        netloc = parts.netloc if parts.port is not None else f"{parts.netloc.rstrip(':')}:{_PORTS[parts.scheme]}"
    except ValueError as error:
        raise ConfigurationError(
            f"the endpoint {endpoint} is no URL: {error}",
            hint="Write it like https://es.company.com:9200.",
            code="endpoint",
            path="source_system.endpoint",
        ) from None
    return parts._replace(netloc=netloc, query="", fragment="").geturl()


def _authorization(auth: Auth) -> tuple[dict[str, str], tuple[str, ...]]:
    """The header, and what of it must not be shown."""
    if auth.api_key is not None:
        secret = auth.api_key.read()
        return {"authorization": f"ApiKey {secret}"}, (secret,)
    if auth.bearer is not None:
        secret = auth.bearer.read()
        return {"authorization": f"Bearer {secret}"}, (secret,)
    if auth.user is not None and auth.password is not None:
        secret = auth.password.read()
        pair = base64.b64encode(f"{auth.user}:{secret}".encode()).decode()
        return {"authorization": f"Basic {pair}"}, (pair, secret)
    return {}, ()


def _unreachable(doing: str, error: elastic_transport.TransportError) -> SluicewayError:
    said = f"{doing}: {error.message}"
    if isinstance(error, elastic_transport.TlsError):
        return ConfigurationError(
            said, hint="Set source_system.ca_file, or mend the endpoint or its certificate.", code="tls"
        )
    if isinstance(error, elastic_transport.ConnectionTimeout):
        return TransientError(said, hint="The server is slow, or source_system.endpoint is wrong.", code="timeout")
    kind = Unreachable if isinstance(error, NobodyThere) else TransientError
    return kind(said, hint="The server is away, or source_system.endpoint is wrong.", code="connection")


def _spellings(secrets: tuple[str, ...]) -> tuple[str, ...]:
    """The secrets, and how they may look inside JSON; one that is part of another comes after it."""
    written = {json.dumps(secret, ensure_ascii=plain)[1:-1] for secret in secrets for plain in (False, True)}
    forms = {*secrets, *written}
    return tuple(sorted(forms | {form.replace("/", "\\/") for form in forms}, key=len, reverse=True))


def _masked(answer: Answer, secrets: tuple[str, ...]) -> Answer:
    """A failure's body without secrets before anything of it is cut: of a secret cut in two a part would stay."""
    body = answer.body
    for secret in secrets if answer.status >= 300 else ():
        body = body.replace(secret.encode(), b"***")
    return answer._replace(body=body)


def _hidden(error: SluicewayError, secrets: tuple[str, ...]) -> SluicewayError:
    """The error without secrets: a proxy may send a request's headers back."""
    for secret in secrets:
        error.message = error.message.replace(secret, "***")
    error.args = (error.message,)
    return error
