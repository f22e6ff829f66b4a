"""A worker that was paused past its lease writes nothing any more (G-6, G-11; cases 8, 9)."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.app import opened
from service.events import WindowsOpened
from service.tick import run_floor
from state.drive import Event
from state.errors import ReceiptMismatch
from state.model import Run, RunStatus
from state.port import Port
from tests.lifecycle.processes import exit_code, process_of
from tests.lifecycle.world import World, events

SHORT_LEASE = {"windows": {"width": "2h"}, "limits": {"lease_seconds": 1}}
MERGE = "loader.merge"


def pause_at(effect: str, paused: Path) -> Port:
    """Stops this process with SIGSTOP, once, just before the first effect whose name begins with `effect`.

    Never while the drive table is written: a stopped process would keep SQLite's lock, as it would DuckDB's.
    """
    writing = 0
    once = threading.Lock()

    def quiet() -> bool:
        """In the loop's own thread no write can end meanwhile, so there the next effect has to do."""
        if threading.current_thread() is threading.main_thread():
            return not writing
        while writing:
            time.sleep(0.001)
        return True

    @contextmanager
    def port(name: str) -> Iterator[None]:
        nonlocal writing
        if name.startswith(effect) and not paused.exists() and quiet() and once.acquire(blocking=False):
            paused.write_text(name)
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)  # else it might go on a little
        writes = name.startswith("drive.")
        writing += writes
        try:
            yield
        finally:
            writing -= writes

    return port


def paused_worker(world: World, effect: str, paused: Path, after: Path) -> None:
    """Body of the process; what it still sends after the pause goes to `after`."""
    heard = []
    world.run(pause_at(effect, paused), heard.append)
    after.write_text("\n".join(type(event).__name__ for event in heard))


def wait_for(path: Path) -> None:
    for _ in range(600):
        if path.exists():
            time.sleep(0.2)  # the signal follows the file
            return
        time.sleep(0.05)
    raise AssertionError(f"{path.name} did not appear")


def state_of(world: World) -> tuple:
    loads = world.query("SELECT * FROM SLUICEWAY_LOADS ORDER BY ALL")
    return world.content_hash(), loads, world.runs()


@pytest.mark.parametrize("effect", ["drive.checkpoint", "loader.put", "loader.copy", MERGE])
def test_a_worker_paused_past_its_lease_is_fenced_g6(tmp_path: Path, effect: str):
    world = World(tmp_path, SHORT_LEASE)
    world.write("day", events(100))
    paused, after = tmp_path / "paused", tmp_path / "after"
    with process_of(paused_worker, world, effect, paused, after) as first:
        wait_for(paused)
        second = World(
            tmp_path, {**SHORT_LEASE, "limits": {"lease_seconds": 1, "spool_directory": f"{tmp_path}/spool2"}}
        )
        for _ in range(100):
            if ended := second.run():
                break
            time.sleep(0.1)
        assert [run.status for run in ended] == [RunStatus.COMPLETED]
        assert ended[0].token == 2
        before = state_of(world)
        os.kill(first.pid, signal.SIGCONT)
        first.join(30)
        assert first.exitcode == 0
    assert "RunFenced" in after.read_text().split()
    assert state_of(world) == before


def test_a_lost_drive_table_is_repaired_from_receipts_and_nothing_is_loaded_twice_g8(tmp_path: Path):
    world = World(tmp_path, {})
    world.write("day", events(100))
    assert len(world.run()) == 2
    content, receipts = world.content_hash(), world.receipts()
    for file in tmp_path.glob("drive.sqlite*"):
        file.unlink()
    assert world.run() == []
    assert [run.status for run in world.runs()] == [RunStatus.COMPLETED] * 2
    assert (world.content_hash(), world.receipts()) == (content, receipts)


def test_after_a_lost_drive_table_tokens_go_on_above_those_of_the_target(tmp_path: Path):
    world = World(tmp_path, {"windows": {"end": "2025-11-15T01:00:00Z"}})
    world.write("day", events(100))
    [first] = world.run()
    for file in tmp_path.glob("drive.sqlite*"):
        file.unlink()
    [second] = World(tmp_path, {}).run()
    assert second.token > first.token


