"""Five pipelines, many windows, several processes, and processes that die (G-6, G-10, K-2; case 9).

Each test first lets five workers of one process load everything, which is the run without fault; then three
processes that all work on all five pipelines, of which one is killed, one stopped, and one told to end; then a
last one, which is ready by then, does what is left, and the stopped one goes on. All windows are loaded once, into
the same content.

So that statements are refused with 000625 here at all, a table of the server has `Size.waiters` waiters at most.

What runs where: here the drive table in MySQL has 100 windows in the three processes and 10 in the one, that in
Snowflake, which takes twice as many statements, has 25 and 5. `tests/soak/soak_many_workers.py` does 100 and 100
with both. The rows are the same however wide the windows are.
"""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from service import exit_codes
from state.model import Run, RunStatus
from state.snowflake.drive_settings import SnowflakeDriveSettings
from tests.faults.fleet import (
    ENDS,
    Fleet,
    Log,
    merges,
    statements_of,
    two_at_once,
    until,
    work,
)
from tests.lifecycle.processes import exit_code, process_of
from tests.servers.mariadb import MariaServer
from tests.snowflake.accounts import settings
from tests.snowflake.running import Place, SnowflakeServer

IDLE_SECONDS = 3.0
"""Far above the pause between two statements of a transaction, so that only one that nobody ends is ended."""


def fleet_at(place: Place, folder: Path, drive: str, windows: int, mariadb: MariaServer | None) -> Fleet:
    if mariadb is not None:
        kept = mariadb.database()
    else:
        schema = f"{place.database}.{place.schema}"
        kept = SnowflakeDriveSettings(type="snowflake", database_schema=schema)
    return Fleet(folder, place.connection, kept, windows).made()


def log_of(fleet: Fleet, name: str) -> Log:
    log = Log(fleet.root / "logs" / name)
    log.folder.mkdir(parents=True)
    return log


# In one process.


def one_process(fleet: Fleet, place: Place) -> dict[str, str]:
    """Everything loaded by five workers of one process; the content of the targets."""
    log = log_of(fleet, "one")
    log.go.touch()
    assert exit_code(work, fleet, "one", log, seconds=400) == 0
    assert {one.event for one in log.told(*ENDS)} == {"RunFinished"}
    require_once(fleet)
    assert fleet.left_in_stage() == []
    require_one_merge_at_a_time(fleet, place)
    return fleet.content_hashes()


def require_once(fleet: Fleet) -> None:
    """Each window has one run, which is COMPLETED, and one receipt."""
    runs = fleet.runs()
    assert {(run.status, run.failure) for run in runs} == {(RunStatus.COMPLETED, None)}
    assert sorted((run.id.pipeline, run.id.window) for run in runs) == fleet.wanted()
    receipts = Counter(name for _, _, _, _, _, name, _ in fleet.loads("receipt"))
    assert receipts == Counter(run.name for run in runs)


def require_one_merge_at_a_time(fleet: Fleet, place: Place) -> None:
    by_table = merges(fleet, statements_of(fleet, place))
    assert sum(map(len, by_table.values())) >= len(fleet.wanted())
    assert [pair for of_table in by_table.values() for pair in two_at_once(of_table)] == []


# In three.


@dataclass(frozen=True)
class Taken:
    """What became of the runs of the killed process and of the stopped one: seconds from its end to the next claim
    of each, until somebody is free for it included. A dead process of this machine is known to be dead; else the
    lease has to end. `refused`: statements that ended with 000625."""

    lease_seconds: float
    killed: list[float]
    stopped: list[float]
    refused: int

    def __str__(self) -> str:
        return (
            f"runs of the killed process claimed anew after {in_words(self.killed)}, of the stopped one after"
            f" {in_words(self.stopped)} with a lease of {self.lease_seconds:g} s; 000625 {self.refused} times"
        )


def in_words(seconds: list[float]) -> str:
    return (
        f"{min(seconds):.1f}-{max(seconds):.1f} s (median {statistics.median(seconds):.1f}, {len(seconds)} runs)"
    )


