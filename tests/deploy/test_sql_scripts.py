"""The SQL scripts that operators run, by Snowflake's own command line against the test server."""

from __future__ import annotations

import json
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from loaders.snowflake.loader import SnowflakeLoader
from loaders.snowflake.settings import SnowflakeStage, SnowflakeTarget
from state.errors import SluicewayError
from state.model import Phase, PhaseRecord, PhaseStatus, RunStatus
from state.settings import Secret
from state.snowflake import drive_schema
from state.snowflake.drive import SnowflakeDrive
from state.snowflake.session import Account
from state.snowflake.settings import SnowflakeConnection
from state.snowflake.tag import Tag
from tests.contract.drive_desk import HOUR, event, failure, new, receipt_of
from tests.contract.drive_snowflake import drive_at, made, opened, schema_of, settings
from tests.contract.loader_desk import Desk, attempt, rows
from tests.snowflake.cli import snow_sql
from tests.snowflake.keys import key

SQL = Path(__file__).parents[2] / "deploy" / "sql"
DRIVE = SQL / "drive_table.sql"


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


def named(script: Path, folder: Path, **names: str) -> Path:
    """A copy of the script with other values in its SET lines, as an operator would write them there."""
    text = script.read_text()
    for name, value in names.items():
        text, found = re.subn(rf"(?m)^(SET {name} = )'[^']*';", rf"\1'{value}';", text)
        assert found == 1, name
    copy = folder / script.name
    copy.write_text(text)
    return copy


@pytest.fixture
def operator(place, tmp_path):
    return Operator(place, tmp_path)


def test_the_scripts_of_operators_and_of_the_program_are_one_file():
    assert DRIVE.read_text() == drive_schema.script()
    assert DRIVE.resolve() == Path(drive_schema.__file__).with_name("sql") / "drive_table.sql"


def test_the_program_and_snow_see_the_same_statements():
    """Ours are split at a semicolon that ends a line; no semicolon stands anywhere else, comments apart."""
    bare = re.sub(r"--.*", "", drive_schema.script())
    assert len(list(drive_schema.statements(drive_schema.script()))) == bare.count(";")


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


# -- grants


@dataclass
class Granted:
    """A worker's login that deploy/sql/grants.sql makes, its role, and the names in the script."""

    connection: SnowflakeConnection
    role: str
    names: dict[str, str]


@pytest.fixture
async def wanted(place, tmp_path):
    """What is to be granted, on a drive table and a schema that are there."""
    async with place.connect() as admin:
        await place.rows(admin, "CREATE SCHEMA RAW")
    await made(place.connection)
    path = tmp_path / "key.p8"
    path.write_text(key("worker").private)
    names = {
        "sluiceway_role": f"ROLE_{place.database}",
        "sluiceway_user": f"WORKER_{place.database}",
        "sluiceway_public_key": key("worker").public,
        "sluiceway_warehouse": "LOADING",
        "sluiceway_drive_database": place.database,
        "sluiceway_drive_schema": schema_of(place.connection),
        "sluiceway_load_database": place.database,
        "sluiceway_load_schema": f"{place.database}.RAW",
        "sluiceway_stage": f"{place.database}.RAW.LANDING",
    }
    login = {"user": names["sluiceway_user"], "role": names["sluiceway_role"], "private_key": Secret(file=path)}
    by_key = {"password": None, "allow_password": False, **login}
    return Granted(settings(place.connection).model_copy(update=by_key), names["sluiceway_role"], names)


@pytest.fixture
async def granted(wanted, place, tmp_path):
    """The same, granted: the statements of the script in a session of their own."""
    async with place.connect() as admin:
        script = named(SQL / "grants.sql", tmp_path, **wanted.names)
        for statement in drive_schema.statements(script.read_text()):
            await place.rows(admin, statement)
    return wanted


async def whole_life(account: Account, schema: str, pipeline: str) -> None:
    """Every operation of a drive table."""
    drive = await SnowflakeDrive.open(account, schema)
    try:
        await drive.create(pipeline, "x", [new(0), new(1)])
        claim = await drive.claim(pipeline, "x", HOUR)
        await drive.renew([claim], HOUR)
        claim = await drive.checkpoint(claim, claim.run)
        failed = await drive.fail(claim, claim.run, failure(), retry_in=None, quarantine=True)
        await drive.reopen(failed.id, from_phase=None, run_floor=0, event=event("retry", pipeline=pipeline))
        claim = await drive.claim(pipeline, "x", HOUR)
        await drive.release(claim, claim.run)
        await drive.record(event("pause", pipeline=pipeline))
        await drive.adopt(pipeline, [receipt_of(replace(claim.run.id, drive_id="lost"))], 9)
        assert len(await drive.runs(pipeline)) == 3
        assert len(await drive.events(pipeline)) == 2
        assert len(await drive.windows(pipeline)) == 2
    finally:
        await drive.aclose()