def test_a_window_loaded_again_after_the_target_was_made_anew_is_loaded_not_taken_as_done(tmp_path: Path):
    world = World(tmp_path, {})
    world.write("day", events(100))
    world.run()
    world.execute("DROP TABLE events")
    for file in tmp_path.glob("drive.sqlite*"):
        file.unlink()
    runs = world.run()
    assert [run.id.number for run in runs] == [2, 2]
    assert world.query("SELECT count(*) FROM events") == [(100,)]


def test_a_target_made_anew_under_a_run_with_a_receipt_is_a_receipt_mismatch_g8(tmp_path: Path):
    """The merge was committed, its checkpoint was not, and then somebody replaced the table."""
    world = World(tmp_path, {"windows": {"width": "2h"}})
    world.write("day", events(100))
    kill_after_commit(world)
    world.execute("DROP TABLE events")
    world.execute("DROP TABLE IF EXISTS events__SLUICEWAY_FENCE")
    [run] = world.run()
    assert (run.status, run.failure.kind) == (RunStatus.FAILED, ReceiptMismatch.kind)
    assert run.quarantined_at is not None
    assert len(world.receipts()) == 1
    again = retried(world, run)
    assert (again.id.number, again.status) == (2, RunStatus.COMPLETED)
    assert world.query("SELECT count(*) FROM events") == [(100,)]


def retried(world: World, run: Run) -> Run:
    """The run that goes on after an operator's `sluiceway retry`."""

    async def go() -> Run:
        async with opened(world.config, lambda _event: None) as worker:
            loads = await worker.repair()
            event = Event(await worker.drive.now(), "anna", "retry", worker.pipeline, run.name)
            floor = run_floor(loads, run.window)
            reopened = await worker.drive.reopen(run.id, from_phase=None, run_floor=floor, event=event)
            [ended] = await worker.run_these([reopened.id])
            return ended

    return asyncio.run(go())


def kill_after_commit(world: World) -> None:
    assert exit_code(killed_after_commit, world) == -signal.SIGKILL
    assert len(world.receipts()) == 1


def killed_after_commit(world: World) -> None:
    @contextmanager
    def port(name: str) -> Iterator[None]:
        yield
        if name == "loader.merge.commit":
            os.kill(os.getpid(), signal.SIGKILL)

    world.run(port)


def test_two_workers_share_the_windows_and_load_each_once(tmp_path: Path):
    """They compete for the lock of one DuckDB file too: a call is tried again while the other one's last."""
    patient = {"tries_per_phase": 60, "try_cap_seconds": 0.1}
    world = World(tmp_path, {"windows": {"width": "10m", "max_open": 2}, "limits": patient})
    world.write("day", events(120))
    other = World(tmp_path, {**world.settings, "limits": {**patient, "spool_directory": f"{tmp_path}/spool2"}})
    with process_of(World.run, world) as first, process_of(World.run, other) as second:
        for process in (first, second):
            process.join(120)
            assert process.exitcode == 0
    world.run()
    assert sorted(world.receipts()) == sorted(run.name for run in world.runs())
    assert world.query("SELECT count(*), count(DISTINCT id) FROM events") == [(120, 120)]


def test_windows_that_another_worker_opens_at_the_same_moment_are_no_error_g10(tmp_path: Path):
    """The other one writes between our look and our write; the runs are there once, and are claimed."""
    world = World(tmp_path, {})
    world.write("day", events(100))
    raced = []

    async def open_windows() -> None:
        async with opened(
            World(tmp_path, {"limits": {"spool_directory": f"{tmp_path}/2"}}).config, raced.append
        ) as it:
            await it.open(await it.repair())

    @contextmanager
    def port(name: str) -> Iterator[None]:
        if name == "drive.create" and not raced:
            other = threading.Thread(target=asyncio.run, args=(open_windows(),))
            other.start()
            other.join()
        yield

    runs = world.run(port)
    assert any(isinstance(event, WindowsOpened) for event in raced)
    assert [run.status for run in runs] == [RunStatus.COMPLETED] * 2
