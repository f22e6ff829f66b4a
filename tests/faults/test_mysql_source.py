"""What goes wrong between a MariaDB and its reader: the part is read again, and the target equals the source.

Rows 24 to 28 of reliability §12.1 and M-1 to M-8, M-16 through whole runs: a proxy that cuts and lies, KILL, ALTER
TABLE, a writer that never rests. Each test looks whether its fault really came.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from connectors.mysql.connector import MysqlConnector
from connectors.mysql.session import Session
from service.app import opened
from service.cli.looking import runs_and_clock
from service.events import Event, PhaseRetried, RunFinished
from service.ledger import ledger
from state.errors import RestartAttempt
from state.model import Phase, Run, RunStatus, Window
from state.port import Port
from tests.integration.mysql_source import READER, MysqlPlace
from tests.integration.mysql_world import MysqlPipeline
from tests.lifecycle.world import HOUR, START, merged
from tests.servers.mariadb import NEWS_SECONDS
from tests.servers.relay import HangUp, Relay
from tests.unit.mysql_script import EOF

ROWS, LETTERS = 3000, 12_000
"""An hour of some 36 MB: more than the buffers between server and reader hold, so that it is cut on its way."""
SETTINGS = {
    "windows": {"end": (START + HOUR).isoformat()},
    "target_system": {"version": "version"},
    "phases": {"source_to_stage_transfer": {"rows_per_part": 1_000_000, "chunk_rows": 1_000_000}},
}
SECOND = timedelta(seconds=1)
HOUR_ONE = Window(START, START + HOUR)


@pytest.fixture
def place(mariadb) -> MysqlPlace:
    place = MysqlPlace(mariadb)
    place.sql(
        "CREATE TABLE t (id INT PRIMARY KEY, at TIMESTAMP(6) NOT NULL, version INT NOT NULL, note TEXT, KEY (at))"
    )
    return place


@pytest.fixture
def full(place) -> MysqlPlace:
    """`ROWS` rows of the first hour."""
    place.sql(
        f"INSERT INTO t SELECT seq, FROM_UNIXTIME({START.timestamp()} + seq), 1,"
        f" REPEAT(CHAR(65 + seq % 26), {LETTERS}) FROM seq_1_to_{ROWS}"
    )
    return place


def world(place: MysqlPlace, root: Path, settings: dict[str, Any] | None = None, **source: Any) -> MysqlPipeline:
    return MysqlPipeline(root, merged(SETTINGS, settings or {}), place, source)


def require_equal(place: MysqlPlace, found: MysqlPipeline, run: Run, rows: int = ROWS) -> None:
    """The run is whole and proven, and the target holds what the source does."""
    assert (run.status, run.failure) == (RunStatus.COMPLETED, None)
    assert run.phases[Phase.AUDIT].figures["validation_status"] == "PASSED"
    wanted = place.sql("SELECT id, version, MD5(note) FROM t ORDER BY id")
    assert len(wanted) == rows
    assert found.query("SELECT id, version, md5(note) FROM events ORDER BY id") == wanted


def at_read(number: int, act: Callable[[], object], effect: str = "source.read") -> Port:
    """`act` is done once, when the effect begins for the n-th time."""
    seen = 0

    @contextmanager
    def port(name: str) -> Iterator[None]:
        nonlocal seen
        if name == effect:
            seen += 1
            if seen == number:
                act()
        yield

    return port


# Cut connections (row 25).


def cut(reset: bool, after: int = 5_000_000) -> Callable[[bytes], bytes]:
    """Passes so many bytes on, then hangs up, in the midst of a packet."""
    passed = 0

    def spoil(data: bytes) -> bytes:
        nonlocal passed
        passed += len(data)
        if passed > after:
            raise HangUp(reset=reset)
        return data

    return spoil


def lie(after: int = 5_000_000) -> Callable[[bytes], bytes]:
    """Passes about so many bytes on, to the end of a packet, and then says that this was all."""
    passed, waiting, told = 0, b"", False

    def spoil(data: bytes) -> bytes:
        nonlocal passed, waiting, told
        waiting += data
        out = b""
        while (
            not told and len(waiting) >= 4 and len(waiting) >= (size := 4 + int.from_bytes(waiting[:3], "little"))
        ):
            packet, waiting = waiting[:size], waiting[size:]
            passed += size
            out += packet
            if told := passed > after:
                out += len(EOF).to_bytes(3, "little") + bytes([(packet[3] + 1) & 0xFF]) + EOF
        if told and not out:
            raise HangUp(reset=False)
        return out

    return spoil


@pytest.mark.parametrize(
    ("spoil", "code"),
    [(cut(reset=True), "2013"), (cut(reset=False), "2013"), (lie(), "rows_read")],
    ids=["reset", "ended in a packet", "a lie: fewer rows and the packet that ends an answer"],
)
def test_an_answer_that_is_cut_on_its_way_is_read_again_m6(full, tmp_path, spoil, code):
    heard: list[Event] = []

    async def go() -> list[Run]:
        async with Relay(full.server.port) as relay:
            found = world(full, tmp_path, port=relay.port)
            port = at_read(1, lambda: setattr(relay, "spoil", spoil))  # before the query: where a packet begins
            runs = await found.run_due(port, heard.append)
            assert relay.spoil is None or code == "rows_read"
            return runs

    [run] = asyncio.run(go())
    assert [event.code for event in heard if isinstance(event, PhaseRetried)] == [code]
    require_equal(full, world(full, tmp_path), run)


@pytest.mark.parametrize(("kill", "code"), [("KILL QUERY", "1317"), ("KILL", "2013")])
def test_a_reader_that_is_killed_reads_its_part_again_m6(full, tmp_path, kill, code):
    heard: list[Event] = []

    def act() -> None:
        [number] = [number for number, command in full.connections() if command == "Query"]
        full.server.sql(f"{kill} {number}")

    found = world(full, tmp_path)
    [run] = found.run(at_read(2, act), heard.append)
    assert [event.code for event in heard if isinstance(event, PhaseRetried)] == [code]
    require_equal(full, found, run)


# Time (rows 26, M-4, M-7, M-8).


async def read_slowly(connector: MysqlConnector, seconds: float) -> int:
    """Read the hour, and stand still for so long with the first batch in hand; rows that came."""
    rows = 0
    async with connector.open(HOUR_ONE) as snapshot, aclosing(snapshot.batches()) as batches:
        async for batch in batches:
            if not rows:
                await asyncio.sleep(seconds)
            rows += batch.num_rows
    return rows


def test_a_sink_that_stalls_longer_than_the_servers_own_patience_loses_nothing_m7_m8(full):
    async def go() -> int:
        async with aclosing(MysqlConnector(full.settings())) as connector:
            return await read_slowly(connector, 4)

    full.sql("SET GLOBAL net_write_timeout = 1")
    try:
        assert asyncio.run(go()) == ROWS
    finally:
        full.sql("SET GLOBAL net_write_timeout = DEFAULT")


def test_a_sink_that_stalls_for_too_long_gives_the_part_up_before_the_server_does_m8(full):
    async def go() -> None:
        async with aclosing(MysqlConnector(full.settings(write_timeout_seconds=2))) as connector:
            with pytest.raises(RestartAttempt, match="nothing was taken") as caught:
                await read_slowly(connector, 1.5)
            assert caught.value.code == "stalled"
            assert full.held() == []
            assert await read_slowly(connector, 0) == ROWS

    asyncio.run(go())


def test_a_statement_that_takes_longer_than_it_may_is_read_again_m6(full):
    async def go() -> None:
        async with aclosing(MysqlConnector(full.settings(statement_timeout_seconds=1))) as connector:
            with pytest.raises(RestartAttempt) as caught:
                await read_slowly(connector, 2)
            assert caught.value.code == "1969"
            assert await read_slowly(connector, 0) == ROWS

    asyncio.run(go())


def test_a_snapshot_that_grows_too_old_is_given_back_and_the_part_read_in_a_new_one_m4(full, tmp_path):
    heard: list[Event] = []
    found = world(full, tmp_path, {"phases": {"source_to_stage_transfer": {"snapshot_max_age_seconds": 4}}})
    [run] = found.run(at_read(2, lambda: time.sleep(4.2)), heard.append)
    assert [event.code for event in heard if isinstance(event, PhaseRetried)] == ["snapshot_age"]
    require_equal(full, found, run)
    assert full.held() == []


# The table changes (row 28, M-16).


def test_a_table_that_is_altered_before_its_rows_are_read_is_planned_again_m16(full, tmp_path):
    """The new column arrives with the rows."""
    found = world(full, tmp_path)
    runs = found.run(at_read(1, lambda: full.sql("ALTER TABLE t ADD COLUMN more INT DEFAULT 7"), "source.open"))
    while runs[-1].status is not RunStatus.COMPLETED:
        assert runs[-1].quarantined_at is None
        runs = found.run()
    require_equal(full, found, runs[-1])
    assert found.query("SELECT DISTINCT more FROM events") == [(7,)]


def test_a_table_that_is_altered_behind_a_snapshot_is_read_in_a_new_one_m16(full, tmp_path, monkeypatch):
    """1412: a table that was rebuilt is younger than the snapshot."""
    begin, heard = Session.begin, list[Event]()

    async def altered(self: Session) -> None:
        await begin(self)
        monkeypatch.setattr(Session, "begin", begin)
        await asyncio.to_thread(full.sql, "ALTER TABLE t FORCE")

    monkeypatch.setattr(Session, "begin", altered)
    found = world(full, tmp_path)
    [run] = found.run(emit=heard.append)
    assert [event.code for event in heard if isinstance(event, PhaseRetried)] == ["1412"]
    require_equal(full, found, run)


def test_a_table_that_is_locked_is_read_when_it_is_free_again(full, tmp_path):
    """1205, as a DDL that takes long or a backup gives it."""
    heard: list[Event] = []
    found = world(full, tmp_path, connect_timeout_seconds=1)
    with full.server.connection(full.database) as locking, locking.cursor() as cursor:

        def hear(event: Event) -> None:
            heard.append(event)
            if isinstance(event, PhaseRetried):
                cursor.execute("UNLOCK TABLES")

        port = at_read(1, lambda: cursor.execute("LOCK TABLES t WRITE"), "source.open")
        [run] = found.run(port, hear)
    assert [event.code for event in heard if isinstance(event, PhaseRetried)] == ["1205"]
    require_equal(full, found, run)


def test_who_alters_a_table_waits_until_its_part_is_read_m16(full, tmp_path):
    altered: list[datetime] = []

    def alter() -> None:
        full.sql("ALTER TABLE t DROP COLUMN note, ADD COLUMN note TEXT DEFAULT 'gone'")
        altered.append(datetime.now())

    thread = threading.Thread(target=alter)
    reads: list[int] = []

    @contextmanager
    def port(name: str) -> Iterator[None]:
        if name == "source.read":
            if not reads:
                thread.start()
            reads.append(len(altered))
        yield

    wanted = full.sql("SELECT id, version, MD5(note) FROM t ORDER BY id")
    found = world(full, tmp_path)
    [run] = found.run(port)
    thread.join()
    assert not any(reads)
    assert run.status is RunStatus.COMPLETED
    assert found.query("SELECT id, version, md5(note) FROM events ORDER BY id") == wanted


# Rows that come late, or move (row 24, M-1 to M-3).

TWO_HOURS = {"windows": {"end": (START + 2 * HOUR).isoformat()}}


ALL = [(n, 1) for n in range(1, 20)]
LATE = (100, 1)


@contextmanager
def a_row_not_yet_committed(place: MysqlPlace) -> Iterator[Callable[[], None]]:
    """Twenty hours of rows, and one of the first hour in a transaction that is open; gives what commits it."""
    place.many("INSERT INTO t VALUES (%s, %s, 1, '')", [(n, START + n * HOUR / 10) for n in range(1, 20)])
    with place.server.connection(place.database) as writer, writer.cursor() as cursor:
        cursor.execute("SET time_zone = '+00:00'")
        writer.begin()
        cursor.execute("INSERT INTO t VALUES (%s, %s, %s, 'late')", (LATE[0], START + HOUR / 2, LATE[1]))
        yield writer.commit


@pytest.mark.parametrize(
    ("lookback", "arrived"), [(0, ALL), (3600, [*ALL, LATE])], ids=["lost without a lookback", "caught with one"]
)
def test_a_row_that_is_committed_after_its_window_was_read_m1(place, tmp_path, lookback, arrived):
    """The loss that docs/mysql.md tells of, and what is said there against it."""
    found = world(place, tmp_path, merged(TWO_HOURS, {"windows": {"max_open": 1, "lookback_seconds": lookback}}))

    def hear(event: Event) -> None:
        if isinstance(event, RunFinished):
            commit()

    with a_row_not_yet_committed(place) as commit:
        runs = found.run(emit=hear)
    assert [run.status for run in runs] == [RunStatus.COMPLETED] * 2
    assert found.query("SELECT id, version FROM events ORDER BY id") == arrived


def test_windows_wait_for_transactions_that_were_open_at_their_end_m2(place, tmp_path):
    """A row is written now and committed when its window is over: it holds the window back."""
    place.server.sql(f"GRANT PROCESS ON *.* TO {READER}@'127.0.0.1'")
    start = datetime.now(UTC).replace(microsecond=0)
    windows = {"windows": {"start": start.isoformat(), "end": (start + 4 * SECOND).isoformat(), "width": "2s"}}
    found = world(place, tmp_path, windows, hold_back_open_transactions=True)
    with place.server.connection(place.database) as writer, writer.cursor() as cursor:
        writer.begin()
        cursor.execute("INSERT INTO t VALUES (100, NOW(6), 1, 'late')")
        time.sleep((start + 4.2 * SECOND - datetime.now(UTC)).total_seconds())
        assert found.run() == []
        runs, until = asyncio.run(runs_and_clock(found.config, None, print))
        assert ledger(found.config, runs, until).gaps == (), "what is held back is not missing"
        writer.commit()
    time.sleep(NEWS_SECONDS)
    assert [run.status for run in found.run()] == [RunStatus.COMPLETED] * 2
    assert found.query("SELECT id, version FROM events ORDER BY id") == [LATE]


def test_rows_that_move_while_parts_are_read_give_no_false_failure_and_arrive_m2_m3_g17(place, tmp_path):
    """A writer gives rows new cursors and versions all the time; later windows bring the last of each."""
    place.many("INSERT INTO t VALUES (%s, %s, 1, '')", [(n, START + n * HOUR / 500) for n in range(500)])
    parts = {"phases": {"source_to_stage_transfer": {"rows_per_part": 50, "parallel_parts": 3}}}
    found = world(place, tmp_path, merged(TWO_HOURS, parts))
    is_over = threading.Event()
    moved = 0

    def write() -> None:
        nonlocal moved
        with place.server.connection(place.database) as connection, connection.cursor() as cursor:
            cursor.execute("SET time_zone = '+00:00'")
            while not is_over.is_set():
                n = moved * 37 % 500
                at = START + (n * 7 % 500) * HOUR / 250
                cursor.execute("UPDATE t SET at = %s, version = version + 1 WHERE id = %s", (at, n))
                moved += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        runs = found.run()
    finally:
        is_over.set()
        writer.join()
    assert moved > 100
    assert [(run.status, run.failure) for run in runs] == [(RunStatus.COMPLETED, None)] * 2
    assert all(run.phases[Phase.AUDIT].figures["validation_status"] in ("PASSED", "DRIFT") for run in runs)
    assert [run.status for run in backfill(found)] == [RunStatus.COMPLETED]
    wanted = place.sql("SELECT id, version FROM t ORDER BY id")
    assert found.query("SELECT id, version FROM events ORDER BY id") == wanted


def backfill(found: MysqlPipeline) -> list[Run]:
    """Both hours once more, as one run."""

    async def go() -> list[Run]:
        async with opened(found.config, lambda _event: None) as worker:
            return await worker.backfill([Window(START, START + 2 * HOUR)])

    return asyncio.run(go())


def test_rows_that_leave_the_source_stay_in_the_target_m19(place, tmp_path):
    """What docs/mysql.md says of deletes: windows do not see them, `mode: snapshot` does."""
    place.many("INSERT INTO t VALUES (%s, %s, 1, '')", [(1, START), (2, START)])
    found = world(place, tmp_path, TWO_HOURS)
    found.run()
    place.sql("DELETE FROM t WHERE id = 2")
    assert [run.status for run in backfill(found)] == [RunStatus.COMPLETED]
    assert found.query("SELECT id FROM events ORDER BY id") == [(1,), (2,)]
    assert "**Deletes are not captured**" in (Path(__file__).parents[2] / "docs" / "mysql.md").read_text()
