"""A worker that is told to stop: what runs in a thread ends first, and the cancellation goes on to the top."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path

import pytest

from service.app import drive_of
from service.events import Event, PhaseStarted, RunFailed, RunFenced, RunFinished, RunLeft, RunReleased
from service.lease import RENEWALS_PER_LEASE
from state.errors import LeaseLost, TransientError
from state.model import Phase, RunStatus
from state.owner import owner_name
from state.sqlite import SqliteDrive
from tests.lifecycle.world import World, events, merged

SOURCE = """
import threading

began, go_on, ended = threading.Event(), threading.Event(), threading.Event()

def run(config, record):
    began.set()
    go_on.wait(10)
    ended.set()
    return {}
"""
LEASE_SECONDS = 3

ENDS = RunFinished | RunFailed | RunFenced | RunReleased | RunLeft


@pytest.fixture
def user(tmp_path: Path, monkeypatch):
    """A module whose function, in a thread, waits until it may go on."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "waits_in_its_thread.py").write_text(SOURCE)
    import waits_in_its_thread

    yield waits_in_its_thread
    waits_in_its_thread.go_on.set()
    del sys.modules["waits_in_its_thread"]


@pytest.fixture
def world(tmp_path: Path) -> World:
    phases = {"audit": {"function": "waits_in_its_thread:run"}}
    limits = {"lease_seconds": LEASE_SECONDS}
    world = World(tmp_path, {"windows": {"width": "2h"}, "phases": phases, "limits": limits})
    world.write("day", events(100))
    return world


async def reached(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, 60)


async def one_of(task: asyncio.Task, awaited: Coroutine) -> None:
    """Until `awaited` has come, or never will because `task` has ended."""
    other = asyncio.create_task(awaited)
    await asyncio.wait([task, other], return_when=asyncio.FIRST_COMPLETED)
    other.cancel()


async def test_a_stop_waits_for_the_thread_and_keeps_the_lease_meanwhile(world: World, user, monkeypatch):
    """G-6: nobody may start the function a second time beside the first."""
    renewals = asyncio.Semaphore(0)
    renew = SqliteDrive.renew

    async def counted(*given: object) -> object:
        renewals.release()
        return await renew(*given)

    task = asyncio.create_task(world.run_due())
    await reached(user.began)
    task.cancel()
    monkeypatch.setattr(SqliteDrive, "renew", counted)
    for _ in range(RENEWALS_PER_LEASE + 2):  # longer than a lease lasts by itself
        await one_of(task, renewals.acquire())
    async with drive_of(world.config) as other:
        claim = await other.claim("events", owner_name(), timedelta(seconds=60))
        [run] = await other.runs()
    assert claim is None
    assert run.status is RunStatus.RUNNING
    assert not task.done()
    user.go_on.set()
    await asyncio.wait([task])
    assert task.cancelled()
    assert user.ended.is_set()
    [run] = await asyncio.to_thread(world.runs)
    assert run.status is RunStatus.PENDING


@pytest.mark.parametrize("error", [TransientError("locked"), LeaseLost("gone")])
async def test_a_stop_goes_on_although_the_run_cannot_be_released(world: World, user, monkeypatch, error):
    async def release(*_: object) -> None:
        raise error

    monkeypatch.setattr(SqliteDrive, "release", release)
    task = asyncio.create_task(world.run_due())
    await reached(user.began)
    task.cancel()
    user.go_on.set()
    await asyncio.wait([task])
    assert task.cancelled()
    [run] = await asyncio.to_thread(world.runs)
    assert run.status is RunStatus.RUNNING


async def test_a_lease_that_is_lost_during_a_stop_does_not_end_the_stop(world: World, user, monkeypatch):
    """The walker claims nothing more, and the run is left to whoever owns it now."""

    async def renew(*_: object) -> list[object]:
        renewed.set()
        return []

    renewed = asyncio.Event()
    hourly = World(world.root, merged(world.settings, {"windows": {"width": "1h"}}))
    task = asyncio.create_task(hourly.run_due())
    await reached(user.began)
    task.cancel()
    monkeypatch.setattr(SqliteDrive, "renew", renew)
    await one_of(task, renewed.wait())
    await asyncio.sleep(0)
    user.go_on.set()
    await asyncio.wait([task])
    assert task.cancelled()
    first, second = await asyncio.to_thread(world.runs)
    assert (first.status, first.attempts) == (RunStatus.RUNNING, 1)
    assert (second.status, second.attempts) == (RunStatus.PENDING, 0)


def held_up(monkeypatch, name: str, when: Callable[..., bool]) -> tuple[asyncio.Event, asyncio.Event]:
    """A call of the drive table whose answer, where `when` is true of what it was given, waits for the second
    event; the first one tells that it does."""
    call, waits, go_on = getattr(SqliteDrive, name), asyncio.Event(), asyncio.Event()

    async def late(drive: SqliteDrive, *given: object, **more: object) -> object:
        answer = await call(drive, *given, **more)
        if when(*given) and not waits.is_set():
            waits.set()
            await go_on.wait()
        return answer

    monkeypatch.setattr(SqliteDrive, name, late)
    return waits, go_on


