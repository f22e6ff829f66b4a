"""Reading page by page: complete and once, or an error; and whatever was opened is closed."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import aclosing, contextmanager, suppress
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from connectors.elasticsearch.connector import ElasticsearchConnector
from connectors.elasticsearch.load import guard_of
from connectors.elasticsearch.node import BoundedNode
from connectors.elasticsearch.paging import PageSize, PointReader
from connectors.elasticsearch.settings import ElasticsearchSettings
from state.errors import ConfigurationError, PermanentError, RestartAttempt, SluicewayError, TransientError
from state.model import SnapshotKind, Window
from tests.unit.search_script import DAY, LOST, SPAN, SearchScript, connected, documents, read, refusal, settled

TWO = ["ev1", "ev2"]
WAYS = [
    ("one point in time, by _shard_doc", {"product": "Elasticsearch"}, 1),
    ("one point in time, by _shard_doc", {"product": "Elasticsearch", "indices": TWO}, 1),
    ("one point in time, by _shard_doc", {"product": "OpenSearch"}, 1),
    ("one point in time per index, by _shard_doc", {"product": "OpenSearch", "indices": TWO}, 2),
    ("one point in time per shard, by _doc", {"product": "OpenSearch", "has_shard_doc": False}, 3),
    ("one point in time per shard, by _doc", {"product": "OpenSearch", "has_shard_doc": False, "indices": TWO}, 6),
]


def index_of(server: dict) -> str:
    return "ev*" if "indices" in server else "events"


@pytest.mark.parametrize(("way", "server", "points"), WAYS)
async def test_every_document_of_one_instant_arrives_once_by_each_way_e8(way, server, points):
    script = SearchScript(documents(1001), **server)
    async with connected(script, index=index_of(server), page_rows=37) as connector:
        rows = await read(connector)
        checks = {check.name: check for check in await connector.check()}
    assert sorted(rows) == list(range(1001))
    assert all(check.ok for check in checks.values())
    assert checks["source_system paging"].found == f"{way}, tried out ({points} opened)"


async def test_the_naive_way_would_lose_documents_on_this_server():
    """Else the test above would prove nothing."""
    script = SearchScript(documents(1001), product="OpenSearch")
    pit = script._open(web_request("/events/_search/point_in_time"), {})["pit_id"]
    found, after = set(), None
    while True:
        body = {"size": 37, "sort": ["_doc"], "pit": {"id": pit}} | ({"search_after": after} if after else {})
        hits = script._page(None, body)["hits"]["hits"]
        if not hits:
            break
        found |= {hit["_id"] for hit in hits}
        after = hits[-1]["sort"]
    assert 300 < len(found) < 1001


def web_request(path):
    from aiohttp.test_utils import make_mocked_request

    return make_mocked_request("POST", path)


@pytest.mark.parametrize("indices", [["events"], TWO])
async def test_a_server_that_reads_all_shards_for_one_is_refused_e8(indices):
    script = SearchScript(
        documents(100), product="OpenSearch", has_shard_doc=False, ignores_preference=True, indices=indices
    )
    async with connected(script, index="ev*") as connector:
        with pytest.raises(ConfigurationError, match="answered from 3 shards") as caught:
            await read(connector)
        [*_, last] = await connector.check()
    assert caught.value.code == "paging"
    assert not last.ok


async def test_a_sum_over_shards_that_is_not_the_count_is_refused_e8():
    script = SearchScript(documents(99), product="OpenSearch", has_shard_doc=False)
    script.at("count", 2, lambda answer: with_total(answer, 32))
    async with connected(script) as connector:
        with pytest.raises(ConfigurationError, match="hold 98 documents, the source 99"):
            await read(connector)


async def test_an_index_that_grows_during_the_probe_is_no_reason_to_refuse_it():
    script = SearchScript(documents(99), product="OpenSearch", has_shard_doc=False)
    script.at("live_count", 2, lambda answer: with_total(answer, 120))
    async with connected(script) as connector:
        assert len(await read(connector)) == 99
    script.at("count", 2 + script.kinds["count"], lambda answer: with_total(answer, 1))
    script.at("live_count", 2 + script.kinds["live_count"], lambda answer: with_total(answer, 120))
    async with connected(script) as connector:
        with pytest.raises(TransientError, match="changes too fast"):
            await read(connector)


async def test_elasticsearch_without_shard_doc_is_refused():
    async with connected(SearchScript(documents(9), has_shard_doc=False)) as connector:
        with pytest.raises(ConfigurationError, match="does not sort by _shard_doc"):
            await read(connector)


@pytest.mark.parametrize("product", ["Elasticsearch", "OpenSearch"])
async def test_a_query_that_the_server_refuses_is_not_taken_for_a_missing_shard_doc(product):
    script = SearchScript(documents(9), product=product)
    script.at("probe", 1, refusal(400, "parsing_exception"))
    async with connected(script) as connector:
        with pytest.raises(ConfigurationError, match="parsing_exception"):
            await read(connector)
        assert script.open == {}


@pytest.mark.parametrize(("_way", "server", "_points"), WAYS)
async def test_the_newest_name_of_a_point_in_time_is_used_e1(_way, server, _points):
    script = SearchScript(documents(50), rotates=True, **server)
    async with connected(script, index=index_of(server), slices=1) as connector:
        assert sorted(await read(connector)) == list(range(50))


def with_total(answer: dict, value: int) -> dict:
    answer["hits"]["total"]["value"] = value
    return answer


def shards(answer: dict, **change: object) -> dict:
    return {**answer, "_shards": {**answer["_shards"], **change}}


def failed(type_: str):
    failure = {"shard": 1, "index": "events", "reason": {"type": type_, "reason": "the disk is gone"}}
    return lambda answer: shards(answer, failed=1, successful=2, failures=[failure])


def without(name: str):
    return lambda answer: {key: value for key, value in answer.items() if key != name}


def dropped(answer: dict) -> dict:
    answer["hits"]["hits"].pop()
    return answer


def doubled(answer: dict) -> dict:
    answer["hits"]["hits"].append(answer["hits"]["hits"][-1])
    return answer


CLUSTERS = {"total": 2, "successful": 1, "skipped": 0}
PARTIAL = {
    "timed out": (lambda answer: {**answer, "timed_out": True}, "ran out of time"),
    "timed_out not said": (without("timed_out"), "ran out of time"),
    "a failed shard": (failed("i_o_exception"), "1 of 3 shards failed, one of events: i_o_exception: the disk"),
    "a failed shard unnamed": (lambda answer: shards(answer, failed=1), "1 of 3 shards failed"),
    "a shard that did not answer": (lambda answer: shards(answer, successful=2), "2 of 3 shards answered"),
    "shards not said": (without("_shards"), "does not say which shards"),
    "a skipped cluster": (lambda answer: {**answer, "_clusters": {**CLUSTERS, "skipped": 1}}, "of 2 clusters"),
    "a partial cluster": (lambda answer: {**answer, "_clusters": {**CLUSTERS, "partial": 1}}, "of 2 clusters"),
    "a failed cluster": (lambda answer: {**answer, "_clusters": {**CLUSTERS, "failed": 1}}, "of 2 clusters"),
}
ONLY_PAGES = {
    "stopped early": (lambda answer: {**answer, "terminated_early": True}, "stopped early"),
    "other shards": (lambda answer: shards(answer, total=2, successful=2), "2 shards answered, 3 when"),
    "one hit too few": (dropped, "ended 1 documents early"),
    "one hit too many": (doubled, "more documents than it counted"),
}


@pytest.mark.parametrize(
    ("kind", "number", "act", "said"),
    [
        *(pytest.param("count", 1, *case, id=f"count: {name}") for name, case in PARTIAL.items()),
        *(pytest.param("page", 3, *case, id=f"page: {name}") for name, case in {**PARTIAL, **ONLY_PAGES}.items()),
    ],
)
async def test_a_part_of_an_answer_is_an_error_and_the_next_snapshot_is_whole_e2_e3(kind, number, act, said):
    script = SearchScript(documents(18))
    script.at(kind, number, act)
    async with connected(script) as connector:
        with pytest.raises(RestartAttempt) as caught:
            await read(connector)
        assert said in caught.value.message
        assert len(script.open) == 0, "what was not whole is given back at once"
        assert sorted(await read(connector)) == list(range(18))
    assert script.kinds["open"] == 2, "never continued on the same point in time"


@pytest.mark.parametrize("successful", [3, 1])
async def test_skipped_shards_are_counted_either_way_e2(successful):
    script = SearchScript(documents(5))
    script.at("page", 1, lambda answer: shards(answer, skipped=2, successful=successful))
    async with connected(script) as connector:
        assert len(await read(connector)) == 5


async def test_a_shard_too_busy_to_answer_is_transient():
    script = SearchScript(documents(5))
    script.at("page", 1, failed("es_rejected_execution_exception"))
    async with connected(script) as connector:
        with pytest.raises(TransientError) as caught:
            await read(connector)
    assert caught.value.shrink


async def test_partial_results_are_never_asked_for_e2():
    script = SearchScript(documents(20))
    queries = []
    original = script.handle

    async def handle(request):
        queries.append((request.path, request.query.get("allow_partial_search_results")))
        return await original(request)

    script.handle = handle
    async with connected(script) as connector:
        await connector.plan(SPAN, 5)
        await read(connector)
    assert {allowed for path, allowed in queries if path.endswith("_search")} == {"false"}


async def test_a_lost_point_in_time_restarts_the_open_part_and_the_next_uses_a_new_one_e4():
    script = SearchScript(documents(30))
    script.at("page", 2, lambda _: LOST)
    async with connected(script) as connector:
        with pytest.raises(RestartAttempt) as caught:
            await read(connector)
        assert sorted(await read(connector)) == list(range(30))
    assert caught.value.code == "search_context_missing_exception"
    names = [body["pit"]["id"] for body in script.bodies("page")]
    assert names == sorted(names), "the lost one is never used again"
    assert len(set(names)) == 2


async def test_a_lost_point_in_time_is_noticed_when_a_part_begins_e4():
    script = SearchScript(documents(5))
    async with connected(script) as connector:
        await read(connector)
        script.open.clear()
        with pytest.raises(RestartAttempt):
            await read(connector)
        assert len(await read(connector)) == 5


async def test_one_point_in_time_is_shared_by_all_parts_and_opened_late_e7():
    script = SearchScript(documents(20))
    hours = [Window(DAY + timedelta(hours=n), DAY + timedelta(hours=n + 1)) for n in range(4)]
    async with connected(script) as connector:
        await connector.contract()
        await connector.plan(SPAN, 5)
        assert script.kinds["open"] == 0
        await asyncio.gather(*(read(connector, hour) for hour in hours))
        assert (script.kinds["open"], script.kinds["close"]) == (1, 0)
    assert (script.kinds["open"], script.kinds["close"]) == (1, 1)


async def test_read_at_is_the_server_s_clock_before_the_point_in_time():
    script = SearchScript(documents(5))
    async with connected(script) as connector, connector.open(SPAN) as snapshot:
        assert (snapshot.count, snapshot.kind) == (5, SnapshotKind.PIT)
        assert snapshot.read_at == datetime(2025, 1, 1, 0, 0, 0, 123000, tzinfo=UTC)
    kinds = [kind for kind, _body in script.seen]
    assert kinds.index("clock") < kinds.index("open")


@pytest.mark.parametrize(("_way", "server", "_points"), WAYS)
async def test_nothing_is_asked_between_the_clock_and_the_points_in_time(_way, server, _points):
    """Else the older of two overlapping looks could carry the later `read_at`."""
    script = SearchScript(documents(9), **server)
    async with connected(script, index=index_of(server)) as connector:
        await read(connector)
    kinds = [kind for kind, _body in script.seen]
    before = [kinds[n - 1] for n, kind in enumerate(kinds) if kind == "open"]
    assert set(before) <= {"clock", "open"}
    assert before.count("clock") == 1 + ("has_shard_doc" in server), "the way tried out, and the one that is read"


async def test_an_empty_part_asks_for_no_page():
    script = SearchScript([])
    async with connected(script) as connector:
        assert await read(connector) == []
    assert script.kinds["page"] == 0


async def test_keep_alive_goes_with_every_request_inside_e5():
    script = SearchScript(documents(20))
    async with connected(script, keep_alive_seconds=77) as connector:
        await read(connector)
    inside = [*script.bodies("count"), *script.bodies("probe"), *script.bodies("page")]
    assert {body["pit"]["keep_alive"] for body in inside} == {"77s"}
    assert [body["search_after"] for body in script.bodies("page")[1:]]


async def test_a_point_in_time_that_must_have_expired_is_not_tried_e5():
    script = SearchScript(documents(5))
    async with connected(script) as connector:
        await read(connector)
        connector._reading.keeper._opening.result().used_at -= 301
        assert len(await read(connector)) == 5
    assert script.kinds["open"] == 2


async def test_too_many_points_in_time_is_transient_and_leaves_none_open_e6():
    script = SearchScript(documents(9), product="OpenSearch", has_shard_doc=False)
    refuse = refusal(429, "rejected_execution_exception", {"retry-after": "1"})
    script.at("open", 3, lambda answer: refuse(script.open.pop(answer["pit_id"])))
    async with connected(script) as connector:
        with pytest.raises(TransientError) as caught:
            await read(connector)
        assert script.open == {}
        assert caught.value.retry_after == 1.0
        assert len(await read(connector)) == 9


async def test_a_point_in_time_without_all_shards_is_closed_and_refused_e2():
    script = SearchScript(documents(9), product="OpenSearch")
    script.at("open", 1, lambda answer: {**answer, "_shards": {"total": 3, "failed": 1}})
    async with connected(script) as connector:
        with pytest.raises(RestartAttempt, match="1 shards are missing"):
            await read(connector)
        assert script.open == {}


async def test_a_point_in_time_without_a_name_is_an_error():
    script = SearchScript(documents(9))
    script.at("open", 1, lambda answer: script.open.clear() or {})
    async with connected(script) as connector:
        with pytest.raises(TransientError, match="names none"):
            await read(connector)


async def test_an_index_that_was_read_from_and_is_gone_is_an_error_not_a_subset_e16():
    script = SearchScript(documents(20), indices=list(TWO))
    script.at("page", 2, refusal(404, "index_not_found_exception"))
    async with connected(script, index="ev*") as connector:
        with pytest.raises(RestartAttempt):
            await read(connector)
        script.indices.remove("ev2")
        with pytest.raises(PermanentError, match="ev2 was there") as caught:
            await read(connector)
    assert caught.value.code == "index_gone"


async def test_an_index_that_is_gone_is_left_out_where_that_is_configured_e16():
    script = SearchScript(documents(20), indices=list(TWO))
    async with connected(script, index="ev*", missing_indices="ignore") as connector:
        await connector.contract()
        script.indices.remove("ev2")
        assert len(await read(connector)) == 20


async def test_an_index_that_is_new_is_read_with_the_next_point_in_time_e16():
    script = SearchScript(documents(20), product="OpenSearch", indices=list(TWO))
    async with connected(script, index="ev*") as connector:
        await connector.contract()
        script.indices.append("ev3")
        assert sorted(await read(connector)) == list(range(20))


async def test_the_wait_that_is_asked_for_and_a_smaller_page_next_time_e10_e11():
    script = SearchScript(documents(30))
    script.at("page", 2, refusal(429, "es_rejected_execution_exception", {"retry-after": "1"}))
    async with connected(script, page_rows=8) as connector:
        with pytest.raises(TransientError) as caught:
            await read(connector)
        assert (caught.value.retry_after, caught.value.shrink) == (1.0, True)
        asked = len(script.bodies("page"))
        assert sorted(await read(connector)) == list(range(30))
    assert {body["size"] for body in script.bodies("page")[:asked]} == {8}
    assert max(body["size"] for body in script.bodies("page")[asked:]) == 4
    assert script.kinds["open"] == 1, "a busy server has not lost the point in time"


async def test_pages_shrink_until_the_server_takes_them_e11():
    script = SearchScript(documents(100), most_rows=3)
    tries = 4  # as often as a part is tried by default
    async with connected(script, page_rows=1000) as connector:
        for _ in range(tries - 1):
            with suppress(TransientError):
                await read(connector)
        assert sorted(await read(connector)) == list(range(100))


async def test_a_page_of_one_document_that_is_too_much_is_permanent_only_if_the_server_says_so_e11():
    script = SearchScript(documents(5), most_rows=0)
    async with connected(script, page_rows=1) as connector:
        with pytest.raises(PermanentError, match="single document"):
            await read(connector)
    script = SearchScript(documents(5))
    script.at("page", 1, refusal(429, "circuit_breaking_exception", durability="TRANSIENT"))
    async with connected(script, page_rows=1) as connector:
        with pytest.raises(TransientError):
            await read(connector)


async def test_an_answer_above_the_limit_is_not_read_and_asked_for_smaller_e12(monkeypatch):
    monkeypatch.setattr(BoundedNode, "limit", 20_000)
    big = [json.dumps({"id": f"d{n}", "at": DAY.isoformat(), "n": n, "fill": "x" * 4_000}) for n in range(20)]
    async with connected(SearchScript(big), page_rows=100, page_bytes=9_000) as connector:
        with pytest.raises(TransientError) as caught:
            await read(connector)
        assert (caught.value.code, caught.value.shrink) == ("too_large", True)
        assert sorted(await read(connector)) == list(range(20))


async def test_a_document_above_the_limit_is_permanent_e12(monkeypatch):
    monkeypatch.setattr(BoundedNode, "limit", 20_000)
    big = json.dumps({"id": "d0", "at": DAY.isoformat(), "n": 0, "fill": "x" * 30_000})
    async with connected(SearchScript([big]), page_rows=1) as connector:
        with pytest.raises(PermanentError, match="single document"):
            await read(connector)


def test_page_size_goes_towards_the_bytes_that_are_aimed_at_e12():
    size = PageSize(10_000, 1_000_000, 15)
    asked = []
    for _ in range(6):
        asked.append(size.rows)
        size.came(size.rows, size.rows * 200, 0.5)
    assert asked == [200, 800, 3200, 5000, 5000, 5000]
    size.came(5000, 5000 * 20_000, 0.5)
    assert size.rows == 50
    size.came(50, 50 * 2_000_000, 0.5)
    assert size.rows == 1
    size.came(0, 300, 0.5)
    assert size.rows == 1


def test_page_size_halves_and_does_not_grow_beyond_what_was_refused_e11():
    size = PageSize(10_000, 1 << 30, 15)
    size.came(200, 1000, 0.5)
    assert size.was_too_much(800)
    assert size.rows == 400
    size.came(400, 1000, 0.5)
    assert size.rows == 400
    assert size.was_too_much(400)
    assert size.rows == 200


def test_page_size_sinks_while_pages_take_long_and_grows_when_they_do_not():
    size = PageSize(10_000, 1 << 30, 15)
    size.came(200, 1000, 1)
    size.came(800, 1000, 30)
    assert size.rows == 400
    size.came(400, 1000, 60)
    assert size.rows == 100
    size.came(100, 1000, 1)
    assert size.rows == 400


async def test_a_page_that_nobody_answered_in_time_is_asked_for_smaller():
    script = SearchScript(documents(30))
    async with connected(script, page_rows=8) as connector:
        await read(connector)
        reading = connector._reading
        reader = PointReader(reading.points, reading.source.decoder, reading.size, reading.threads, {})
        slow = TransientError("no answer", code="timeout")
        assert reader._smaller(slow, 8) is slow
        await read(connector)
    assert max(body["size"] for body in script.bodies("page")[-8:]) == 4


def test_page_size_falls_steeply_while_nothing_ever_came_e11():
    size = PageSize(10_000, 1 << 30, 15)
    seen = []
    while size.was_too_much(size.rows):
        seen.append(size.rows)
    assert seen == [25, 3, 1]


async def test_pages_stay_within_the_index_s_result_window():
    script = SearchScript(documents(40), settings={"index.max_result_window": "5"})
    async with connected(script, page_rows=1000) as connector:
        assert len(await read(connector)) == 40
    assert max(body["size"] for body in script.bodies("page")) == 5


def cut_body(framing: str):
    """Half of the true answer, then the end of the connection."""

    async def answered(request, text):
        half = text[: len(text) // 2]
        head = {
            "length": f"Content-Length: {len(text)}\r\n",
            "chunked": "Transfer-Encoding: chunked\r\n",
            "close": "",
        }
        body = half if framing != "chunked" else f"{len(half):x}\r\n{half}\r\n"
        request.transport.write(f"HTTP/1.1 200 OK\r\n{head[framing]}Connection: close\r\n\r\n{body}".encode())
        request.transport.close()
        return web.Response()

    return answered


@pytest.mark.parametrize(
    ("framing", "code"), [("length", "connection"), ("chunked", "connection"), ("close", "bad_response")]
)
async def test_a_page_that_is_cut_off_is_transient(framing, code):
    script = SearchScript(documents(30))
    original, cut = script.handle, cut_body(framing)

    async def handle(request):
        answer = await original(request)
        if script.seen[-1][0] == "page" and script.kinds["page"] == 2:
            return await cut(request, answer.text)
        return answer

    script.handle = handle
    async with connected(script) as connector:
        with pytest.raises(TransientError) as caught:
            await read(connector)
        assert sorted(await read(connector)) == list(range(30))
    assert caught.value.code == code


@pytest.mark.parametrize("slices", [1, 2])
async def test_of_each_stream_one_page_is_decoded_and_one_fetched_ahead_and_no_more(slices):
    script = SearchScript(documents(200))
    async with (
        connected(script, slices=slices) as connector,
        connector.open(SPAN) as snapshot,
        aclosing(snapshot.batches()) as pages,
    ):
        await anext(pages)
        ahead = 2 * slices
        while script.kinds["page"] < 1 + ahead:
            await connector.now()
        for _ in range(20):
            await connector.now()
        assert script.kinds["page"] == 1 + ahead


async def test_no_more_requests_at_a_time_than_configured():
    script = SearchScript(documents(60))
    script.gate = lambda _number, _moment: asyncio.sleep(0.002)
    hours = [Window(DAY + timedelta(hours=n), DAY + timedelta(hours=n + 1)) for n in range(6)]
    async with connected(script, max_concurrent_requests=2) as connector:
        await connector.contract()
        await asyncio.gather(*(read(connector, hour) for hour in hours))
    assert script.most_at_once == 2


async def test_runs_of_one_endpoint_share_what_is_allowed():
    script = SearchScript(documents(60))
    script.gate = lambda _number, _moment: asyncio.sleep(0.002)
    async with connected(script, max_concurrent_requests=3) as one:
        given = {**one._settings.model_dump(), "max_concurrent_requests": 2}
        another = ElasticsearchConnector(ElasticsearchSettings(**given))
        try:
            await another.contract()
            await asyncio.gather(read(one), read(another), read(one), read(another))
        finally:
            await another.aclose()
        assert guard_of((given["endpoint"],))._most == 3, "what has left no longer counts"
    assert script.most_at_once == 2


async def test_while_a_long_pause_lasts_nothing_is_asked_but_given_back_e10():
    script = SearchScript(documents(30))
    script.at("page", 2, refusal(429, "es_rejected_execution_exception", {"retry-after": "300"}))
    async with connected(script) as connector:
        with pytest.raises(TransientError, match="because of"):
            await read(connector)
        asked = len(script.seen)
        with pytest.raises(TransientError, match="asked for a pause") as caught:
            await read(connector)
        assert (caught.value.code, caught.value.retry_after > 200) == ("paused", True)
        assert len(script.open) == 1, "and the point in time is still good"
        assert len(script.seen) == asked
    assert [kind for kind, _ in script.seen[asked:]] == ["close"]


@pytest.mark.parametrize("kind", ["page", "count"])
async def test_a_refusal_counts_for_all_runs_of_the_endpoint_e10(kind):
    script = SearchScript(documents(30))
    script.at(kind, 1, refusal(429, "es_rejected_execution_exception"))
    async with connected(script) as connector:
        await connector.now()
        guard = guard_of((connector._settings.endpoint,))
        assert guard.allowed == 2
        with pytest.raises(TransientError):
            await read(connector)
        assert guard.allowed == 1


@pytest.mark.parametrize("answering", ["by shard", "alone"])
async def test_a_large_part_is_read_in_slices_of_one_point_in_time_e7(answering):
    script = SearchScript(documents(300), shards=4, slices=answering)
    async with connected(script, slices=3) as connector, connector.open(SPAN) as snapshot:
        rows = [row async for batch in snapshot.batches() for row in batch.column("n").to_pylist()]
        assert snapshot.count == 300
    assert sorted(rows) == list(range(300))
    assert script.kinds["open"] == 1
    asked = {(body["slice"]["id"], body["slice"]["max"]) for body in script.bodies("page")}
    assert asked == {(0, 3), (1, 3), (2, 3)}


@pytest.mark.parametrize("taken", ["ignored", "refused"])
async def test_where_slices_do_not_hold_the_whole_it_is_read_in_one_piece(taken):
    script = SearchScript(documents(300), slices=taken)
    async with connected(script) as connector:
        assert sorted(await read(connector)) == list(range(300))
    assert "slice" in script.bodies("count")[-1]
    assert not [body for body in script.bodies("page") if "slice" in body]


async def test_slices_that_overlap_are_found_out_though_their_counts_add_up():
    script = SearchScript(documents(300), slices="overlapping")
    async with connected(script, slices=3) as connector:
        with pytest.raises(RestartAttempt, match="of one shard"):
            await read(connector)
        assert sorted(await read(connector)) == list(range(300))
    assert "slice" not in script.bodies("page")[-1]


async def test_slices_that_have_a_shard_in_common_in_the_midst_of_their_pages_are_found_out():
    """Pages of two shards and a half: the shard that both have is never the first or the last one of a page."""
    script = SearchScript(documents(120), shards=12, slices="crossed")
    async with connected(script, slices=2, page_rows=25) as connector:
        with pytest.raises(RestartAttempt, match="of one shard"):
            await read(connector)
        assert sorted(await read(connector)) == list(range(120))


async def test_a_slice_that_ends_early_restarts_the_part():
    script = SearchScript(documents(300))
    script.at("page", 5, lambda answer: {**answer, "hits": {"hits": answer["hits"]["hits"][:-1]}})
    async with connected(script) as connector:
        with pytest.raises(RestartAttempt, match="early"):
            await read(connector)
        assert sorted(await read(connector)) == list(range(300))
    assert "slice" not in script.bodies("page")[-1], "and now in one piece"


async def test_a_part_of_few_pages_is_not_cut():
    script = SearchScript(documents(4 * 7))
    async with connected(script) as connector:
        assert len(await read(connector)) == 4 * 7
    assert script.kinds["count"] == 1


async def test_a_part_goes_on_where_another_lost_its_trust_in_the_shared_point_in_time():
    script = SearchScript(documents(30))
    script.at("page", 2, failed("i_o_exception"))
    async with connected(script) as connector, connector.open(SPAN) as slow:
        with pytest.raises(RestartAttempt):
            await read(connector)
        assert len(script.open) == 1
        rows = [row async for batch in slow.batches() for row in batch.column("n").to_pylist()]
        assert sorted(rows) == list(range(30))
        assert len(await read(connector)) == 30
        assert len(script.open) == 2
    assert script.kinds["open"] == 2


async def test_an_error_of_the_reader_itself_gives_everything_back():
    script = SearchScript(documents(30))
    async with connected(script) as connector:
        with pytest.raises(ZeroDivisionError):
            async with connector.open(SPAN) as snapshot, aclosing(snapshot.batches()) as pages:
                await anext(pages)
                raise ZeroDivisionError
        assert [task.get_name() for task in asyncio.all_tasks() if task.get_name() == "next-page"] == []


async def test_a_close_that_fails_is_left_to_the_keep_alive_e5():
    script = SearchScript(documents(5))
    script.at("close", 1, lambda _: web.Response(status=503))
    async with connected(script) as connector:
        assert len(await read(connector)) == 5


@pytest.mark.parametrize(("_way", "server", "_points"), WAYS[::2])
async def test_a_cancellation_at_any_request_leaves_nothing_open_e5(_way, server, _points):
    """Cancelled before the server does it, or after it did and before its answer arrives."""

    async def trial(number: int, moment: str) -> bool:
        script = SearchScript(documents(20), **server)
        reached, go_on = asyncio.Event(), asyncio.Event()

        async def gate(seen: int, when: str) -> None:
            if (seen, when) == (number, moment):
                reached.set()
                await go_on.wait()

        script.gate = gate
        async with connected(script, index=index_of(server)) as connector:
            task = asyncio.create_task(read(connector))
            waiting = asyncio.create_task(reached.wait())
            await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            task.cancel()
            asyncio.get_running_loop().call_soon(go_on.set)
            await settled(task)
            return reached.is_set()

    trials = 0
    while await trial(trials, "before") and await trial(trials, "after"):
        trials += 1
    assert trials >= 10


async def test_a_cancellation_of_the_closing_lets_it_finish_e5():
    script = SearchScript(documents(5), product="OpenSearch", has_shard_doc=False)
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def gate(number: int, moment: str) -> None:
        if script.seen[number][0] == "close" and moment == "before" and script.kinds["close"] == 2:
            reached.set()
            await go_on.wait()

    script.gate = gate
    async with connected(script) as connector:
        await read(connector)
        closing = asyncio.create_task(connector.aclose())
        await reached.wait()
        closing.cancel()
        asyncio.get_running_loop().call_soon(go_on.set)
        await settled(closing)
        assert closing.cancelled()
        assert script.open == {}


async def test_closing_twice_is_harmless():
    script = SearchScript(documents(5))
    async with connected(script) as connector:
        await read(connector)
        await connector.aclose()
        await connector.aclose()
    assert script.kinds["close"] == 1


async def test_every_effect_passes_a_named_port():
    seen: Counter[str] = Counter()

    @contextmanager
    def port(name):
        seen[name] += 1
        yield

    script = SearchScript(documents(20))
    async with connected(script, port) as connector:
        await connector.plan(SPAN, 5)
        await read(connector)
    assert sum(seen.values()) == len(script.seen)
    assert seen.keys() == {
        "source.settings",
        "source.mapping",
        "source.live_count",
        "source.plan",
        "source.product",
        "source.clock",
        "source.open_pit",
        "source.probe",
        "source.count",
        "source.page",
        "source.close_pit",
    }


async def test_values_changed_by_a_declared_policy_are_counted_e17():
    odd = json.dumps({"id": "odd", "at": DAY.isoformat(), "n": "many"})
    columns = {"on_bad_value": {"n": "null"}}
    script = SearchScript([*documents(5), odd])
    async with connected(script, columns=columns) as connector, connector.open(SPAN) as snapshot:
        rows = [row async for batch in snapshot.batches() for row in batch.column("n").to_pylist()]
        assert snapshot.touched == {"n": 1}
    assert sorted(rows, key=str) == [0, 1, 2, 3, 4, None]


async def test_documents_that_are_set_aside_are_handed_out_once_and_are_among_the_count_m14():
    odd = [json.dumps({"id": f"odd{i}", "at": DAY.isoformat(), "n": "many"}) for i in range(3)]
    script = SearchScript([*documents(5), *odd])
    columns = {"on_bad_value": {"n": "quarantine"}}
    async with connected(script, columns=columns) as connector, connector.open(SPAN) as snapshot:
        rows = [row async for batch in snapshot.batches() for row in batch.column("n").to_pylist()]
        aside = snapshot.quarantined()
        assert (sorted(rows), aside.num_rows, snapshot.count) == ([0, 1, 2, 3, 4], 3, 8)
        assert set(aside["row_cursor"].to_pylist()) == {DAY}
        assert snapshot.quarantined() is None


async def test_a_value_that_does_not_fit_names_document_column_and_index_e17():
    odd = json.dumps({"id": "odd", "at": DAY.isoformat(), "n": "many"})
    async with connected(SearchScript([*documents(5), odd])) as connector:
        with pytest.raises(SluicewayError, match="document 'odd' of index 'events': column 'n'"):
            await read(connector)


async def test_sequence_numbers_and_versions_are_asked_for_only_if_they_are_columns():
    script = SearchScript(documents(5))
    async with connected(script) as connector:
        await read(connector)
    async with connected(script, columns={"meta": ["_seq_no", "_version"]}) as connector:
        await read(connector)
    asked = [(body["version"], body["seq_no_primary_term"]) for body in script.bodies("page")]
    assert asked == [(False, False), (True, True)]


PRODUCTS = [
    ({"version": {"number": "8.19.4"}}, "Elasticsearch 8.19.4"),
    ({"version": {"number": "2.19.1", "distribution": "opensearch"}}, "OpenSearch 2.19.1"),
    (web.Response(status=405), "Elasticsearch 8.19.4"),
]


@pytest.mark.parametrize(("answer", "shown"), PRODUCTS)
async def test_product_and_version_are_found_without_the_root_page_too(answer, shown):
    script = SearchScript(documents(5))
    if isinstance(answer, web.Response):
        answer.headers["x-elastic-product"] = "Elasticsearch"
    script.at("root", 1, lambda _: answer)
    async with connected(script) as connector:
        [endpoint, *_] = await connector.check()
    assert (endpoint.name, endpoint.found) == ("source_system.endpoint", shown)


async def test_a_user_who_may_only_read_is_not_told_the_version_and_reads_e22():
    script = SearchScript(documents(5), product="OpenSearch")
    script.at("root", 1, refusal(403, "security_exception"))
    script.at("nodes", 1, refusal(403, "security_exception"))
    async with connected(script) as connector:
        assert len(await read(connector)) == 5
        [endpoint, *_] = await connector.check()
    assert endpoint.found == "OpenSearch (version not told)"


@pytest.mark.parametrize(
    "answer",
    [
        {"version": {"number": "6.8.0"}},
        {"version": {"number": "1.3.0", "distribution": "opensearch"}},
        {"hello": 1},
    ],
)
async def test_what_cannot_be_read_from_is_refused(answer):
    script = SearchScript(documents(5))
    script.at("root", 1, lambda _: answer)
    async with connected(script) as connector:
        [only] = await connector.check()
    assert not only.ok


async def test_a_wrong_password_is_one_attempt_and_a_failed_check_e22():
    script = SearchScript(documents(5))
    script.at("root", 1, refusal(401, "security_exception"))
    async with connected(script) as connector:
        [only] = await connector.check()
    assert (only.ok, len(script.seen)) == (False, 1)
    assert "read and view_index_metadata" in only.hint


async def test_documents_without_a_cursor_fail_the_check_by_name():
    script = SearchScript(documents(5), without_cursor=5)
    async with connected(script) as connector:
        checks = {check.name: check for check in await connector.check()}
    cursor = checks["source_system.cursor"]
    assert "5 documents are without it" in cursor.found
    assert not cursor.ok
