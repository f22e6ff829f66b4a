"""The SQL scripts that operators run, by Snowflake's own command line against the test server."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
from msgspec.structs import replace
from snowflake.connector.util_text import split_statements

from state.model import Phase, PhaseRecord, PhaseStatus, RunStatus
from state.snowflake import drive_schema
from state.snowflake.scripts import SCRIPTS, text_of
from tests.contract.drive_desk import HOUR, failure, new
from tests.contract.drive_snowflake import drive_at, made, opened
from tests.deploy.operator import SQL, named
from tests.snowflake.cli import snow_sql
from tests.snowflake.keys import key

DRIVE = SQL / "drive_table.sql"
ALL = sorted(SQL.rglob("*.sql"))


@dataclass
class Operator:
    """Somebody with `snow`, in one database and schema."""

    place: object
    folder: Path

    def runs(self, *scripts: Path) -> list[list[dict]]:
        """What each statement of the scripts answers."""
        database, schema = self.place.database, self.place.schema
        done = snow_sql(
            self.place.connection, self.folder, *scripts, database=database, schema=schema, format="json"
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def operator(place, tmp_path):
    return Operator(place, tmp_path)


def test_the_scripts_of_operators_and_of_the_program_are_one_file():
    assert DRIVE.read_text() == drive_schema.script()
    assert DRIVE.resolve() == Path(drive_schema.__file__).with_name("sql") / "drive_table.sql"
    assert {path.stem: path.read_text() for path in ALL} == {name: text_of(name) for name in SCRIPTS}
    assert all(path.is_symlink() for path in ALL)


def test_the_program_and_snow_see_the_same_statements():
    """Ours are split at a semicolon that ends a line; no semicolon stands anywhere else, comments apart."""
    bare = re.sub(r"--.*", "", drive_schema.script())
    assert len(list(drive_schema.statements(drive_schema.script()))) == bare.count(";")


@pytest.mark.parametrize("script", ALL, ids=[path.stem for path in ALL])
@pytest.mark.parametrize("kept", [True, False], ids=["comments kept", "comments removed"])
def test_snowsql_sees_the_same_statements_as_we_do(script, kept):
    """SnowSQL is no package that can be installed here. Its documentation names what splits its scripts, the
    driver's own function (sql_split = snowflake.connector.util_text): no piece of it is empty or comments alone,
    which Snowflake refuses."""
    pieces = [text for text, _ in split_statements(StringIO(script.read_text()), remove_comments=not kept)]
    bare = ["".join(re.sub(r"--.*", "", text).split()).removesuffix(";") for text in pieces]
    ours = ["".join(re.sub(r"--.*", "", text).split()) for text in drive_schema.statements(script.read_text())]
    assert bare == ours
    assert all(ours)


@pytest.mark.parametrize("script", ALL, ids=[path.stem for path in ALL])
def test_nothing_in_a_script_means_something_else_to_another_client(script):
    """`!` begins a command of SnowSQL, and `&`, `<%`, `{{` a variable of SnowSQL or snow. A quote or semicolon in
    a comment, `//`, and letters beyond ASCII are read differently by versions of what splits scripts."""
    text = script.read_text()
    assert text.isascii()
    assert not re.search(r"^\s*!|&|<%|\{\{|//", text, re.MULTILINE)
    assert not [line for line in text.splitlines() if re.search(r"--.*['\";]", line)]


async def test_grants_sql_runs_with_snow_and_may_be_run_again(operator, place):
    await made(place.connection)
    names = {
        "sluiceway_role": f"ROLE_{place.database}",
        "sluiceway_user": f"WORKER_{place.database}",
        "sluiceway_public_key": key("worker").public,
        "sluiceway_drive_database": place.database,
        "sluiceway_drive_schema": f"{place.database}.S",
        "sluiceway_load_database": place.database,
        "sluiceway_load_schema": f"{place.database}.S",
        "sluiceway_stage": f"{place.database}.S.LANDING",
    }
    script = named(SQL / "grants.sql", operator.folder, **names)
    answers = operator.runs(script, script)
    assert len(answers) == 2 * len(list(drive_schema.statements(script.read_text())))
    async with place.connect() as admin:
        rows = await place.rows(admin, f"SHOW GRANTS TO ROLE {names['sluiceway_role']}")
        assert len(rows) == len({row[1:4] for row in rows}) == 16  # database and schema are one here
        found = await place.rows(admin, f"SHOW GRANTS TO USER {names['sluiceway_user']}")
        assert {row[1] for row in found} == {names["sluiceway_role"]}


async def test_the_drive_table_made_by_snow_is_the_one_that_drive_init_makes(operator, place):
    operator.runs(DRIVE)
    drive = await opened(place.connection)
    identity = drive.id
    await drive.create("p", "x", [new(0)])
    await drive.aclose()
    operator.runs(DRIVE)
    assert await made(place.connection) == identity
    async with drive_at(place.connection) as drive:
        assert (drive.id, len(await drive.runs("p"))) == (identity, 1)


# -- queries


async def lived(place) -> None:
    """Runs in most states: 0 completed, 1 skipped, 2 completed, 3 failed; of another pipeline, one that waits."""
    async with drive_at(place.connection) as drive:
        await drive.create("flights", "x", [new(hour) for hour in range(4)])
        await drive.create("other", "x", [new(0)])
        figures = {"source_count": 3, "stage_count": 3, "target_count": 2, "validation_status": "DRIFT"}
        audit = PhaseRecord(PhaseStatus.COMPLETED, await drive.now(), await drive.now(), figures)
        for status in (RunStatus.COMPLETED, RunStatus.SKIPPED, RunStatus.COMPLETED):
            claim = await drive.claim("flights", "x", HOUR)
            await drive.checkpoint(claim, replace(claim.run, status=status, phases={Phase.AUDIT: audit}))
        claim = await drive.claim("flights", "x", HOUR)
        await drive.fail(claim, claim.run, failure(), retry_in=None, quarantine=True)


HISTORY = "SNOWFLAKE.ACCOUNT_USAGE.QUERY_HISTORY"


async def spent(place, admin) -> None:
    """A table with the documented columns of the account's query history."""
    place.server.put("/test/databases/SNOWFLAKE?schema=ACCOUNT_USAGE")
    columns = (
        "query_tag VARCHAR, start_time TIMESTAMP_LTZ, warehouse_name VARCHAR, warehouse_size VARCHAR,"
        " execution_time NUMBER, queued_overload_time NUMBER, transaction_blocked_time NUMBER,"
        " bytes_scanned NUMBER, credits_used_cloud_services NUMBER(38, 9)"
    )
    await place.rows(admin, f"CREATE OR REPLACE TABLE {HISTORY} ({columns})")
    tag = '{"app":"sluiceway","pipeline":"flights","phase":"audit"}'
    for given, seconds in ((tag, 2), (tag, 3), ('{"app":"else"}', 50), ("no json", 70)):
        await place.rows(
            admin,
            f"INSERT INTO {HISTORY} SELECT ?, CURRENT_TIMESTAMP(), 'LOADING', 'X-Small', ?, 0, 500, 10, 0.001",
            given,
            seconds * 1000,
        )