async def stopped(task: asyncio.Task, go_on: asyncio.Event) -> None:
    task.cancel()
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_a_claim_that_is_under_way_when_the_stop_comes_is_given_back_k2(tmp_path: Path, monkeypatch):
    world = World(tmp_path, {"windows": {"width": "2h"}})
    world.write("day", events(100))
    waits, go_on = held_up(monkeypatch, "claim", lambda *_: True)
    task = asyncio.create_task(world.run_due())
    await waits.wait()
    await stopped(task, go_on)
    [run] = await asyncio.to_thread(world.runs)
    assert (run.status, run.owner, run.token) == (RunStatus.PENDING, "", 1)


async def test_a_run_whose_last_checkpoint_is_under_way_when_the_stop_comes_is_told_as_finished_k2(
    tmp_path: Path, monkeypatch
):
    world, heard = World(tmp_path, {"windows": {"width": "2h"}}), []
    world.write("day", events(100))
    waits, go_on = held_up(monkeypatch, "checkpoint", lambda _claim, run: run.status is RunStatus.COMPLETED)
    task = asyncio.create_task(world.run_due(emit=heard.append))
    await waits.wait()
    await stopped(task, go_on)
    [run] = await asyncio.to_thread(world.runs)
    assert run.status is RunStatus.COMPLETED
    assert isinstance(heard[-1], RunFinished)
    assert not any(isinstance(event, RunFenced | RunReleased) for event in heard)


def silent_once(monkeypatch, name: str) -> asyncio.Event:
    """The drive table never answers a call, the first time; the event tells that it was asked."""
    call, asked = getattr(SqliteDrive, name), asyncio.Event()

    async def never(drive: SqliteDrive, *given: object, **more: object) -> object:
        if asked.is_set():
            return await call(drive, *given, **more)
        asked.set()
        return await asyncio.Event().wait()

    monkeypatch.setattr(SqliteDrive, name, never)
    return asked


def ends(heard: list[Event]) -> list[type[Event]]:
    """How each attempt ended, as it was told."""
    return [type(event) for event in heard if isinstance(event, ENDS)]


@pytest.mark.parametrize("write", ["checkpoint", "fail", "release"])
async def test_a_run_that_is_lost_while_the_drive_table_never_answers_is_told_as_fenced_g6(
    tmp_path: Path, monkeypatch, write
):
    """A process that slept comes to its end: nobody waits for a write that would be void."""
    limits, phases = {"lease_seconds": 1}, {"audit": {"function": "json:loads"}} if write == "fail" else {}
    world, heard = World(tmp_path, {"windows": {"width": "2h"}, "limits": limits, "phases": phases}), []
    world.write("day", events(100))
    asked = silent_once(monkeypatch, write)

    def hear(event: Event) -> None:
        heard.append(event)
        if write == "release" and isinstance(event, PhaseStarted) and event.phase is Phase.AUDIT:
            task.cancel()

    task = asyncio.create_task(world.run_due(emit=hear))
    await asked.wait()
    lost = silent_once(monkeypatch, "renew")
    await asyncio.wait([task])
    assert lost.is_set()
    assert ends(heard)[:1] == [RunFenced]
    assert task.cancelled() == (write == "release")


async def test_a_failure_that_is_being_stored_when_the_stop_comes_is_told_k2(tmp_path: Path, monkeypatch):
    """An operator is waited for, and is told so."""
    world = World(tmp_path, {"windows": {"width": "2h"}, "phases": {"audit": {"function": "json:loads"}}})
    world.write("day", events(100))
    waits, go_on = held_up(monkeypatch, "fail", lambda *_: True)
    heard: list[Event] = []
    task = asyncio.create_task(world.run_due(emit=heard.append))
    await waits.wait()
    await stopped(task, go_on)
    [run] = await asyncio.to_thread(world.runs)
    assert (run.status, ends(heard)) == (RunStatus.FAILED, [RunFailed])


async def test_a_run_whose_end_cannot_be_stored_when_the_stop_comes_is_told_as_left_k2(
    tmp_path: Path, monkeypatch
):
    async def fail(*_given: object, **_more: object) -> None:
        failing.set()
        await asyncio.sleep(0)
        raise TransientError("locked")

    world = World(tmp_path, {"windows": {"width": "2h"}, "phases": {"audit": {"function": "json:loads"}}})
    world.write("day", events(100))
    failing, heard = asyncio.Event(), list[Event]()
    monkeypatch.setattr(SqliteDrive, "fail", fail)
    task = asyncio.create_task(world.run_due(emit=heard.append))
    await failing.wait()
    await stopped(task, asyncio.Event())
    [run] = await asyncio.to_thread(world.runs)
    assert (run.status, ends(heard)) == (RunStatus.RUNNING, [RunLeft])
