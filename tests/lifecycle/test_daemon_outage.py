"""72 hours of outage with windows of one minute: a source or a target refuses, and comes back (S-7, K-3; case 52).

Servers are real, and so is the refusal. The source's clock is the test's; the daemon looks when the test says so.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from connectors.elasticsearch.connector import ElasticsearchConnector
from connectors.files.connector import FilesConnector
from service.config import parse_config
from service.daemon import looks as looks_module
from service.daemon.daemon import Daemon
from service.events import LookFailed, PipelineRemoved, RunClaimed, RunFailed, RunFinished, WindowsOpened
from service.memory import resident
from service.settings import PipelineConfig
from state.model import RunStatus
from tests.lifecycle.snowflake_world import PROPERTIES, Index, SnowflakeWorld
from tests.lifecycle.test_daemon import enrol, serving, write
from tests.lifecycle.world import START, World, defaults, events, merged
from tests.servers.door import Door
from tests.servers.search import ES8, SearchServer

OUTAGE = timedelta(hours=72)
MINUTE = timedelta(minutes=1)
PIPELINES = ("one", "two", "three")
EACH, FEW, TOTAL, MAX_OPEN = 8, 2, 12, 2
ENOUGH = 36
"""Windows of all pipelines that are loaded after the outage, before the test has seen enough."""
MOST_GROWN, MOST_SPOOL = 100 << 20, 1 << 20
"""Bytes that memory may grow by, and that the spool may hold, while the test catches up."""


class Clock:
    """What time it is at the sources that answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kind: type[Any]) -> None:
        self.now = START + 2 * MINUTE
        asked, clock = kind.now, self

        async def now(connector: Any) -> datetime:
            await asked(connector)
            return clock.now

        monkeypatch.setattr(kind, "now", now)


@dataclass(frozen=True)
class Searched(World):
    """A world whose rows are in `index`."""

    index: Index

    @property
    def config(self) -> PipelineConfig:
        return parse_config(merged(defaults(self.root) | {"source_system": self.index.settings}, self.settings))


WINDOWS = {"width": "1m", "end": None, "max_open": MAX_OPEN, "schedule": "0 0 1 1 *"}
LIMITS = {"catch_up_windows": EACH, "tries_per_phase": 1}


def minutely(root: Path, name: str, index: Index, *, ordered: bool) -> World:
    named = {"pipeline_metadata": {"pipeline_name": name}}
    return Searched(root / name, named | {"windows": WINDOWS | {"ordered": ordered}, "limits": LIMITS}, index)


def look(daemon: Daemon) -> None:
    for one in daemon.pipelines.values():
        if one.attendant is not None:
            one.attendant.tick()


async def caught_up_a_while(daemon: Daemon, heard: Any, count: int) -> int:
    """Until so many more windows are loaded; the most that were open. Bounds hold all the way."""
    before, done, most = resident(os.getpid()), len(heard.of(RunFinished)), 0
    look(daemon)
    while len(heard.of(RunFinished)) < done + count:
        seen = len(heard)
        await heard.until(lambda all_, seen=seen: len(all_) > seen)
        each = [one.unfinished for one in daemon.pipelines.values()]
        assert max(each) <= EACH
        assert daemon.quota.used <= MOST_SPOOL
        assert resident(os.getpid()) - before < MOST_GROWN
        most = max(most, sum(each))
    return most


@pytest.mark.parametrize("server", [ES8], indirect=True)
@pytest.mark.parametrize("ordered", [True, False])
def test_an_outage_of_72_hours_is_caught_up_with_in_bounds_and_the_oldest_first(
    tmp_path, monkeypatch, ordered, server: SearchServer
):
    clock = Clock(monkeypatch, ElasticsearchConnector)
    index = Index(server.url, server.client.new_index(PROPERTIES, name="outage"))
    index.put(events(200, every=MINUTE))
    most_open = 0

    async def go() -> list[World]:
        nonlocal most_open
        async with Door(int(server.url.rsplit(":", 1)[1])) as door:
            outside = replace(index, url=f"http://127.0.0.1:{door.port}")
            worlds = [minutely(tmp_path, name, outside, ordered=ordered) for name in PIPELINES]
            await asyncio.to_thread(enrol, tmp_path, *worlds)
            async with serving(tmp_path, max_runs=4, max_unfinished=TOTAL) as (daemon, heard, task):
                await heard.until(lambda all_: len(all_.of(RunFinished)) >= 2 * len(PIPELINES))
                assert daemon.why_not_ready() == []
                await door.shut()
                clock.now += OUTAGE
                for count in range(1, 4):  # looks during the outage
                    look(daemon)
                    await heard.until(lambda all_, n=count: len(all_.of(LookFailed)) >= n * len(PIPELINES))
                    assert daemon.why_not_ready() == ["connection"]
                assert len(heard.of(RunClaimed)) == 2 * len(PIPELINES)
                assert not task.done()
                await door.open()
                most_open = await caught_up_a_while(daemon, heard, ENOUGH)
                assert daemon.why_not_ready() == []
                daemon.stop.set()
                assert await task == 0
                assert not heard.of(PipelineRemoved) + heard.of(RunFailed)
                require_oldest_first(heard, ordered=ordered)
        return worlds

    worlds = asyncio.run(go())
    assert TOTAL / 2 < most_open <= TOTAL + MAX_OPEN * len(PIPELINES)
    for one in worlds:
        runs = [run for run in one.runs() if run.status is RunStatus.COMPLETED]
        assert len(runs) >= ENOUGH / len(PIPELINES) / 2  # nobody is left behind
        require_once(one, runs)


