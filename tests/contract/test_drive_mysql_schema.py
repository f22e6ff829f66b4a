"""The schema of a MySQL drive table: made, upgraded, refused, interrupted; kept dumps; operators' queries."""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing
from pathlib import Path

import msgspec
import pytest

from state.errors import ConfigurationError, SluicewayError, TransientError
from state.model import Run, Window
from state.mysql import schema
from state.mysql.drive import MysqlDrive
from state.mysql.session import Session
from tests.contract.drive_desk import LEASE, new
from tests.fixtures.drive import make_mysql as make

FOLDER = Path(make.__file__).parent
VERSIONS = sorted(int(file.stem.removeprefix("mysql_v")) for file in FOLDER.glob("mysql_v*.sql"))
STEP = "ALTER TABLE pipeline_execution_drive ADD COLUMN note VARCHAR(8) NOT NULL DEFAULT 'new';\n"
TABLES = ["pipeline_events", "pipeline_execution_drive", "pipeline_tokens", "sluiceway_drive"]


def restored(server, version: int = VERSIONS[-1]):
    return make.restore(server, (FOLDER / f"mysql_v{version}.sql").read_text())


def expected(version: int) -> list[Run]:
    """What the program of that version read."""
    return msgspec.json.Decoder(Run).decode_lines((FOLDER / f"mysql_v{version}.ndjson").read_bytes())


async def runs_in(settings) -> list[Run]:
    async with aclosing(await MysqlDrive.open(settings)) as drive:
        return await drive.runs()


def with_step(monkeypatch, step: str) -> None:
    """The program as it will be: one schema version further."""
    steps = [*schema.steps(), step]
    monkeypatch.setattr(schema, "steps", lambda: steps)


def shape(server, settings) -> list[tuple]:
    """Every table as the server describes it."""
    tables = [name for (name,) in server.sql("SHOW TABLES", database=settings.database)]
    shown = [server.sql(f"SHOW CREATE TABLE {name}", database=settings.database)[0] for name in tables]
    return [(name, re.sub(r" AUTO_INCREMENT=\d+", "", text)) for name, text in shown]


def test_every_version_has_its_fixture():
    assert list(range(1, len(schema.steps()) + 1)) == VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_migration_that_was_released_is_never_changed(version, mariadb, monkeypatch):
    steps = schema.steps()[:version]
    monkeypatch.setattr(schema, "steps", lambda: steps)
    fresh = mariadb.database()
    await MysqlDrive.init(fresh)
    assert shape(mariadb, fresh) == shape(mariadb, restored(mariadb, version))


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_table_of_every_version_is_read_as_its_own_program_read_it(version, mariadb):
    settings = restored(mariadb, version)
    assert await MysqlDrive.upgrade(settings) == "f" * 32
    assert await runs_in(settings) == expected(version)
    async with aclosing(await MysqlDrive.open(settings)) as drive:
        assert [event.action for event in await drive.events("p")] == ["pause", "retry"]


async def test_the_newest_fixture_is_what_its_maker_makes(mariadb):
    settings = mariadb.database()
    lines = await make.made(mariadb, settings)
    assert msgspec.json.Decoder(Run).decode_lines(lines) == expected(VERSIONS[-1])
    assert make.dump(mariadb, settings.database) == (FOLDER / f"mysql_v{VERSIONS[-1]}.sql").read_text()


async def test_making_it_again_changes_nothing(mariadb):
    settings = mariadb.database()
    first = await MysqlDrive.init(settings)
    before = make.dump(mariadb, settings.database)
    assert [await MysqlDrive.init(settings), await MysqlDrive.upgrade(settings)] == [first, first]
    assert make.dump(mariadb, settings.database) == before


async def test_many_who_make_it_at_once_make_one(mariadb):
    settings = mariadb.database()
    made = await asyncio.gather(*(MysqlDrive.init(settings) for _ in range(5)))
    assert len(set(made)) == 1
    assert await runs_in(settings) == []


async def test_a_change_of_the_schema_has_one_holder_at_a_time(mariadb):
    settings = mariadb.database(lock_wait_timeout_seconds=1)
    holder = Session(settings)
    await holder.open()
    await schema.be_alone(holder, settings)
    elsewhere = mariadb.database(lock_wait_timeout_seconds=1)
    await MysqlDrive.init(elsewhere)
    with pytest.raises(TransientError) as caught:
        await MysqlDrive.init(settings)
    assert caught.value.code == "locked"
    await holder.aclose()
    assert await MysqlDrive.init(settings)


async def test_a_missing_one_names_the_command_that_makes_it(mariadb):
    settings = mariadb.database()
    for attempt in (MysqlDrive.open, MysqlDrive.upgrade):
        with pytest.raises(ConfigurationError) as caught:
            await attempt(settings)
        assert (caught.value.code, "sluiceway drive init" in caught.value.hint) == ("no_drive_table", True)
    assert mariadb.sql("SHOW TABLES", database=settings.database) == []


