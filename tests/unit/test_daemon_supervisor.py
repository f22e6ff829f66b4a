"""Guarded tasks: one that ends by itself stops the process, and says why (design §7)."""

from __future__ import annotations

import asyncio

import pytest

from service.daemon.daemon import Daemon
from service.daemon.settings import DaemonSettings
from service.daemon.supervisor import Supervisor, TaskEnded
from service.events import DaemonStopped


async def for_ever() -> None:
    await asyncio.Event().wait()


async def fails() -> None:
    raise ZeroDivisionError("a defect")


async def returns() -> None:
    return None


@pytest.mark.parametrize(("ends", "cause"), [(fails, ZeroDivisionError), (returns, None)])
async def test_a_task_that_ends_breaks_what_it_is_part_of_and_is_named(ends, cause):
    supervisor = Supervisor()
    other = supervisor.keep("other", for_ever())
    supervisor.keep("the part", ends())
    with pytest.raises(TaskEnded, match="the part ended") as raised:
        await supervisor.broken
    assert (None if cause is None else type(raised.value.__cause__)) == cause
    assert not other.done()
    await supervisor.aclose()
    assert other.cancelled()


async def test_a_task_that_is_cancelled_by_a_stranger_ended_by_itself():
    supervisor = Supervisor()
    supervisor.keep("the part", for_ever()).cancel()
    with pytest.raises(TaskEnded, match="the part"):
        await supervisor.broken


async def test_a_task_that_is_let_go_breaks_nothing_even_if_it_fails_as_it_goes():
    async def stumbles() -> None:
        try:
            await for_ever()
        finally:
            raise ZeroDivisionError

    supervisor = Supervisor()
    tasks = [supervisor.keep("one", for_ever()), supervisor.keep("two", stumbles())]
    await asyncio.sleep(0)
    await supervisor.let_go(*tasks)
    assert not supervisor.broken.done()
    await supervisor.aclose()


@pytest.mark.parametrize(("ends", "cause"), [(fails, ZeroDivisionError), (returns, None)])
async def test_a_daemon_of_which_a_part_ends_stops_with_code_70_and_raises_the_cause(tmp_path, ends, cause):
    heard: list[object] = []
    daemon = Daemon(tmp_path, DaemonSettings(), heard.append)
    daemon.supervisor.keep("the part", ends())
    with pytest.raises(TaskEnded, match="the part") as raised:
        await daemon.serve()
    assert (None if cause is None else type(raised.value.__cause__)) == cause
    assert heard[-1] == DaemonStopped(70)
