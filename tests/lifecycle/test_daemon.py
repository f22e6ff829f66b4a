"""The daemon on real sources and targets: files to DuckDB, several pipelines in one process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, contextmanager

import duckdb
import pytest

from service.daemon import daemon as daemon_module
from service.daemon.daemon import Daemon
from service.daemon.settings import DaemonSettings
from service.events import (
    ConfigRefused,
    DaemonStopped,
    Emit,
    Looked,
    LookFailed,
    MemoryShort,
    PartRead,
    PhaseFinished,
    PhaseStarted,
    PipelineRemoved,
    RunFinished,
    RunReleased,
)
from state.model import Phase, RunStatus
from state.port import Port, direct
from state.sqlite import SqliteDrive
from tests.lifecycle.world import HOUR, START, World, events, merged
from tests.unit.test_scheduler import FiveYearsLater


class Heard(list):
    """Events, and a way to wait for one."""

    def __init__(self):
        super().__init__()
        self._more = asyncio.Event()

    def hear(self, event):
        self.append(event)
        self._more.set()

    async def until(self, wanted: Callable[[Heard], object], seconds: float = 60.0):
        async with asyncio.timeout(seconds):
            while not (found := wanted(self)):
                self._more.clear()
                await self._more.wait()
            return found

    def of(self, kind):
        return [event for event in self if isinstance(event, kind)]


def world(root, name: str, **settings) -> World:
    """A pipeline of that name in a folder of its own, three hours of events in it."""
    made = World(root / name, {"pipeline_metadata": {"pipeline_name": name}, **settings})
    for hour in range(3):
        made.write(f"h{hour}", events(60, START + hour * HOUR))
    return made


def enrol(root, *worlds: World) -> None:
    """Their configurations in the daemon's folder."""
    (root / "configs").mkdir(exist_ok=True)
    for one in worlds:
        asyncio.run(SqliteDrive.init(one.root / "drive.sqlite"))
        write(root, one)


def write(root, one: World, name: str = "") -> None:
    config = one.config
    file = root / "configs" / f"{name or config.pipeline_metadata.pipeline_name}.json"
    file.write_text(json.dumps(config.model_dump(mode="json", exclude_unset=True)))


@asynccontextmanager
async def serving(
    root, also: Emit = lambda _event: None, port: Port = direct, **settings
) -> AsyncIterator[tuple[Daemon, Heard, asyncio.Task]]:
    """A daemon on the configurations below `root`; `also` hears its events too."""
    heard = Heard()

    def hear(event):
        heard.hear(event)
        also(event)

    daemon = Daemon(root / "configs", DaemonSettings.model_validate(settings), hear, port=port)
    task = asyncio.create_task(daemon.serve())
    try:
        yield daemon, heard, task
    finally:
        daemon.stop.set()
        daemon.at_once.set()
        await asyncio.wait([task])


def finished(count: int) -> Callable[[Heard], bool]:
    return lambda heard: len(heard.of(RunFinished)) >= count


def test_every_window_of_every_pipeline_is_loaded_once_and_sigterm_ends_with_0(tmp_path):
    worlds = [world(tmp_path, name) for name in ("one", "two", "three")]
    enrol(tmp_path, *worlds)

    async def go():
        async with serving(tmp_path, max_runs=2) as (daemon, heard, task):
            await heard.until(finished(6))
            assert daemon.why_not_ready() == []
            daemon.stop.set()
            assert await task == 0
            assert daemon.why_not_ready() == ["draining"]
            assert heard[-1] == DaemonStopped(0)

    asyncio.run(go())
    for one in worlds:
        assert one.query("SELECT count(*), count(DISTINCT id) FROM events") == [(120, 120)]
        assert len(one.receipts()) == 2


def test_near_the_limit_of_its_memory_runs_walk_one_at_a_time_and_all_windows_are_loaded(tmp_path):
    """Case 48, K-6: a limit that the process is above at once."""
    worlds = [world(tmp_path, name) for name in ("one", "two", "three")]
    enrol(tmp_path, *worlds)
    short, walking = [], []

    async def go():
        def also(event):
            if isinstance(event, MemoryShort):
                short.append(event)
            elif isinstance(event, PhaseStarted):
                walking.append(daemon.turns.taken)

        async with serving(tmp_path, also, max_runs=3, memory_limit_bytes=2**20) as (daemon, heard, _task):
            await heard.until(finished(6))

    asyncio.run(go())
    assert len(short) == 1
    assert walking[-20:] == [1] * 20
    for one in worlds:
        assert one.query("SELECT count(*), count(DISTINCT id) FROM events") == [(120, 120)]


@pytest.mark.parametrize(("with_function", "expected"), [(False, {"refused"}), (True, {"opened"})])
def test_calls_share_engines_unless_a_function_of_any_pipeline_might_open_a_file_meanwhile(
    tmp_path, with_function, expected
):
    one, two = world(tmp_path, "one"), world(tmp_path, "two", phases={"audit": {"function": "nobodys:function"}})
    enrol(tmp_path, *([one, two] if with_function else [one]))
    found = set()

    @contextmanager
    def port(name):
        if name == "loader.merge.receipt":
            try:
                duckdb.connect(one.database).close()
                found.add("opened")
            except duckdb.Error:
                found.add("refused")
        yield

    async def go():
        async with serving(tmp_path, port=port) as (_daemon, heard, _task):
            await heard.until(finished(2))

    asyncio.run(go())
    assert found == expected