async def test_a_table_of_another_program_is_not_taken_over(mariadb):
    settings = mariadb.database()
    mariadb.sql("CREATE TABLE pipeline_execution_drive (theirs INTEGER)", database=settings.database)
    with pytest.raises(ConfigurationError) as caught:
        await MysqlDrive.init(settings)
    assert (caught.value.code, caught.value.path) == ("foreign_table", "drive_table.database")
    assert len(mariadb.sql("SHOW TABLES", database=settings.database)) == 1


async def test_an_older_schema_is_used_only_after_an_upgrade(mariadb, monkeypatch):
    settings = restored(mariadb)
    with_step(monkeypatch, STEP)
    with pytest.raises(ConfigurationError) as caught:
        await MysqlDrive.open(settings)
    assert (caught.value.code, "sluiceway drive upgrade" in caught.value.hint) == ("old_schema", True)
    await MysqlDrive.upgrade(settings)
    assert await runs_in(settings) == expected(VERSIONS[-1])
    notes = mariadb.sql("SELECT DISTINCT note FROM pipeline_execution_drive", database=settings.database)
    assert notes == [("new",)]


async def test_an_old_program_leaves_a_newer_schema_alone(mariadb, monkeypatch):
    settings = restored(mariadb)
    with monkeypatch.context() as future:
        with_step(future, STEP)
        await MysqlDrive.upgrade(settings)
    before = make.dump(mariadb, settings.database)
    for attempt in (MysqlDrive.open, MysqlDrive.init, MysqlDrive.upgrade):
        with pytest.raises(ConfigurationError, match=r"schema version (\d+), this program knows") as caught:
            await attempt(settings)
        assert caught.value.code == "newer_schema"
    assert make.dump(mariadb, settings.database) == before


async def test_a_step_that_failed_half_way_is_gone_on_with(mariadb, monkeypatch):
    """MySQL cannot undo a change of a table: until the step is done the table has the old version."""
    settings = restored(mariadb)
    with monkeypatch.context() as future:
        with_step(future, STEP + "INSERT INTO no_such_table VALUES (1);\n")
        with pytest.raises(ConfigurationError, match="no_such_table"):
            await MysqlDrive.upgrade(settings)
    assert await runs_in(settings) == expected(VERSIONS[-1])
    with_step(monkeypatch, STEP + "CREATE INDEX notes ON pipeline_execution_drive (note);\n")
    for _ in range(2):
        assert await MysqlDrive.upgrade(settings) == "f" * 32
    assert await runs_in(settings) == expected(VERSIONS[-1])


async def test_a_first_making_that_was_cut_off_anywhere_is_gone_on_with(mariadb):
    whole = mariadb.database()
    await MysqlDrive.init(whole)
    for done in range(1, len(TABLES) + 1):
        settings = mariadb.database()
        session = Session(settings)
        await session.open()
        for statement in schema.statements(schema.steps()[0])[:done]:
            await session.execute(statement)
        await session.aclose()
        with pytest.raises(ConfigurationError) as caught:
            await MysqlDrive.open(settings)
        assert caught.value.code == "no_drive_table"
        await MysqlDrive.init(settings)
        assert shape(mariadb, settings) == shape(mariadb, whole)


async def test_a_user_who_may_only_work_cannot_make_it_but_can_use_it(mariadb):
    settings = restored(mariadb)
    mariadb.sql(f"REVOKE DELETE, CREATE, ALTER, INDEX, DROP ON {settings.database}.* FROM sluiceway@'127.0.0.1'")
    async with aclosing(await MysqlDrive.open(settings)) as drive:
        assert [await MysqlDrive.init(settings), await MysqlDrive.upgrade(settings)] == [drive.id, drive.id]
        await drive.create("new", "x", [new(0)])
        claim = await drive.claim("new", "x", LEASE)
        await drive.release(claim, claim.run)
    empty = mariadb.database()
    mariadb.sql(f"REVOKE CREATE ON {empty.database}.* FROM sluiceway@'127.0.0.1'")
    with pytest.raises(ConfigurationError) as caught:
        await MysqlDrive.init(empty)
    assert (caught.value.code, "Grant" in caught.value.hint) == ("1142", True)


@pytest.fixture(scope="module")
def ask(mariadb):
    """As an operator asks, with nothing of ours."""
    database = restored(mariadb).database
    return lambda query: mariadb.sql(query.replace("%", "%%"), database=database)


def test_operators_see_what_failed_and_where(ask):
    rows = ask(
        "SELECT pipeline_id, phase_failed FROM pipeline_execution_drive WHERE pipeline_name = 'p'"
        " AND pipeline_status = 'FAILED' AND created_at > '2025-12-26 16:00:00' - INTERVAL 24 HOUR"
        " ORDER BY query_window_start_timestamp LIMIT 2"
    )
    assert rows == [("p_20251115_00h_run1", "stale_pipeline_handling"), ("p_20251115_01h_run1", "pre_validation")]


