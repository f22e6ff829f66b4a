"""The one thread of a DuckDB loader: calls one after another, and the file kept open only for one that waits."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import contextmanager
from threading import Event

import duckdb
import pytest

from loaders.duckdb.thread import CallThread
from state.errors import TransientError
from tests.contract.loader_desk import CONTRACT, attempt
from tests.contract.loader_worlds import DuckDBPlace

OPEN = "import sys, duckdb; duckdb.connect(sys.argv[1]).close()"


def others_can_open(path) -> bool:
    return (
        subprocess.run([sys.executable, "-c", OPEN, str(path)], capture_output=True, check=False).returncode == 0
    )


def place_with_door(tmp_path, within):
    """A loader of a fresh place; `within` is called in its thread while it raises a fence."""

    @contextmanager
    def port(name):
        if name == "loader.fence.begin":
            within()
        yield

    place = DuckDBPlace(tmp_path)
    return place, place.loader(mode="merge", key=("id",), pipeline="p", port=port)


async def test_a_call_that_waits_finds_the_file_still_open_and_the_last_one_closes_it(tmp_path, monkeypatch):
    gone_on, opened = Event(), []
    place, loader = place_with_door(tmp_path, gone_on.wait)
    await loader.prepare(CONTRACT)
    connect = duckdb.connect
    monkeypatch.setattr(duckdb, "connect", lambda path: (opened.append(path), connect(path))[1])
    calls = [asyncio.create_task(loader.raise_fence(attempt(token=token))) for token in (1, 2)]
    await asyncio.sleep(0)  # both are called: one is in the thread, one waits
    gone_on.set()
    await asyncio.gather(*calls)
    assert len(opened) == 3  # one for each, and one that kept the file open from the first to the second
    assert others_can_open(place.database)
    await loader.aclose()


async def test_a_call_that_is_withdrawn_leaves_no_file_open(tmp_path):
    going, gone_on = Event(), Event()

    def within():
        going.set()
        gone_on.wait()

    place, loader = place_with_door(tmp_path, within)
    await loader.prepare(CONTRACT)
    first = asyncio.create_task(loader.raise_fence(attempt(token=1)))
    second = asyncio.create_task(loader.raise_fence(attempt(token=2)))
    await asyncio.to_thread(going.wait)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    gone_on.set()
    await first
    assert others_can_open(place.database)
    assert (await loader.loads("p")).highest_token == 1
    await loader.aclose()


async def test_a_call_that_fails_keeps_nothing_open_for_the_next(tmp_path):
    fail = [True]

    def within():
        if fail.pop():
            raise TransientError("it broke", code="test")

    place, loader = place_with_door(tmp_path, within)
    await loader.prepare(CONTRACT)
    fail.append(False)
    fail.reverse()
    calls = [asyncio.create_task(loader.raise_fence(attempt(token=token))) for token in (1, 2)]
    broken, well = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(broken, TransientError)
    assert well is None
    assert others_can_open(place.database)
    await loader.aclose()


async def test_a_function_of_somebody_in_this_process_may_open_the_file_during_a_call(tmp_path):
    """A user's function runs beside the calls of other runs (design §4)."""
    found = []

    def within():
        with duckdb.connect(place.database) as connection:
            found.append(connection.execute("SELECT count(*) FROM duckdb_tables()").fetchone()[0])

    place, loader = place_with_door(tmp_path, within)
    await loader.prepare(CONTRACT)
    await asyncio.gather(*(loader.raise_fence(attempt(token=token)) for token in (1, 2)))
    assert found == [3, 3]
    await loader.aclose()


async def test_idle_is_told_when_no_call_waits_any_more():
    going, idle = Event(), []
    thread = CallThread(lambda: idle.append(thread.calls_wait))
    calls = [asyncio.create_task(thread.run(going.wait)) for _ in range(3)]
    await asyncio.sleep(0)
    assert thread.calls_wait
    going.set()
    await asyncio.gather(*calls)
    thread.close()
    assert idle == [False]
