"""Answers that a search server gives only when it is in trouble, by a proxy before the real one: whole runs.

"Equal" means that the target holds what the index holds, row by row; the rows' numbers are those of the table of
fault cases (14-20, 30).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from service.events import PhaseRetried
from state.errors import ConfigurationError, RestartAttempt, SluicewayError, TransientError
from state.model import RunStatus
from tests.integration.search_world import SearchWorld, search_world
from tests.integration.source import PROPERTIES, events, read, reader
from tests.servers.proxy import (
    Act,
    Answer,
    FaultProxy,
    Forward,
    Match,
    Request,
    answer,
    change,
    cut,
    page,
    reset_after,
    reset_before,
)
from tests.servers.search import ES8
from tests.servers.snapshots import none_left_open

DOCUMENTS = events(300, timedelta(seconds=20))
PAGES = {"page_rows": 20}
ONE_STREAM = {**PAGES, "slices": 1}
"""Where a test names the n-th page of a part."""
ONE_PART = {"source_to_stage_transfer": {"rows_per_part": 10_000, "chunk_rows": 25}}
EQUAL = sorted((name, document["n"]) for name, document in DOCUMENTS.items())


@pytest.fixture(scope="module")
def index(server) -> str:
    name = server.client.new_index(PROPERTIES, shards=2)
    server.client.put(name, DOCUMENTS)
    return name


@pytest.fixture
def given_back(server) -> Iterator[None]:
    with none_left_open(server):
        yield


@pytest.fixture
def proxy(server) -> Iterator[FaultProxy]:
    with FaultProxy(server.url) as proxy:
        yield proxy


@pytest.fixture
def world(tmp_path: Path, proxy: FaultProxy, index: str) -> SearchWorld:
    return search_world(tmp_path, proxy.url, index, PAGES, phases=ONE_PART)


def require_equal(world: SearchWorld) -> None:
    """The run ended, the target is equal, and the proof has every link."""
    run = world.finished()
    assert run.status is RunStatus.COMPLETED, run.failure
    assert world.rows('"_id"', "n") == EQUAL
    assert len(world.receipts()) == 1
    assert run.phases["audit"].figures["validation_status"] == "PASSED"


def retries(world: SearchWorld) -> list[PhaseRetried]:
    return [event for event in world.heard if isinstance(event, PhaseRetried)]


def break_a_shard(got: dict) -> None:
    """As a server answers when a shard failed and nobody forbade partial results."""
    reason = {"type": "illegal_state_exception", "reason": "the disk under the shard is gone"}
    got["_shards"] |= {
        "failed": 1,
        "successful": got["_shards"]["total"] - 1,
        "failures": [{"shard": 1, "reason": reason}],
    }
    got["hits"]["hits"] = got["hits"]["hits"][::2]


def run_out_of_time(got: dict) -> None:
    got["timed_out"] = True
    got["hits"]["hits"] = got["hits"]["hits"][:3]


def test_without_a_fault_the_target_is_equal_and_no_scroll_is_used_row20_e9(world, proxy):
    require_equal(world)
    assert retries(world) == []
    assert len(proxy.seen(page)) >= 15
    assert not [request for request in proxy.requests if "scroll" in request.path or "scroll" in request.query]


def test_a_page_of_which_a_shard_failed_is_rejected_and_names_the_shards_reason_row14_e2(world, proxy, given_back):
    rule = proxy.on(page, change(break_a_shard), nth=5)
    require_equal(world)
    assert rule.count > 5
    assert "the disk under the shard is gone" in retries(world)[0].message


def test_a_page_that_ran_out_of_time_is_rejected_row15_e2(world, proxy):
    proxy.on(page, change(run_out_of_time), nth=5)
    require_equal(world)
    assert len(retries(world)) == 1


def test_429_on_page_5_is_waited_for_as_long_as_the_server_asks_row16_e10(world, proxy):
    error = {"type": "es_rejected_execution_exception", "reason": "queue is full"}
    proxy.on(page, answer(429, {"error": error, "status": 429}, {"retry-after": "1"}), nth=5)
    require_equal(world)
    [retry] = retries(world)
    assert retry.wait >= timedelta(seconds=1)
    assert retry.code == "es_rejected_execution_exception"


def breaker(durability: str) -> Act:
    error = {"type": "circuit_breaking_exception", "reason": "[parent] Data too large", "durability": durability}
    return answer(429, {"error": error, "status": 429})


def larger_than(rows: int) -> Match:
    return lambda request: page(request) and request.body["size"] > rows


@pytest.mark.parametrize("durability", ["TRANSIENT", "PERMANENT"])
def test_pages_shrink_until_the_circuit_breaker_lets_them_pass_row17_e11(world, proxy, durability):
    proxy.on(larger_than(6), breaker(durability), times=math.inf)
    require_equal(world)
    sizes = [request.body["size"] for request in proxy.seen(page)]
    assert sizes[0] == 20
    assert sizes[-1] <= 6
    assert len([size for size in sizes if size > 6]) <= 3


@pytest.mark.parametrize(("durability", "kind"), [("TRANSIENT", "transient"), ("PERMANENT", "permanent")])
def test_a_circuit_breaker_that_stays_fails_the_run_and_loads_nothing_row17_e11(
    world, proxy, given_back, durability, kind
):
    proxy.on(page, breaker(durability), times=math.inf)
    run = world.finished()
    assert run.status is RunStatus.FAILED
    assert run.failure.kind == kind
    assert "Data too large" in run.failure.message
    assert min(request.body["size"] for request in proxy.seen(page)) == 1
    assert world.rows('"_id"') == []
    assert world.receipts() == []


ERROR_503 = {"error": {"type": "no_shard_available_action_exception", "reason": "node left"}, "status": 503}
FAULTS: dict[str, Act] = {
    "503 on a page (20)": answer(503, ERROR_503),
    "502 without a body": answer(502),
    "the body is cut (30)": cut(700),
    "the body is cut by a reset (30)": cut(700, reset=True),
    "reset before the effect": reset_before,
    "reset after the effect": reset_after,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_page_that_is_lost_is_read_again_and_the_target_is_equal_row20_row30(world, proxy, given_back, fault):
    proxy.on(page, FAULTS[fault], nth=5)
    require_equal(world)
    assert len(retries(world)) == 1


def kind(request: Request) -> tuple[str, str]:
    return request.method, request.path.rpartition("/")[2]


@pytest.mark.parametrize("fault", ["502 without a body", "the body is cut (30)", "reset after the effect"])
@pytest.mark.parametrize("server", [ES8], indirect=True, ids=str)
def test_any_request_of_a_run_may_fail_once_and_the_target_is_equal(server, index, tmp_path, fault):
    """Not only pages: whatever a run asks, in turn."""
    with FaultProxy(server.url) as proxy:
        plain = search_world(tmp_path / "plain", proxy.url, index, PAGES, phases=ONE_PART)
        require_equal(plain)
        kinds = list(
            dict.fromkeys((request.method, request.path.rpartition("/")[2]) for request in proxy.requests)
        )
    assert len(kinds) >= 5
    for number, wanted in enumerate(kinds):
        with FaultProxy(server.url) as proxy:
            rule = proxy.on(lambda request, wanted=wanted: kind(request) == wanted, FAULTS[fault])
            require_equal(search_world(tmp_path / str(number), proxy.url, index, PAGES, phases=ONE_PART))
            assert rule.count >= 1


def without(name: str):
    return lambda got: got.pop(name)


def put(name: str, value: object):
    return lambda got: got.__setitem__(name, value)


def put_shards(**figures: int):
    return lambda got: got["_shards"].update(figures)


FLAGS = {
    "timed_out": put("timed_out", True),
    "a shard failed": put_shards(failed=1),
    "a shard did not answer": lambda got: put_shards(successful=got["_shards"]["total"] - 1)(got),
    "terminated_early": put("terminated_early", True),
    "a cluster was skipped": put("_clusters", {"total": 2, "successful": 1, "skipped": 1}),
    "a cluster answered in part": put("_clusters", {"total": 2, "successful": 2, "skipped": 0, "partial": 1}),
    "nothing said of the shards": without("_shards"),
    "nothing said of the time": without("timed_out"),
    "no hits": without("hits"),
}


@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize("server", [ES8], indirect=True, ids=str)
async def test_each_sign_of_an_incomplete_page_is_an_error_e2_e3(proxy, index, flag):
    proxy.on(page, change(FLAGS[flag]), nth=2)
    async with reader(proxy.url, index, **ONE_STREAM) as source:
        with pytest.raises((TransientError, RestartAttempt)):
            await read(source)
    assert len(proxy.seen(page)) == 2


async def test_the_newest_snapshot_id_is_used_for_the_next_page_e1(proxy, index):
    proxy.on(page, change(put("pit_id", "a-newer-name")))
    async with reader(proxy.url, index, **ONE_STREAM) as source:
        with pytest.raises(SluicewayError):
            await read(source)
    assert [request.body["pit"]["id"] for request in proxy.seen(page)][1] == "a-newer-name"


async def test_the_client_itself_never_tries_again_e10(proxy, index):
    proxy.on(page, answer(503, ERROR_503), nth=2, times=math.inf)
    async with reader(proxy.url, index, **ONE_STREAM) as source:
        with pytest.raises(TransientError):
            await read(source)
    assert len(proxy.seen(page)) == 2


def refusal(status: int) -> Act:
    """A refusal that repeats what it was sent, as proxies in between do."""

    async def act(request: Request, _forward: Forward) -> Answer:
        error = {"type": "security_exception", "reason": f"bad header {request.headers['authorization']}"}
        return Answer(status, json.dumps({"error": error, "status": status}).encode())

    return act


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_user_is_one_request_and_no_secret_is_told_e22(proxy, index, status, monkeypatch):
    monkeypatch.setenv("SEARCH_KEY", "canary-of-a-secret")
    proxy.on(lambda _request: True, refusal(status), times=math.inf)
    async with reader(proxy.url, index, auth={"api_key": {"env": "SEARCH_KEY"}}) as source:
        with pytest.raises(ConfigurationError) as refused:
            await source.contract()
    assert len(proxy.requests) <= 2
    assert proxy.requests[0].headers["authorization"] == "ApiKey canary-of-a-secret"
    assert "bad header" in refused.value.message
    assert "canary" not in f"{refused.value.message}{refused.value.hint}{refused.value!r}"


async def test_requests_carry_plain_json_headers_for_every_version_e20(proxy, index):
    async with reader(proxy.url, index) as source:
        await read(source)
    for request in proxy.requests:
        assert request.headers["accept"] == "application/json"
        assert "compatible-with" not in str(request.headers)