QUERIES = ("failed_last_24_hours", "audit_of_a_run", "gaps", "freshness", "cost_per_pipeline")


async def test_the_queries_of_operators_answer(operator, place):
    await lived(place)
    scripts = [SQL / "queries" / f"{name}.sql" for name in QUERIES]
    assert sorted(scripts) == sorted((SQL / "queries").iterdir())
    scripts[1] = named(scripts[1], operator.folder, sluiceway_run="flights_20251115_02h_run1")
    async with place.connect() as admin:
        await spent(place, admin)
        try:
            failed, _set, audits, gaps, fresh, costs = operator.runs(*scripts)
        finally:
            await place.rows(admin, f"DROP TABLE {HISTORY}")
    assert [(row["PIPELINE_ID"], row["PHASE_FAILED"], row["ERROR_CODE"], row["HINT"]) for row in failed] == [
        ("flights_20251115_03h_run1", "pre_validation", "429", "wait")
    ]
    assert [
        (row["SOURCE_COUNT"], row["STAGE_COUNT"], row["TARGET_COUNT"], row["VALIDATION_STATUS"]) for row in audits
    ] == [(3, 3, 2, "DRIFT")]
    assert [(row["PIPELINE_NAME"], row["GAP_START"][:16], row["MINUTES"]) for row in gaps] == [
        ("flights", "2025-11-15T01:00", 60)
    ]
    how_far = {row["PIPELINE_NAME"]: (row["LOADED_UNTIL"], row["UNFINISHED"], row["QUARANTINED"]) for row in fresh}
    assert how_far == {"flights": ("2025-11-15T03:00:00", 1, 1), "other": (None, 1, 0)}
    behind = {row["PIPELINE_NAME"]: row["MINUTES_BEHIND"] for row in fresh}["flights"]
    assert abs(behind - (datetime.now(UTC) - new(2).window.end) / timedelta(minutes=1)) < 10
    assert [
        (row["PIPELINE"], row["PHASE"], row["STATEMENTS"], float(row["EXECUTION_SECONDS"])) for row in costs
    ] == [("flights", "audit", 2, 5.0)]
