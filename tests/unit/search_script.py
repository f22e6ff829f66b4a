"""A search server in a few lines, for faults that real ones do not produce on demand.

It holds documents in shards and answers the requests that the connector makes. A test says what goes wrong at the
n-th request of a kind, may hold any request, and sees which points in time are open.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from connectors.elasticsearch.connector import ElasticsearchConnector
from connectors.elasticsearch.settings import ElasticsearchSettings
from state.model import Window
from state.port import Port, direct

DAY = datetime(2025, 1, 1, tzinfo=UTC)
SPAN = Window(DAY, DAY + timedelta(days=1))
MAPPING = {"at": {"type": "date"}, "n": {"type": "long"}}

LOST = {"error": {"type": "search_context_missing_exception", "reason": "No search context found"}, "status": 404}

Act = Callable[[dict[str, Any]], Any]
"""What goes wrong: the true answer → another answer, as JSON or as a whole response."""


@dataclass
class Pit:
    """What was open to be read when the point in time was made."""

    documents: list[tuple[str, int, int, str]]
    shards: int


@dataclass
class SearchScript:
    """`documents`: JSON texts, dealt out to the shards of the indices in turn."""

    documents: Sequence[str]
    product: str = "Elasticsearch"
    shards: int = 3
    indices: list[str] = field(default_factory=lambda: ["events"])
    mapping: dict[str, Any] = field(default_factory=lambda: dict(MAPPING))
    settings: dict[str, str] = field(default_factory=dict)
    has_shard_doc: bool = True
    ignores_preference: bool = False
    slices: str = "by shard"
    """How the server takes slices: `by shard`, `alone` (and only these shards answer), `ignored`,
    `refused`, `overlapping`: each is the first shard, or `crossed`: each has shard 2, and none shard 3."""
    open: dict[str, Pit] = field(default_factory=dict)
    seen: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    acts: dict[tuple[str, int], Act] = field(default_factory=dict)
    gate: Callable[[int, str], Awaitable[None]] | None = None
    kinds: Counter[str] = field(default_factory=Counter)
    rotates: bool = False
    without_cursor: int = 0
    most_rows: int = 10_000
    opened: int = 0
    now: int = 0
    most_at_once: int = 0

    def at(self, kind: str, number: int, act: Act) -> None:
        """Let `act` change the answer to the `number`-th request of this kind, counted from 1."""
        self.acts[(kind, number)] = act

    def bodies(self, kind: str) -> list[dict[str, Any]]:
        return [body for name, body in self.seen if name == kind]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read() or b"{}")
        kind = _kind(request, body)
        number = len(self.seen)
        self.seen.append((kind, body))
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        self.kinds[kind] += 1
        act = self.acts.get((kind, self.kinds[kind]), lambda answer: answer)
        self.now += 1
        self.most_at_once = max(self.most_at_once, self.now)
        if self.gate:
            await self.gate(number, "before")
        answer = act(getattr(self, f"_{kind}")(request, body))
        if self.gate:
            await self.gate(number, "after")
        self.now -= 1
        if isinstance(answer, web.StreamResponse):
            return answer
        status = answer.get("status", 200) if "error" in answer else 200
        product = {"x-elastic-product": "Elasticsearch"} if self.product == "Elasticsearch" else {}
        return web.json_response(answer, status=status, headers=product)

    def _root(self, request: web.Request, body: Any) -> Any:
        version = {"number": "8.19.4"}
        if self.product == "OpenSearch":
            version = {"number": "2.19.1", "distribution": "opensearch"}
        return {"version": version}

    def _nodes(self, request: web.Request, body: Any) -> Any:
        return {"nodes": {"one": {"version": "8.19.4"}}}

    def _settings(self, request: web.Request, body: Any) -> Any:
        one = {"index.number_of_shards": str(self.shards), **self.settings}
        return {name: {"settings": {**one, "index.uuid": f"uuid of {name}"}} for name in self.indices}

    def _mapping(self, request: web.Request, body: Any) -> Any:
        return {name: {"mappings": {"properties": self.mapping}} for name in self.indices}

    def _open(self, request: web.Request, body: Any) -> Any:
        target = request.path.split("/")[1]
        placed = self._placed(target)
        preference = request.query.get("preference", "")
        shards = self.shards * len({index for index, *_ in placed} or {0})
        if preference and not self.ignores_preference:
            placed = [one for one in placed if one[1] == int(preference.rpartition(":")[2])]
            shards = 1
        self.opened += 1
        name = f"pit-{self.opened}"
        self.open[name] = Pit(placed, shards)
        return {"id" if self.product == "Elasticsearch" else "pit_id": name}

    def _placed(self, target: str) -> list[tuple[str, int, int, str]]:
        """(index, shard, position in the shard, text) of every document."""
        next_at: Counter[tuple[str, int]] = Counter()
        placed = []
        for number, text in enumerate(self.documents):
            index, shard = self.indices[number % len(self.indices)], number % self.shards
            if target in ("events", "ev*", index):
                placed.append((index, shard, next_at[(index, shard)], text))
            next_at[(index, shard)] += 1
        return placed

    def _close(self, request: web.Request, body: Any) -> Any:
        given = body.get("id") or body["pit_id"][0]
        self.open.pop(given)
        return {"succeeded": True}

    def _probe(self, request: web.Request, body: Any) -> Any:
        if not self.has_shard_doc:
            kind = "query_shard_exception"
            return {"error": {"type": kind, "reason": "No mapping found for [_shard_doc]"}, "status": 400}
        answer = self._page(request, body)
        for hit in answer["hits"]["hits"]:
            del hit["_source"]
        return answer

    def _count(self, request: web.Request, body: Any) -> Any:
        pit = self.open.get(body["pit"]["id"])
        if pit is None:
            return LOST
        if "slice" in body and self.slices == "refused":
            return {"error": {"type": "parsing_exception", "reason": "unknown key [slice]"}, "status": 400}
        value = len(self._inside(pit, body))
        return self._whole(pit.shards, {"total": {"value": value, "relation": "eq"}, "hits": []}, body)

    def _inside(self, pit: Pit, body: Any) -> list[tuple[str, int, int, str]]:
        """The documents of the slice that is asked for, or all."""
        if "slice" not in body or self.slices == "ignored":
            return pit.documents
        number, most = body["slice"]["id"], body["slice"]["max"]
        if self.slices == "overlapping":
            return [one for one in pit.documents if one[1] == 0]
        if self.slices == "crossed":
            return [one for one in pit.documents if one[1] == 2 or (one[1] % most == number and one[1] != 3)]
        return [one for one in pit.documents if one[1] % most == number]

    def _page(self, request: web.Request, body: Any) -> Any:
        pit = self.open.get(body["pit"]["id"])
        if pit is None:
            return LOST
        if body["size"] > self.most_rows and "_source" not in body:
            kind = "circuit_breaking_exception"
            return {"error": {"type": kind, "reason": "Data too large", "durability": "PERMANENT"}, "status": 429}
        by_doc = body["sort"] == ["_doc"]
        rows = sorted((self._sort_value(one, by_doc), one) for one in self._inside(pit, body))
        after = body.get("search_after", [-1])[0]
        some = [(value, one) for value, one in rows if value > after][: body["size"]]
        hits = [
            {"_index": one[0], "_id": json.loads(one[3])["id"], "_source": json.loads(one[3]), "sort": [value]}
            for value, one in some
        ]
        return self._whole(pit.shards, {"hits": hits}, body)

    def _sort_value(self, one: tuple[str, int, int, str], by_doc: bool) -> int:
        index, shard, position, _text = one
        if by_doc:
            return position
        place = self.indices.index(index) if self.product == "Elasticsearch" else 0
        return ((place * self.shards + shard) << 32) + position

    def _live_count(self, request: web.Request, body: Any) -> Any:
        value = self.without_cursor if "must_not" in str(body) else len(self.documents)
        return self._whole(self.shards, {"total": {"value": value, "relation": "eq"}, "hits": []}, body)

    def _clock(self, request: web.Request, body: Any) -> Any:
        buckets = {"clock": {"buckets": [{"from": 1.7356896001239e12, "doc_count": 0}]}}
        return {**self._live_count(request, body), "aggregations": buckets}

    def _plan(self, request: web.Request, body: Any) -> Any:
        step = int(body["aggs"]["steps"]["date_histogram"]["fixed_interval"].removesuffix("ms"))
        counts: Counter[int] = Counter()
        for text in self.documents:
            at = int(datetime.fromisoformat(json.loads(text)["at"]).timestamp() * 1000)
            counts[at // step * step] += 1
        buckets = [{"key": key, "doc_count": count} for key, count in sorted(counts.items())]
        return {**self._live_count(request, body), "aggregations": {"steps": {"buckets": buckets}}}

    def _whole(self, shards: int, hits: dict[str, Any], body: Any) -> dict[str, Any]:
        if "slice" in body and self.slices == "alone":
            shards = len(range(body["slice"]["id"], shards, body["slice"]["max"]))
        answer = {
            "took": 1,
            "timed_out": False,
            "_shards": {"total": shards, "successful": shards, "skipped": 0, "failed": 0},
            "hits": hits,
        }
        if "pit" not in body:
            return answer
        name = body["pit"]["id"]
        if self.rotates:
            self.opened += 1
            self.open[f"pit-{self.opened}"] = self.open.pop(name)
            name = f"pit-{self.opened}"
        return {**answer, "pit_id": name}


def _kind(request: web.Request, body: Any) -> str:
    path, method = request.path, request.method
    if path == "/":
        return "root"
    if path.startswith("/_nodes"):
        return "nodes"
    for word in ("settings", "mapping"):
        if path.endswith(f"/_{word}"):
            return word
    if path.endswith(("/_pit", "/point_in_time")):
        return "close" if method == "DELETE" else "open"
    if "aggs" in body:
        return "clock" if "clock" in body["aggs"] else "plan"
    if "pit" not in body:
        return "live_count"
    if body["size"] == 0:
        return "count"
    return "probe" if body.get("_source") is False else "page"


@asynccontextmanager
async def serving(script: SearchScript, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """The URL of a running server that answers by `script`."""
    app = web.Application(client_max_size=1 << 26)
    app.router.add_route("*", "/{tail:.*}", script.handle)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"{'https' if tls else 'http'}://{host}:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def connected(
    script: SearchScript, port: Port = direct, **settings: Any
) -> AsyncIterator[ElasticsearchConnector]:
    """A connector to a server of this script; afterwards it is closed and no point in time is open."""
    async with serving(script) as url:
        given = {"type": "elasticsearch", "endpoint": url, "index": "events", "cursor": "at", "page_rows": 7}
        connector = ElasticsearchConnector(ElasticsearchSettings(**{**given, **settings}), port)
        try:
            yield connector
        finally:
            await connector.aclose()
    assert script.open == {}, "a point in time was left open"


def documents(count: int, at: Callable[[int], datetime] = lambda _n: DAY) -> list[str]:
    """JSON texts; all at one instant unless said otherwise."""
    return [json.dumps({"id": f"d{n}", "at": at(n).isoformat(), "n": n}) for n in range(count)]


async def read(connector: ElasticsearchConnector, span: Window = SPAN) -> list[int]:
    """The column `n` of all rows of one part."""
    rows: list[int] = []
    async with connector.open(span) as snapshot:
        batches = snapshot.batches()
        try:
            async for batch in batches:
                rows += batch.column("n").to_pylist()
        finally:
            await batches.aclose()
    return rows


def refusal(status: int, type_: str, headers: dict[str, str] | None = None, **more: Any) -> Act:
    """An answer as servers refuse, with this status and error type."""
    error = {"type": type_, "reason": f"because of {type_}", **more}
    body = {"error": {**error, "root_cause": [error]}, "status": status}
    return lambda _answer: web.json_response(body, status=status, headers=headers)


async def settled(task: asyncio.Task[Any]) -> None:
    """Wait for a task that was cancelled."""
    await asyncio.wait([task])