def test_one_bad_configuration_stops_nobody_and_is_told_with_its_problems(tmp_path):
    enrol(tmp_path, world(tmp_path, "good"))
    (tmp_path / "configs" / "bad.yaml").write_text("config_version: 1\npipeline_metadata: {pipeline_name: bad}\n")

    async def go():
        async with serving(tmp_path) as (_daemon, heard, _task):
            await heard.until(finished(2))
            [refused] = heard.of(ConfigRefused)
            assert refused.file.endswith("bad.yaml")
            assert any("source_system" in problem for problem in refused.problems)

    asyncio.run(go())


def test_a_folder_of_bad_configurations_alone_is_not_ready_and_an_empty_one_is(tmp_path):
    (tmp_path / "configs").mkdir()
    bad = tmp_path / "configs" / "bad.yaml"
    bad.write_text("config_version: 1\n")

    async def go():
        async with serving(tmp_path) as (daemon, heard, _task):
            await heard.until(lambda all_: all_.of(ConfigRefused))
            assert daemon.why_not_ready() == ["configuration"]
            bad.unlink()
            await daemon.reload()
            assert daemon.why_not_ready() == []

    asyncio.run(go())


def test_added_changed_and_removed_configurations_are_picked_up(tmp_path):
    first, second = world(tmp_path, "first"), world(tmp_path, "second")
    enrol(tmp_path, first)
    asyncio.run(SqliteDrive.init(second.root / "drive.sqlite"))
    longer = World(first.root, merged(first.settings, {"windows": {"end": (START + 3 * HOUR).isoformat()}}))

    async def go():
        async with serving(tmp_path, reload_seconds=0.05) as (daemon, heard, _task):
            await heard.until(finished(2))
            write(tmp_path, second)
            await heard.until(finished(4))
            write(tmp_path, longer)
            await heard.until(finished(5))
            (tmp_path / "configs" / "first.json").unlink()
            await heard.until(lambda all_: all_.of(PipelineRemoved))
            assert list(daemon.pipelines) == ["second"]

    asyncio.run(go())
    assert longer.query("SELECT count(*) FROM events") == [(180,)]


def test_a_configuration_that_turns_bad_leaves_its_pipeline_as_it_was(tmp_path):
    enrol(tmp_path, world(tmp_path, "events"))

    async def go():
        async with serving(tmp_path, reload_seconds=0.05) as (daemon, heard, _task):
            await heard.until(finished(2))
            (tmp_path / "configs" / "events.json").write_text('{"pipeline_metadata": {"pipeline_name": "events"}}')
            await heard.until(lambda all_: all_.of(ConfigRefused))
            assert list(daemon.pipelines) == ["events"]
            assert not heard.of(PipelineRemoved)

    asyncio.run(go())


def test_a_machine_that_slept_ticks_within_the_seconds_of_a_reload_s3(tmp_path, monkeypatch):
    enrol(tmp_path, world(tmp_path, "events", windows={"schedule": "* * 29 2 *"}))

    async def go():
        async with serving(tmp_path, reload_seconds=0.05) as (_daemon, heard, _task):
            await heard.until(finished(2))
            looks = len(heard.of(Looked))
            monkeypatch.setattr("apscheduler.schedulers.base.datetime", FiveYearsLater)
            await heard.until(lambda all_: len(all_.of(Looked)) > looks)

    asyncio.run(go())


@pytest.mark.parametrize("phase", list(Phase))
def test_a_drain_lets_every_run_come_to_its_next_checkpoint_and_the_next_daemon_goes_on(tmp_path, phase):
    windows = {"max_open": 2, "end": (START + 2 * HOUR).isoformat()}
    one = world(
        tmp_path, "events", windows=windows, phases={"target_cleaning": {"enabled": True, "retention": "400d"}}
    )
    enrol(tmp_path, one)

    async def interrupted():
        async with serving(tmp_path) as (daemon, heard, task):
            await heard.until(lambda all_: any(e.phase is phase for e in all_.of(PhaseStarted)))
            daemon.stop.set()
            assert await task == 0
            begun = {(e.run.id, e.phase) for e in heard.of(PhaseStarted)}
            done = {(e.run.id, e.phase) for e in heard.of(PhaseFinished)}
            done |= {(e.run.id, Phase.SOURCE_TO_STAGE_TRANSFER) for e in heard.of(PartRead)}  # its checkpoints
            assert begun == done
            return heard.of(RunReleased)

    released = asyncio.run(interrupted())
    assert all(event.run.status is RunStatus.PENDING for event in released)

    asyncio.run(settled(tmp_path, one))
    assert one.query("SELECT count(*), count(DISTINCT id) FROM events") == [(120, 120)]
    assert len(one.receipts()) == 2


async def settled(root, one: World) -> None:
    """A daemon until nothing of the pipeline is unfinished."""
    async with serving(root) as (daemon, heard, _task):

        def is_done(_heard: Heard) -> bool:
            looks = [event for event in heard.of(Looked) if event.oldest_open is None]
            attended = daemon.pipelines.get(one.config.pipeline_metadata.pipeline_name)
            return bool(looks) or (
                attended is not None and attended.unfinished == 0 and bool(heard.of(RunFinished))
            )

        await heard.until(is_done)


def test_what_is_away_at_the_start_is_told_not_ready_and_taken_up_when_it_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(daemon_module, "AGAIN_SECONDS", 0.1)
    one = world(tmp_path, "events")
    enrol(tmp_path, one)
    drive, away = one.root / "drive.sqlite", one.root / "away"
    drive.rename(away)

    async def go():
        async with serving(tmp_path) as (daemon, heard, _task):
            [told, *_] = await heard.until(lambda all_: all_.of(LookFailed))
            assert "sluiceway drive init" in told.hint
            assert daemon.why_not_ready() == [told.code]
            away.rename(drive)
            await heard.until(finished(2))
            assert daemon.why_not_ready() == []

    asyncio.run(go())
