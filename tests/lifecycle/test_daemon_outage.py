"""An outage of 72 hours with windows of one minute: the source refuses, and comes back (S-7, K-3; case 52).

The source's clock is the test's; the daemon looks when the test says so.
"""

from __future__ import annotations

import asyncio
import resource
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from connectors.files.connector import FilesConnector
from service.daemon import looks as looks_module
from service.events import LookFailed, PipelineRemoved, RunClaimed, RunFailed, RunFinished, WindowsOpened
from state.errors import TransientError
from state.model import RunStatus
from tests.lifecycle.test_daemon import enrol, serving, world
from tests.lifecycle.world import START, World, events

OUTAGE = timedelta(hours=72)
MINUTE = timedelta(minutes=1)
PIPELINES = ("one", "two", "three")
EACH, TOTAL, MAX_OPEN = 8, 12, 2
ENOUGH = 36
"""Windows of all pipelines that are loaded after the outage, before the test has seen enough."""


class Source:
    """Whether the sources answer, and what time it is there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = START + 2 * MINUTE
        self.away = False
        source = self

        async def now(_self: FilesConnector) -> datetime:
            if source.away:
                raise TransientError("the source refuses connections", hint="Wait.", code="unreachable")
            return source.now

        monkeypatch.setattr(FilesConnector, "now", now)


def minutely(root: Path, name: str, *, ordered: bool) -> World:
    made = world(
        root,
        name,
        windows={"width": "1m", "end": None, "max_open": MAX_OPEN, "ordered": ordered, "schedule": "0 0 1 1 *"},
        limits={"catch_up_windows": EACH, "tries_per_phase": 1},
    )
    made.write("rows", events(200, every=MINUTE))
    return made


@pytest.mark.parametrize("ordered", [True, False])
def test_an_outage_of_72_hours_is_caught_up_with_in_bounds_and_the_oldest_first(tmp_path, monkeypatch, ordered):
    source = Source(monkeypatch)
    worlds = [minutely(tmp_path, name, ordered=ordered) for name in PIPELINES]
    enrol(tmp_path, *worlds)
    most_open = 0

    async def go() -> None:
        nonlocal most_open
        async with serving(tmp_path, max_runs=4, max_unfinished=TOTAL) as (daemon, heard, task):

            def look() -> None:
                for one in daemon.pipelines.values():
                    if one.attendant is not None:
                        one.attendant.tick()

            await heard.until(lambda all_: len(all_.of(RunFinished)) >= 2 * len(PIPELINES))
            assert daemon.why_not_ready() == []
            source.away = True
            source.now += OUTAGE
            for count in range(1, 4):  # looks during the outage
                look()
                await heard.until(lambda all_, count=count: len(all_.of(LookFailed)) >= count * len(PIPELINES))
                assert daemon.why_not_ready() == ["unreachable"]
            assert len(heard.of(RunClaimed)) == 2 * len(PIPELINES)
            assert not task.done()
            source.away = False
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            done = len(heard.of(RunFinished))
            look()
            while len(heard.of(RunFinished)) < done + ENOUGH:
                seen = len(heard)
                await heard.until(lambda all_, seen=seen: len(all_) > seen)
                each = [one.unfinished for one in daemon.pipelines.values()]
                assert max(each) <= EACH
                most_open = max(most_open, sum(each))
            assert daemon.why_not_ready() == []
            assert daemon.quota.used <= 1024**2
            assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024  # KiB
            daemon.stop.set()
            assert await task == 0
            assert not heard.of(PipelineRemoved) + heard.of(RunFailed)
            require_oldest_first(heard, ordered=ordered)

    asyncio.run(go())
    assert TOTAL / 2 < most_open <= TOTAL + MAX_OPEN * len(PIPELINES)
    for one in worlds:
        runs = [run for run in one.runs() if run.status is RunStatus.COMPLETED]
        assert len(runs) >= ENOUGH / len(PIPELINES) / 2  # nobody is left behind
        receipts = one.receipts()
        assert {run.name for run in runs} <= set(receipts)  # some were merged and not yet at their end
        assert len(receipts) == len(set(receipts))
        assert one.query("SELECT count(*), count(DISTINCT id) FROM events") == [(len(receipts), len(receipts))]


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