def three_processes(fleet: Fleet, place: Place) -> Taken:
    """Three processes share everything while one is stopped, one is killed and one is told to end.

    The stopped one, when it goes on, changes nothing in targets, load tables and drive table. It may still make a
    stage table or a file of an attempt that is over: the next statement of the call that it was stopped in.
    """
    logs = {name: log_of(fleet, name) for name in ("stopped", "killed", "told", "last")}
    with (
        process_of(work, fleet, "stopped", logs["stopped"]) as stopped,
        process_of(work, fleet, "killed", logs["killed"]) as killed,
        process_of(work, fleet, "told", logs["told"]) as told,
        process_of(last, fleet, logs["last"]) as the_last,
    ):
        together = [logs[name] for name in ("stopped", "killed", "told")]
        until(lambda: all(log.ready.exists() for log in together), "three processes that are ready")
        for log in together:
            log.go.touch()
        until(lambda: all(is_busy(log) for log in together), "three processes that are busy")
        os.kill(stopped.pid, signal.SIGSTOP)
        os.kill(killed.pid, signal.SIGKILL)
        ended_at = time.time()
        killed.join(60)
        of_killed, of_stopped = owned_by(fleet, killed.pid), owned_by(fleet, stopped.pid)
        until(lambda: is_busy(logs["told"], since=ended_at), "the third one goes on")
        os.kill(told.pid, signal.SIGTERM)
        told.join(60)
        assert (killed.exitcode, told.exitcode) == (-signal.SIGKILL, exit_codes.STOPPED)
        fenced = {
            one.run for one in logs["told"].told("RunFenced")
        }  # it had lost these by itself, to its own clock
        assert [run.name for run in owned_by(fleet, told.pid) if run.name not in fenced] == []
        logs["last"].go.touch()
        the_last.join(400)
        assert the_last.exitcode == 0
        require_once(fleet)
        assert fleet.left_in_stage() == []
        before = fleet.rows(), fleet.loads(), fleet.runs()
        os.kill(stopped.pid, signal.SIGCONT)
        stopped.join(120)
        assert stopped.exitcode == 0
    assert logs["stopped"].told("RunFenced")
    assert [one for log in logs.values() for one in log.told("RunFailed")] == []
    assert (fleet.rows(), fleet.loads(), fleet.runs()) == before
    require_one_merge_at_a_time(fleet, place)
    after = [taken_over(runs, ended_at, [*logs.values()]) for runs in (of_killed, of_stopped)]
    return Taken(fleet.lease_seconds, *after, refused(fleet, place))


def last(fleet: Fleet, log: Log) -> None:
    """Body of the process that does what is left."""
    work(fleet, "last", log, to_the_end=True)


def is_busy(log: Log, since: float = 0.0) -> bool:
    """Whether the process has finished a run since then, and holds one."""
    claimed = {one.run for one in log.told("RunClaimed")}
    ended = {one.run for one in log.told(*ENDS)}
    return bool(claimed - ended) and any(one.at > since for one in log.told("RunFinished"))


def owned_by(fleet: Fleet, pid: int) -> list[Run]:
    """The runs that a process holds."""
    running = [run for run in fleet.runs() if run.status is RunStatus.RUNNING]
    return [run for run in running if run.owner.rsplit(":", 4)[1] == str(pid)]


def taken_over(orphans: list[Run], ended_at: float, logs: list[Log]) -> list[float]:
    """Seconds until each of the runs was claimed by somebody else, with a higher token."""
    claims = [one for log in logs for one in log.told("RunClaimed")]
    found = []
    for run in orphans:
        after = [one.at for one in claims if one.run == run.name and one.token > run.token]
        assert after, f"nobody took {run.name} over"
        found.append(min(after) - ended_at)
    assert found, "the process held nothing"
    return found


def refused(fleet: Fleet, place: Place) -> int:
    """How many statements were refused with 000625."""
    return sum(one["code"] == "000625" for one in statements_of(fleet, place))


@dataclass(frozen=True)
class Size:
    """Windows of each of the five pipelines, in one process and in three, how many a worker loads at once there,
    and how many statements may wait for a table."""

    one: int
    three: int
    max_open: int
    waiters: int


SIZES = {"mysql": Size(2, 20, max_open=2, waiters=2), "snowflake": Size(1, 5, max_open=1, waiters=3)}


def shared_once(
    server: SnowflakeServer, folder: Path, drive: str, size: Size, mariadb: MariaServer | None
) -> Taken:
    """Both parts, on a database each."""
    places = [server.place(), server.place()]
    with settings(places[0], waiter_limit=size.waiters, idle_seconds=IDLE_SECONDS):
        alone = fleet_at(places[0], folder / "one", drive, size.one, mariadb)
        expected = one_process(alone, places[0])
        fleet = replace(fleet_at(places[1], folder / "three", drive, size.three, mariadb), max_open=size.max_open)
        taken = three_processes(fleet, places[1])
    assert fleet.content_hashes() == expected
    return taken


@pytest.mark.parametrize("drive", SIZES)
def test_every_window_is_loaded_once_by_processes_that_are_killed_stopped_and_told_g6_g10_k2(
    snowflake_server: SnowflakeServer, tmp_path: Path, drive: str, request, capsys
):
    mariadb = request.getfixturevalue("mariadb") if drive == "mysql" else None
    began = time.monotonic()
    taken = shared_once(snowflake_server, tmp_path, drive, SIZES[drive], mariadb)
    with capsys.disabled():
        print(f"\nDrive table in {drive}: {taken}; {time.monotonic() - began:.0f} s in all")
    assert taken.refused  # or nothing would have been shown about it