def require_once(one: World, runs: list[Any]) -> None:
    """Every window whose run is done is in the target, and nothing is there twice."""
    receipts = one.receipts()
    assert {run.name for run in runs} <= set(receipts)  # some were merged and not yet at their end
    assert len(receipts) == len(set(receipts))
    assert one.query("SELECT count(*), count(DISTINCT id) FROM events") == [(len(receipts), len(receipts))]


def test_a_target_that_is_away_for_72_hours_needs_nobody_when_it_is_back(tmp_path, monkeypatch, snowflake_server):
    """Each open window fails more often than any window may by its own fault, and none waits for an operator."""
    clock = Clock(monkeypatch, FilesConnector)
    place = snowflake_server.place()
    settings = {
        "windows": WINDOWS,
        "limits": LIMITS | {"catch_up_windows": FEW, "attempts_per_error_class": 2},
        "snowflake_connection": {"login_timeout_seconds": 1},
    }
    inside = SnowflakeWorld(tmp_path / "one", settings, place.connection).made()
    inside.write("rows", events(200, every=MINUTE))

    async def go() -> None:
        async with Door(place.connection["port"]) as door:
            (tmp_path / "configs").mkdir()
            write(tmp_path, replace(inside, connection=place.connection | {"port": door.port}))
            async with serving(tmp_path, max_runs=4) as (daemon, heard, task):
                await heard.until(lambda all_: len(all_.of(RunFinished)) >= 2)
                await door.shut()
                clock.now += OUTAGE
                look(daemon)
                await heard.until(lambda all_: len(all_.of(WindowsOpened)) >= 2)
                await heard.until(often_failed(3 * FEW))
                assert all(failed.run.quarantined_at is None for failed in heard.of(RunFailed))
                assert [one.unfinished for one in daemon.pipelines.values()] == [FEW]
                assert not task.done()
                await door.open()
                await caught_up_a_while(daemon, heard, 4 * FEW)
                daemon.stop.set()
                assert await task == 0
                assert not heard.of(PipelineRemoved)

    asyncio.run(go())
    require_once(inside, [run for run in inside.runs() if run.status is RunStatus.COMPLETED])


def often_failed(times: int) -> Callable[[Any], bool]:
    return lambda heard: len(heard.of(RunFailed)) >= times


def require_oldest_first(heard, *, ordered: bool) -> None:
    for name in PIPELINES:
        opened = [w for event in heard.of(WindowsOpened) if event.pipeline == name for w in event.windows]
        assert opened == sorted(set(opened))
        assert opened[0].start == START
        assert all(a.end == b.start for a, b in pairwise(opened))
        claimed = [event.run.window for event in heard.of(RunClaimed) if event.run.id.pipeline == name]
        assert claimed == sorted(claimed)
        if ordered:
            ended = [e.run.window for e in heard.of(RunFinished) if e.run.id.pipeline == name]
            assert ended == sorted(ended)


async def test_a_look_that_hangs_keeps_no_other_pipeline_from_its_look(monkeypatch):
    """S-7: fair between pipelines, with as many that hang as looks at a time are allowed."""
    monkeypatch.setattr(looks_module, "PATIENCE_SECONDS", 0.01)
    looks = asyncio.Semaphore(1)
    done = asyncio.Event()

    async def hangs() -> None:
        async with looks_module.slot(looks):
            await asyncio.Event().wait()

    hanging = [asyncio.create_task(hangs()) for _ in range(3)]
    async with asyncio.timeout(10), looks_module.slot(looks):
        done.set()
    for task in hanging:
        task.cancel()
    await asyncio.wait(hanging)
    async with looks_module.slot(looks):
        assert looks.locked()  # each gave back once
    assert done.is_set()