def test_operators_count_runs_by_status_and_day(ask):
    rows = ask(
        "SELECT pipeline_status, count(*) FROM pipeline_execution_drive WHERE DATE(created_at) = '2025-12-26'"
        " AND pipeline_name = 'p' GROUP BY pipeline_status"
    )
    assert dict(rows) == {"COMPLETED": 1, "FAILED": 8, "PENDING": 8, "RUNNING": 7, "SKIPPED": 1}


def test_operators_compare_the_counts_of_an_audit_as_json(ask):
    """`JSON_VALUE` is in MariaDB and in MySQL (8.0.21); `->>` in MySQL alone."""
    rows = ask(
        "SELECT pipeline_id, JSON_VALUE(audit_phase, '$.source_count'), JSON_VALUE(audit_phase, '$.target_count'),"
        " JSON_VALUE(audit_phase, '$.validation_status') FROM pipeline_execution_drive"
        " WHERE JSON_VALUE(audit_phase, '$.source_count') = JSON_VALUE(audit_phase, '$.target_count')"
    )
    assert rows == [("p_20251116_06h_run1", "3", "3", "PASSED")]


def test_operators_find_the_run_of_an_instant_and_the_gaps_between(ask):
    rows = ask(
        "SELECT pipeline_id FROM pipeline_execution_drive WHERE pipeline_name = 'p'"
        " AND query_window_start_timestamp <= '2025-11-15 11:30:00'"
        " AND query_window_end_timestamp > '2025-11-15 11:30:00'"
    )
    assert rows == [("p_20251115_11h_run1",)]
    gaps = ask(
        "SELECT CAST(ended AS CHAR), CAST(following AS CHAR) FROM (SELECT query_window_end_timestamp AS ended,"
        " lead(query_window_start_timestamp) OVER (ORDER BY query_window_start_timestamp, run_number) AS following"
        " FROM pipeline_execution_drive WHERE pipeline_name = 'p') AS spans WHERE following > ended LIMIT 1"
    )
    assert gaps == [("2025-11-15 07:00:00.000000", "2025-11-15 10:00:00.000000")]


def test_what_is_no_json_or_no_status_is_refused_by_the_database(ask):
    for change in ("audit_phase = 'x'", "manifest = '{'", "pipeline_status = 'DONE'"):
        with pytest.raises(Exception, match=r"4025|CONSTRAINT"):
            ask(f"UPDATE pipeline_execution_drive SET {change}")


async def test_long_histories_are_answered_from_an_index(mariadb):
    """Claims go from one unfinished run to the next in order; windows are told without reading a wide row. Of runs
    before a span the index alone is read, and a run is found by its name."""
    settings = mariadb.database()
    await MysqlDrive.init(settings)
    async with aclosing(await MysqlDrive.open(settings)) as drive:
        runs = await drive.create("p", "x", [new(hour) for hour in range(300)])
        mariadb.sql(
            "UPDATE pipeline_execution_drive SET pipeline_status = 'COMPLETED' LIMIT 290",
            database=settings.database,
        )
        mariadb.sql("ANALYZE TABLE pipeline_execution_drive", database=settings.database)
        asked = []
        rows = drive._session.rows

        async def listening(sql, *values):
            asked.append((sql, values))
            return await rows(sql, *values)

        drive._session.rows = listening
        await drive.claim("p", "x", LEASE)
        await drive.windows("p")
        await drive.windows("p", unfinished=True)
        await drive.summaries("p", within=Window(runs[200].window.start, runs[299].window.end))
        await drive.runs("p", name=runs[250].name)
    plans = {}
    for sql, values in asked:
        if "FROM pipeline_execution_drive" in sql:
            [plan] = mariadb.sql(f"EXPLAIN {sql}", *values, database=settings.database)
            plans[sql[:40] + sql[-60:]] = (plan[5], plan[9])
    [*in_order, (span, found_in_index), (name, _sorted)] = plans.values()
    assert [key for key, _extra in in_order] == ["unfinished_runs", "windows_of_pipeline", "unfinished_runs"]
    extras = [extra for _key, extra in in_order]
    assert not [extra for extra in extras if "filesort" in extra or "temporary" in extra], asked
    assert ["Using index" in extra.split("; ") for extra in extras] == [False, True, True]
    assert (span, name) == ("windows_of_pipeline", "runs_by_id")
    assert "Using index condition" in found_in_index


async def test_only_what_was_done_before_is_passed_over(mariadb, monkeypatch):
    settings = restored(mariadb)
    with_step(monkeypatch, "ALTER TABLE pipeline_execution_drive ADD COLUMN;\n")
    with pytest.raises(SluicewayError) as caught:
        await MysqlDrive.upgrade(settings)
    assert caught.value.code == "1064"
