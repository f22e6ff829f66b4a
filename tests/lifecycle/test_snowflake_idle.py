"""An idle hour asks Snowflake nothing: no statement, no heartbeat, no renewal (N-6, N-10)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from service.app import opened
from service.daemon.attendant import Attendant
from service.events import Looked
from service.lease import LeaseKeeper
from state.model import RunStatus
from tests.lifecycle.snowflake_world import world_at
from tests.lifecycle.test_daemon import Heard, finished, serving, write
from tests.lifecycle.world import events
from tests.snowflake.running import Place

HOUR = 3_600
LEASE = timedelta(minutes=10)
STEP = 30
"""Seconds that the loop's clock is put forward at once."""


@pytest.fixture
def requests(place: Place) -> Iterator[Any]:
    """How many requests have come to the test server, of any kind and from anybody."""
    number = place.server.post("/test/faults", {"act": "hang", "times": None})["id"]
    yield lambda: place.server.get(f"/test/faults/{number}")["fired"]
    place.server.delete(f"/test/faults/{number}")


@contextmanager
def clock_of_the_loop() -> Iterator[Any]:
    """`await` what it gives: an hour passes for everything that waits in this loop."""
    loop, ahead = asyncio.get_running_loop(), 0.0
    real = loop.time

    async def pass_an_hour() -> None:
        nonlocal ahead
        until = ahead + HOUR
        while ahead < until:
            ahead += STEP
            for _ in range(5):  # whatever is due begins, and may answer another one
                await asyncio.sleep(0)

    loop.time = lambda: real() + ahead  # type: ignore[method-assign]
    try:
        yield pass_an_hour
    finally:
        loop.time = real  # type: ignore[method-assign]


async def quiet(requests: Any) -> int:
    """The requests so far, once no more come."""
    seen = -1
    while seen != (seen := requests()):  # noqa: ASYNC110 - of another process
        await asyncio.sleep(0.3)
    return seen


async def test_an_idle_hour_asks_snowflake_nothing_n10(place: Place, tmp_path: Path, requests):
    world = await asyncio.to_thread(world_at, place, tmp_path, {"windows": {"width": "2h"}}, "snowflake")
    await asyncio.to_thread(world.write, "day", events(100))
    async with opened(world.config, lambda _event: None) as worker:
        [run] = await worker.run_due()
        assert run.status is RunStatus.COMPLETED
        keeper = LeaseKeeper(worker.drive, LEASE)
        keeping = asyncio.create_task(keeper.keep())
        before = await quiet(requests)
        statements = len(place.server.get("/test/statements"))
        with clock_of_the_loop() as pass_an_hour:
            await pass_an_hour()
            assert await quiet(requests) == before
        assert len(place.server.get("/test/statements")) == statements
        sessions = [one for one in place.server.get("/test/sessions") if one["user"] == world.user]
        assert len(sessions) > 1, "there is nobody who could ask"
        assert not any(one["parameters"]["CLIENT_SESSION_KEEP_ALIVE"] for one in sessions)
        keeping.cancel()


async def test_a_daemon_that_looks_twelve_times_and_finds_nothing_due_asks_snowflake_nothing_n10(
    place: Place, tmp_path: Path, requests
):
    """Target and drive table are there; what is due is told by the source's clock and by what the daemon knows."""
    world = await asyncio.to_thread(world_at, place, tmp_path, {"windows": {"width": "2h"}}, "snowflake")
    await asyncio.to_thread(world.write, "day", events(100))
    (tmp_path / "configs").mkdir()
    write(tmp_path, world)
    async with serving(tmp_path, health={"port": 0}, admin={"port": 0}) as (daemon, heard, _serving):
        await heard.until(finished(1))
        attendant = daemon.pipelines["events"].attendant
        assert attendant is not None
        await look(attendant, heard)
        before = await quiet(requests)
        with clock_of_the_loop() as pass_an_hour:
            for _ in range(12):
                await look(attendant, heard)
            await pass_an_hour()
            assert await quiet(requests) == before
        assert world.user in {one["user"] for one in place.server.get("/test/sessions")}, "nobody could ask"
        assert attendant.looked.unfinished == 0


async def look(attendant: Attendant, heard: Heard) -> None:
    """As a tick of the schedule does; until it has looked."""
    looked = len(heard.of(Looked))
    attendant.tick()
    await heard.until(lambda said: len(said.of(Looked)) > looked)


async def test_a_claimed_run_is_what_is_heard_of_n10(place: Place, tmp_path: Path, requests):
    """The hour is one: with a claim, its renewals are seen."""
    world = await asyncio.to_thread(world_at, place, tmp_path, {"windows": {"width": "2h"}}, "snowflake")
    await asyncio.to_thread(world.write, "day", events(100))
    async with opened(world.config, lambda _event: None) as worker:
        await worker.open(await worker.repair())
        claim = await worker.drive.claim(worker.pipeline, worker.owner, LEASE)
        assert claim is not None
        keeper = LeaseKeeper(worker.drive, LEASE)
        before = await quiet(requests)
        async with keeper.hold(claim, asyncio.get_running_loop().time()):
            keeping = asyncio.create_task(keeper.keep())
            with clock_of_the_loop() as pass_an_hour:
                await pass_an_hour()
                assert await quiet(requests) > before
            keeping.cancel()
        await worker.drive.release(claim, claim.run)
