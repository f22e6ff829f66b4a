"""The envelope of a search response: everything but the documents, which stay bytes."""

from __future__ import annotations

from typing import Any

import msgspec

from connectors.elasticsearch.decode_values import elements, members
from state.errors import ContractError, TransientError


class Cause(msgspec.Struct, frozen=True, gc=False):
    """Why a shard failed, in the server's words."""

    type: str = ""
    reason: str | None = None


class ShardFailure(msgspec.Struct, frozen=True, gc=False):
    """One failed shard."""

    shard: int | None = None
    index: str | None = None
    node: str | None = None
    reason: Cause | None = None


class Shards(msgspec.Struct, frozen=True):
    """How many shards answered; `failed` above zero means that rows are missing."""

    total: int = 0
    successful: int = 0
    skipped: int = 0
    failed: int = 0
    failures: list[ShardFailure] = []


class Clusters(msgspec.Struct, frozen=True, gc=False):
    """The same for the clusters of a cross-cluster search."""

    total: int = 0
    successful: int = 0
    skipped: int = 0
    running: int = 0
    partial: int = 0
    failed: int = 0


class Total(msgspec.Struct, frozen=True, gc=False):
    """Hits of the query; `relation` is `eq` or `gte`."""

    value: int
    relation: str = "eq"


class Envelope(msgspec.Struct, frozen=True):
    """What the server says about a page. `took` is in milliseconds; `total` is None if it was not counted.

    What a server must say and does not is not taken as good: `timed_out` is True then, and `shards.total` 0.
    """

    pit_id: str | None
    timed_out: bool
    terminated_early: bool
    took: int
    total: Total | None
    shards: Shards
    clusters: Clusters | None


_NOTHING = msgspec.Raw()


class Hit(msgspec.Struct, gc=False):
    """One hit. `source` and `sort` are JSON texts, views of the page, empty if the server sent none."""

    index: str | None = msgspec.field(name="_index", default=None)
    id: str | None = msgspec.field(name="_id", default=None)
    routing: str | None = msgspec.field(name="_routing", default=None)
    seq_no: int | None = msgspec.field(name="_seq_no", default=None)
    primary_term: int | None = msgspec.field(name="_primary_term", default=None)
    version: int | None = msgspec.field(name="_version", default=None)
    sort: msgspec.Raw = _NOTHING
    source: msgspec.Raw = msgspec.field(name="_source", default=_NOTHING)


class _Hits(msgspec.Struct):
    hits: list[Hit]
    total: Total | int | None = None


class _Response(msgspec.Struct):
    hits: _Hits
    took: int = 0
    timed_out: bool = True
    terminated_early: bool | None = None
    pit_id: str | None = None
    shards: Shards = msgspec.field(name="_shards", default=Shards())
    clusters: Clusters | None = msgspec.field(name="_clusters", default=None)


_PAGE = msgspec.json.Decoder(_Response)
_HIT = msgspec.json.Decoder(Hit)
_HIT_NAMES = frozenset(field.encode_name for field in msgspec.structs.fields(Hit)) - {"_source", "sort"}

_OUTER_NAMES = frozenset(field.encode_name for field in msgspec.structs.fields(_Response)) - {"hits"}


def read_page(page: bytes) -> tuple[Envelope, list[Hit]]:
    """Envelope and hits of a search response.

    Raises TransientError if the bytes are no search response, ContractError if a document is nested deeper
    than can be read.
    """
    try:
        response = _decode(page)
    except ValueError as error:
        raise TransientError(
            f"the search server's answer of {len(page)} bytes is no search response: {error}",
            hint="a proxy may answer in its place, or the connection was cut",
            code="bad_response",
        ) from error
    except RecursionError as error:
        raise ContractError(
            "a document is nested too deeply to be read", hint="exclude it with `where`", code="nesting"
        ) from error
    total = response.hits.total
    envelope = Envelope(
        pit_id=response.pit_id,
        timed_out=response.timed_out,
        terminated_early=bool(response.terminated_early),
        took=response.took,
        total=Total(total) if isinstance(total, int) else total,
        shards=response.shards,
        clusters=response.clusters,
    )
    return envelope, response.hits.hits


def _decode(page: bytes) -> _Response:
    """The strict decoder refuses half of a surrogate pair anywhere in the page; the exact way does not."""
    try:
        return _PAGE.decode(page)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _decode_exactly(page)


def _decode_exactly(page: bytes) -> _Response:
    top = dict(members(page.decode("utf-8", "surrogateescape")))
    inner = dict(members(top.pop("hits", "")))
    hits = [_hit(dict(members(text))) for text in elements(inner.pop("hits", ""))]
    outer = {name: text for name, text in top.items() if name in _OUTER_NAMES}
    outer["hits"] = _object({"hits": "[]", "total": inner.get("total", "null")})
    response = _PAGE.decode(_bytes(_object(outer)))
    response.hits.hits = hits
    return response


def _hit(parts: dict[str, str]) -> Hit:
    hit = _HIT.decode(_bytes(_object({name: text for name, text in parts.items() if name in _HIT_NAMES})))
    hit.sort = _raw(parts.get("sort", ""))
    hit.source = _raw(parts.get("_source", ""))
    return hit


def _object(parts: dict[str, Any]) -> str:
    return "{" + ",".join(f'"{name}":{text}' for name, text in parts.items()) + "}"


def _raw(text: str) -> msgspec.Raw:
    return msgspec.Raw(_bytes(text))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
