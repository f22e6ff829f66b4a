"""Replicas of the daemon on one drive table: the work is shared, and taken over from the dead (K-1, G-6, G-10).

Three `sluiceway serve` processes load three pipelines from files into Snowflake; under load one is killed, one is
stopped, one is told to end. A fourth does what is left; then the stopped one goes on. Every window is loaded once.
"""

from __future__ import annotations

import asyncio
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from service.app import drive_of
from service.config import parse_config
from state.model import Run, RunStatus
from state.registry import backend
from tests.lifecycle.daemons import Serving, all_closed, seconds, until
from tests.lifecycle.snowflake_world import SnowflakeWorld, snowflake_defaults
from tests.lifecycle.world import START, events, merged
from tests.servers.mariadb import PASSWORD, PASSWORD_VARIABLE, MariaServer
from tests.snowflake.accounts import settings
from tests.snowflake.running import SnowflakeServer

PIPELINES = ("p1", "p2", "p3")
WINDOWS, MINUTE, EVERY = 12, timedelta(minutes=1), timedelta(seconds=10)
LEASE_SECONDS = 4.0
IDLE_SECONDS = 3.0
"""The server ends a transaction of the stopped process after this long."""


class Replicas:
    """Three pipelines, their sources and targets, and a drive table that is nobody's own."""

    def __init__(self, root: Path, server: SnowflakeServer, mariadb: MariaServer, windows: int = WINDOWS) -> None:
        self.place = place = server.place()
        self.root, self.windows = root, windows
        self.drive = mariadb.database(lock_wait_timeout_seconds=1).model_dump(mode="json", exclude_unset=True)
        self.worlds = {name: SnowflakeWorld(root / name, {}, place.connection) for name in PIPELINES}
        for number, world in enumerate(self.worlds.values()):
            world.write("rows", self.rows(number))
        asyncio.run(backend(parse_config(self.config("p1", "init")).drive_table).init())

    def rows(self, number: int) -> Any:
        return events(self.windows * (MINUTE // EVERY), START + number * timedelta(hours=1), EVERY)

    def config(self, name: str, process: str) -> dict[str, Any]:
        world = self.worlds[name]
        start = START + PIPELINES.index(name) * timedelta(hours=1)
        own = {
            "pipeline_metadata": {"pipeline_name": f"{world.connection['database']}_{name}"},
            "windows": {
                "start": start.isoformat(),
                "end": (start + self.windows * MINUTE).isoformat(),
                "width": "1m",
                "max_open": 2,
            },
            "target_system": {"table": f"{world.schema}.EVENTS_{name}"},
            "limits": {
                "lease_seconds": LEASE_SECONDS,
                "several_machines": True,
                "spool_directory": f"{self.root}/spool-{process}",
                "tries_per_phase": 10,
                "try_base_seconds": 0.05,
                "try_cap_seconds": 1.0,
            },
        }
        return merged({**snowflake_defaults(world), "drive_table": self.drive}, own)

    def process(self, name: str) -> Serving:
        return Serving(self.root / name, [self.config(pipeline, name) for pipeline in PIPELINES])

    def runs(self) -> list[Run]:
        async def look() -> list[Run]:
            async with drive_of(parse_config(self.config("p1", "look"))) as drive:
                return await drive.runs()

        return asyncio.run(look())

    def is_done(self) -> bool:
        runs = self.runs()
        return len(runs) == len(PIPELINES) * self.windows and not any(run.unfinished for run in runs)

    def require_once(self) -> None:
        """Each window has one run, which is COMPLETED, and one receipt; the content is that of the source."""
        runs = self.runs()
        assert {(run.status, run.failure) for run in runs} == {(RunStatus.COMPLETED, None)}
        receipts: list[str] = []
        for number, (name, world) in enumerate(self.worlds.items()):
            found = world.query(f'SELECT id, "AT", version, value FROM EVENTS_{name} ORDER BY id')
            assert found == [tuple(row.values()) for row in self.rows(number).to_pylist()]
            table = f"EVENTS_{name}__SLUICEWAY_LOADS"
            receipts += [run for (run,) in world.query(f"SELECT run_name FROM {table} WHERE kind = 'receipt'")]
        assert sorted(receipts) == sorted(run.name for run in runs)
        assert len({run.id for run in runs}) == len(PIPELINES) * self.windows

    def owned_by(self, process: Serving) -> dict[str, int]:
        """Tokens of the runs that a process holds, by name."""
        running = [run for run in self.runs() if run.status is RunStatus.RUNNING]
        return {run.name: run.token for run in running if run.owner.rsplit(":", 4)[1] == str(process.pid)}


def taken_over(orphans: dict[str, int], since: float, *others: Serving) -> list[float]:
    """Seconds until each of the runs was claimed by somebody else, with a higher token."""
    claims = [line for one in others for line in one.told("run_claimed")]
    found = []
    for run, token in orphans.items():
        after = [seconds(line) for line in claims if line["run"] == run and line["token"] > token]
        assert after, f"nobody took {run} over"
        found.append(round(min(after) - since, 1))
    return found


def shared_once(replicas: Replicas) -> list[float]:
    """All of it; returns the seconds of every take-over."""
    killed, stopped, told, last = map(replicas.process, ("killed", "stopped", "told", "last"))
    three = (killed, stopped, told)
    with settings(replicas.place, idle_seconds=IDLE_SECONDS), all_closed(*three, last):
        for one in three:
            one.start(**{PASSWORD_VARIABLE: PASSWORD})
        until(lambda: all(one.is_busy() for one in three), "three processes that are busy")
        stopped.send(signal.SIGSTOP)
        since = killed.send(signal.SIGKILL)
        assert killed.ended() == -signal.SIGKILL
        orphans = replicas.owned_by(killed) | replicas.owned_by(stopped)
        until(lambda: told.is_busy(since), "the third one goes on")
        told.send(signal.SIGTERM)
        assert told.ended() == 0
        assert replicas.owned_by(told) == {}
        last.start(**{PASSWORD_VARIABLE: PASSWORD})
        until(replicas.is_done, "all windows")
        replicas.require_once()
        stopped.send(signal.SIGCONT)
        until(lambda: not stopped.holds(), "the stopped one to see that it lost its runs")
        assert stopped.told("run_fenced")
        for one in (stopped, last):
            one.send(signal.SIGTERM)
            assert one.ended() == 0
        replicas.require_once()
        assert [line for one in (*three, last) for line in one.told("run_failed")] == []
        return taken_over(orphans, since, told, last)


def test_replicas_share_the_work_and_take_over_from_the_dead_k1_g6_g10(
    snowflake_server: SnowflakeServer, mariadb: MariaServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    taken = shared_once(Replicas(tmp_path, snowflake_server, mariadb))
    with capsys.disabled():
        print(f"\nRuns of dead replicas were taken over after {taken} s; a lease is {LEASE_SECONDS:g} s")
    assert taken
