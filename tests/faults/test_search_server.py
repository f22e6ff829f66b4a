"""Faults that a real search server produces itself: whole runs (fault cases 14 and 16 to 23)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from service.events import Event, PhaseRetried
from state.model import Run, RunStatus
from tests.integration.search_world import SearchWorld, search_world
from tests.integration.source import PROPERTIES, T0, events, iso
from tests.servers.farm import releases
from tests.servers.proxy import FaultProxy, first, page
from tests.servers.search import OS2, OS3, SearchServer
from tests.servers.snapshots import close_snapshot, none_left_open

DOCUMENTS = events(300, timedelta(seconds=20))
PAGES = {"page_rows": 20}
ONE_STREAM = {"slices": 1}
"""Where a test names the n-th page of a part."""
ONE_PART = {"source_to_stage_transfer": {"rows_per_part": 10_000, "chunk_rows": 25}}
WITH_PIT_LIMIT = [release for release in releases() if release in (OS2, OS3)]


def rows_of(documents: dict) -> list[tuple]:
    return sorted((name, document["n"]) for name, document in documents.items())


def filled(server: SearchServer, documents: dict = DOCUMENTS, name: str = "t") -> str:
    index = server.client.new_index(PROPERTIES, shards=2, name=name)
    server.client.put(index, documents)
    return index


@pytest.fixture(autouse=True)
def given_back(server) -> Iterator[None]:
    with none_left_open(server):
        yield


@pytest.fixture
def proxy(server) -> Iterator[FaultProxy]:
    with FaultProxy(server.url) as proxy:
        yield proxy


def world_of(root: Path, proxy: FaultProxy, index: str, source: dict | None = None, **settings) -> SearchWorld:
    return search_world(root, proxy.url, index, {**PAGES, **(source or {})}, phases=ONE_PART, **settings)


def require_equal(world: SearchWorld, documents: dict = DOCUMENTS) -> None:
    run = world.finished()
    assert run.status is RunStatus.COMPLETED, run.failure
    assert world.rows('"_id"', "n") == rows_of(documents)


def retried(world: SearchWorld) -> list[PhaseRetried]:
    return [event for event in world.heard if isinstance(event, PhaseRetried)]


def require_nothing_loaded(world: SearchWorld, run: Run) -> None:
    assert run.status is RunStatus.FAILED
    assert run.quarantined_at is not None
    assert world.rows('"_id"') == []
    assert world.receipts() == []


# 14: a shard cannot answer


def test_a_query_that_fails_on_some_shards_is_an_error_and_never_a_subset_row14_e2(server, tmp_path):
    """`many` is no number: the index where `v` is a number fails, the one where it is a keyword would answer."""
    prefix = f"mixed{uuid4().hex[:8]}"
    for kind, value in (("long", 1), ("keyword", "zebra")):
        index = server.client.new_index({**PROPERTIES, "v": {"type": kind}}, name=f"{prefix}-{kind}")
        server.client.put(index, {kind: {"at": iso(T0), "n": 1, "v": value}})
    source = {"where": {"range": {"v": {"gte": "many"}}}, "columns": {"types": {"v": "keyword"}}}
    world = search_world(tmp_path, server.url, f"{prefix}-*", source)
    run = world.finished()
    require_nothing_loaded(world, run)
    assert "where" in run.failure.hint


# 16, 17: too much asked


@contextmanager
def setting(server: SearchServer, name: str, value: object) -> Iterator[None]:
    """A setting of the whole cluster, for as long as the context lasts."""
    server.client.call("PUT", "/_cluster/settings", {"transient": {name: value}})
    try:
        yield
    finally:
        server.client.call("PUT", "/_cluster/settings", {"transient": {name: None}})


def run_until_retried(world: SearchWorld, mend) -> None:
    """One run; `mend` is done when it is heard that something is tried again."""

    def hear(event: Event) -> None:
        world.heard.append(event)
        if isinstance(event, PhaseRetried):
            mend()

    world.run(emit=hear)


@pytest.mark.parametrize("server", WITH_PIT_LIMIT, indirect=True, ids=str)
def test_no_room_for_another_snapshot_is_waited_for_row16_e6(server, tmp_path, proxy):
    world = world_of(tmp_path, proxy, filled(server))
    name = "search.max_open_pit_context"

    def mend() -> None:
        server.client.call("PUT", "/_cluster/settings", {"transient": {name: None}})

    with setting(server, name, 0):
        run_until_retried(world, mend)
    require_equal(world)
    assert retried(world)
    assert "429" in retried(world)[0].message


def test_a_circuit_breaker_of_the_server_is_waited_for_row17_e11(server, tmp_path, proxy):
    """The parent breaker at 1 % of the heap refuses every request but the one that changes it."""
    world = world_of(tmp_path, proxy, filled(server))
    name = "indices.breaker.total.limit"

    def trip(_request) -> None:
        server.client.call("PUT", "/_cluster/settings", {"transient": {name: "1%"}})

    def mend() -> None:
        server.client.call("PUT", "/_cluster/settings", {"transient": {name: None}})

    proxy.on(page, first(trip), nth=5)
    try:
        run_until_retried(world, mend)
    finally:
        mend()
    require_equal(world)
    assert "circuit_break" in retried(world)[0].code


def test_pages_larger_than_the_index_allows_are_not_asked_for_row17(server, tmp_path, proxy):
    index = filled(server)
    server.client.call("PUT", f"/{index}/_settings", {"index": {"max_result_window": 7}})
    world = search_world(tmp_path, proxy.url, index, phases=ONE_PART)
    require_equal(world)
    assert max(request.body["size"] for request in proxy.seen(page)) <= 7


# 18: the snapshot is gone


def test_a_snapshot_that_is_gone_is_replaced_and_none_is_mixed_with_another_row18_e4(server, tmp_path, proxy):
    world = world_of(tmp_path, proxy, filled(server), ONE_STREAM)
    gone = []

    def take_away(request) -> None:
        gone.append(request.body["pit"]["id"])
        close_snapshot(server, gone[0])

    proxy.on(page, first(take_away), nth=5)
    require_equal(world)
    used = [request.body["pit"]["id"] for request in proxy.seen(page)]
    after = used[used.index(gone[0]) :][1:]
    assert gone[0] not in used[5:]
    assert after
    first_again = proxy.seen(page)[5]
    assert "search_after" not in first_again.body
    [retry] = retried(world)
    assert retry.kind == "restart"


# 19: an index is gone


def test_an_index_that_is_deleted_while_it_is_read_fails_the_run_clearly_row19_e16(server, tmp_path, proxy):
    index = filled(server)
    world = world_of(tmp_path, proxy, index)
    proxy.on(page, first(lambda _request: server.client.call("DELETE", f"/{index}")), nth=5)
    run = world.finished()
    require_nothing_loaded(world, run)
    assert index in run.failure.message
    assert run.failure.hint


@pytest.mark.parametrize("act", ["delete", "close"])
def test_one_index_of_several_that_is_deleted_or_closed_is_never_a_silent_subset_row19_e16(
    server, tmp_path, proxy, act
):
    prefix = f"several{uuid4().hex[:8]}"
    filled(server, events(150, timedelta(seconds=20)), name=f"{prefix}-a")
    other = filled(server, {f"b{n}": {"at": iso(T0), "n": n} for n in range(150)}, name=f"{prefix}-b")
    world = world_of(tmp_path, proxy, f"{prefix}-*", ONE_STREAM)
    call = ("DELETE", f"/{other}") if act == "delete" else ("POST", f"/{other}/_close")
    proxy.on(page, first(lambda _request: server.client.call(*call)), nth=3)
    run = world.finished()
    require_nothing_loaded(world, run)
    assert other in run.failure.message


def test_an_index_that_may_go_missing_leaves_the_others_complete_row19_e16(server, tmp_path, proxy):
    prefix = f"several{uuid4().hex[:8]}"
    kept = events(150, timedelta(seconds=20))
    filled(server, kept, name=f"{prefix}-a")
    other = filled(server, {f"b{n}": {"at": iso(T0), "n": n} for n in range(150)}, name=f"{prefix}-b")
    world = world_of(tmp_path, proxy, f"{prefix}-*", {"missing_indices": "ignore"})
    proxy.on(page, first(lambda _request: server.client.call("DELETE", f"/{other}")), nth=3)
    require_equal(world, kept)


def test_an_index_that_rolls_over_while_it_is_read_is_read_completely_row19(server, tmp_path, proxy):
    """The alias moves to a new index; what the snapshot holds stays."""
    index = filled(server)
    alias = f"alias{uuid4().hex[:8]}"
    server.client.call("POST", "/_aliases", {"actions": [{"add": {"index": index, "alias": alias}}]})
    new = server.client.new_index(PROPERTIES)

    def roll(_request) -> None:
        swap = [{"remove": {"index": index, "alias": alias}}, {"add": {"index": new, "alias": alias}}]
        server.client.call("POST", "/_aliases", {"actions": swap})

    world = world_of(tmp_path, proxy, alias)
    proxy.on(page, first(roll), nth=5)
    require_equal(world)


# 21: one instant


def test_10000_documents_of_one_instant_are_all_in_the_target_row21(server, tmp_path):
    documents = events(10_000, timedelta(0))
    world = search_world(tmp_path, server.url, filled(server, documents), {"page_rows": 999}, phases=ONE_PART)
    require_equal(world, documents)


# 22: seen late


def test_a_document_seen_after_its_window_closed_is_caught_by_the_lookback_once_row22_e13_e14(server, tmp_path):
    index = server.client.new_index(PROPERTIES)
    on_time = {"early": {"at": iso(T0 + timedelta(minutes=10)), "n": 1}}
    late = {"late": {"at": iso(T0 + timedelta(minutes=50)), "n": 2}}
    server.client.put(index, on_time)
    server.client.put_unseen(index, late)
    windows = {"width": "1h", "lookback_seconds": 3600, "end": (T0 + timedelta(hours=1)).isoformat()}
    world = search_world(tmp_path, server.url, index, windows=windows)
    world.run()
    assert world.rows('"_id"', "n") == [("early", 1)]
    server.client.refresh(index)
    windows = {**windows, "end": (T0 + timedelta(hours=2)).isoformat()}
    world = search_world(tmp_path, server.url, index, windows=windows)
    world.run()
    assert world.rows('"_id"', "n") == [("early", 1), ("late", 2)]
    assert [run.status for run in world.runs()] == [RunStatus.COMPLETED] * 2


# 23: the mapping changes


def test_a_field_that_appears_while_the_window_is_read_does_not_disturb_the_run_row23_e17(server, tmp_path, proxy):
    index = filled(server)
    world = world_of(tmp_path, proxy, index)
    later = {"later": {"at": iso(T0), "n": 1000, "colour": "red"}}
    proxy.on(page, first(lambda _request: server.client.put(index, later)), nth=5)
    require_equal(world)
    assert "colour" in server.client.call("GET", f"/{index}/_mapping")[index]["mappings"]["properties"]


def test_a_conflicting_index_that_appears_while_the_window_is_read_is_named_row23_e17(server, tmp_path, proxy):
    """It appears, and the snapshot is lost, so that the next one sees it: its `n` is no number."""
    prefix = f"grows{uuid4().hex[:8]}"
    filled(server, name=f"{prefix}-a")
    made = []

    def appear(request) -> None:
        mapping = {**PROPERTIES, "n": {"type": "keyword"}}
        made.append(server.client.new_index(mapping, name=f"{prefix}-b"))
        server.client.put(made[0], {"odd": {"at": iso(T0), "n": "many"}})
        close_snapshot(server, request.body["pit"]["id"])

    world = world_of(tmp_path, proxy, f"{prefix}-*")
    proxy.on(page, first(appear), nth=5)
    run = world.finished()
    require_nothing_loaded(world, run)
    assert run.failure.kind == "contract"
    assert made[0] in run.failure.message
    assert "'n'" in run.failure.message


def test_the_declared_policy_is_applied_to_a_mapping_conflict_row23_e17(server, tmp_path):
    prefix = f"conflict{uuid4().hex[:8]}"
    for kind, value in (("long", 7), ("keyword", "seven")):
        index = server.client.new_index({**PROPERTIES, "v": {"type": kind}}, name=f"{prefix}-{kind}")
        server.client.put(index, {kind: {"at": iso(T0), "n": 1, "v": value}})
    refused = search_world(tmp_path / "fail", server.url, f"{prefix}-*")
    run = refused.finished()
    assert run.status is RunStatus.FAILED
    assert "'v'" in run.failure.message
    assert f"{prefix}-long" in run.failure.message
    as_text = search_world(tmp_path / "text", server.url, f"{prefix}-*", {"columns": {"conflicts": "text"}})
    assert as_text.finished().status is RunStatus.COMPLETED
    assert as_text.rows('"_id"', "v") == [("keyword", "seven"), ("long", "7")]