@asynccontextmanager
async def worker(granted):
    account = Account(granted.connection)
    try:
        yield account
    finally:
        await account.aclose()


async def test_what_the_script_grants_is_enough_for_the_drive_table_n11(operator, wanted, place):
    """And the script may be run again; the user logs in with its key."""
    script = named(SQL / "grants.sql", operator.folder, **wanted.names)
    operator.runs(script, script)
    async with worker(wanted) as account:
        await whole_life(account, schema_of(place.connection), "p")


async def test_what_the_script_grants_is_enough_for_whole_windows_n11(place, granted, tmp_path):
    """Into a target that is not there yet: what a loader makes, its role owns."""
    target = SnowflakeTarget(type="snowflake", table=f"{place.database}.RAW.EVENTS", key=("id",))
    stage = SnowflakeStage(stage=granted.names["sluiceway_stage"])
    async with worker(granted) as account:
        loader = SnowflakeLoader(target, stage, account, pipeline="p", cursor="at")
        for number in (1, 2):
            run = attempt(number, number=number)
            staged = await Desk(None, tmp_path).stage(loader, run, rows((f"k{number}", 1, number)))
            assert (await staged.merge()).counts.inserted == 1
            await loader.clean(run, staged.manifest, None)
        assert len((await loader.loads("p")).receipts) == 2


TOO_MUCH = {
    "DELETE FROM {drive}.PIPELINE_EXECUTION_DRIVE": "PIPELINE_EXECUTION_DRIVE",
    "DELETE FROM {drive}.PIPELINE_EVENTS": "PIPELINE_EVENTS",
    "UPDATE {drive}.PIPELINE_EVENTS SET actor = 'x'": "PIPELINE_EVENTS",
    "INSERT INTO {drive}.SLUICEWAY_DRIVE SELECT * FROM {drive}.SLUICEWAY_DRIVE": "SLUICEWAY_DRIVE",
    "DROP TABLE {drive}.PIPELINE_TOKENS": "PIPELINE_TOKENS",
    "CREATE TABLE {drive}.OTHER (a NUMBER)": "",
}


async def test_the_script_grants_no_more_than_is_needed_n11(place, granted):
    async with worker(granted) as account:
        for statement, missing in TOO_MUCH.items():
            with pytest.raises(SluicewayError) as caught:
                async with account.session(Tag()) as session:
                    await session.rows(statement.format(drive=schema_of(place.connection)))
            assert caught.value.code in ("privilege", "object")
            assert missing in caught.value.message


GRANTS = [
    line.removesuffix(" TO ROLE IDENTIFIER($sluiceway_role);")
    for line in (SQL / "grants.sql").read_text().splitlines()
    if re.match(r"GRANT .* ON (TABLE|DATABASE|SCHEMA) .*(drive|pipeline)", line)
]


async def test_without_any_one_grant_the_drive_table_says_what_it_may_not_n11(place, granted):
    assert len(GRANTS) == 6
    async with place.connect() as admin, worker(granted) as account:
        for privileges, kind, name in (re.fullmatch(r"GRANT (.*) ON (\w+) (.*)", one).groups() for one in GRANTS):
            variable = re.search(r"\$(\w+)", name)
            thing = granted.names[variable[1]] if variable else f"{schema_of(place.connection)}.{name}"
            for privilege in privileges.split(", "):
                await place.rows(admin, f"REVOKE {privilege} ON {kind} {thing} FROM ROLE {granted.role}")
                with pytest.raises(SluicewayError) as caught:
                    await whole_life(account, schema_of(place.connection), f"{kind} {name} {privilege}")
                assert caught.value.code in ("privilege", "object", "no_drive_table")
                assert thing.rsplit(".", 1)[-1].upper() in caught.value.message.upper()
                assert caught.value.hint
                await place.rows(admin, f"GRANT {privilege} ON {kind} {thing} TO ROLE {granted.role}")


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
