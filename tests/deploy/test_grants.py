"""`deploy/sql/grants.sql` gives the workers what they need, and nothing else (N-11)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
from msgspec.structs import replace

from service.app import account_of, opened
from service.doctor import checkup, drive_table, stage_and_target
from service.settings import PipelineConfig
from state.checks import Check
from state.errors import SluicewayError
from state.model import RunStatus
from state.snowflake.drive import SnowflakeDrive
from state.snowflake.drive_schema import statements
from state.snowflake.session import Account
from state.snowflake.tag import Tag
from tests.contract.drive_desk import HOUR, event, failure, new, receipt_of
from tests.contract.drive_snowflake import made, schema_of
from tests.contract.snowflake_rights import failed, grants_in
from tests.deploy.operator import SQL, renamed
from tests.lifecycle.snowflake_world import SnowflakeWorld
from tests.lifecycle.world import events
from tests.snowflake.keys import key
from tests.snowflake.running import Place

SCRIPT = (SQL / "grants.sql").read_text()


@dataclass
class Granted:
    """The drive table in one database and what is loaded in another, names in the script, and a pipeline."""

    drive: Place
    load: Place
    folder: Path

    @cached_property
    def names(self) -> dict[str, str]:
        return {
            "sluiceway_role": f"ROLE_{self.drive.database}",
            "sluiceway_user": f"WORKER_{self.drive.database}",
            "sluiceway_public_key": key("worker").public,
            "sluiceway_warehouse": "LOADING",
            "sluiceway_drive_database": self.drive.database,
            "sluiceway_drive_schema": f"{self.drive.database}.S",
            "sluiceway_load_database": self.load.database,
            "sluiceway_load_schema": f"{self.load.database}.S",
            "sluiceway_stage": f"{self.load.database}.S.LANDING",
        }

    @property
    def role(self) -> str:
        return self.names["sluiceway_role"]

    @cached_property
    def world(self) -> SnowflakeWorld:
        """As the user that the script makes, with its key."""
        (self.folder / "key.p8").write_text(key("worker").private)
        login = {"user": self.names["sluiceway_user"], "role": self.role, "password": None}
        by_key = {**login, "allow_password": False, "private_key": {"file": str(self.folder / "key.p8")}}
        settings = {
            "stage_system": {"stage": self.names["sluiceway_stage"]},
            "target_system": {"table": f"{self.load.database}.S.EVENTS"},
            "snowflake_connection": by_key,
        }
        world = SnowflakeWorld(self.folder, settings, self.drive.connection, "snowflake")
        world.write("day", events(100))
        return world

    @property
    def config(self) -> PipelineConfig:
        return self.world.config

    async def give(self, leave_out: Callable[[str], bool] = lambda _statement: False) -> None:
        """Run the script, but for some statements, as somebody who may do everything."""
        async with self.drive.connect() as admin:
            for statement in statements(renamed(SCRIPT, self.names)):
                if not leave_out(statement):
                    await self.drive.rows(admin, statement)


@pytest.fixture
async def wanted(snowflake_server, tmp_path) -> Granted:
    """What is to be granted, on a drive table and a schema that are there."""
    place = Granted(snowflake_server.place(), snowflake_server.place(), tmp_path)
    await made(place.drive.connection)
    return place


@pytest.fixture
async def granted(wanted) -> Granted:
    """The same, granted."""
    await wanted.give()
    return wanted


async def whole_life(account: Account, schema: str, pipeline: str) -> None:
    """Every operation of a drive table."""
    drive = await SnowflakeDrive.open(account, schema)
    try:
        await drive.create(pipeline, "x", [new(0), new(1)])
        claim = await drive.claim(pipeline, "x", HOUR)
        await drive.renew([claim], HOUR)
        claim = await drive.checkpoint(claim, claim.run)
        failed_run = await drive.fail(claim, claim.run, failure(), retry_in=None, quarantine=True)
        retried = event("retry", pipeline=pipeline)
        await drive.reopen(failed_run.id, from_phase=None, run_floor=0, event=retried)
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
async def worker(granted: Granted) -> Iterator[Account]:
    async with account_of(granted.config) as account:
        yield account


async def test_what_the_script_grants_is_enough_for_doctor_and_whole_windows_n11(granted):
    """From the drive table to a clean stage: what the first run makes, its role owns."""
    assert failed(await checkup(granted.config)) == []
    async with opened(granted.config, lambda _event: None) as working:
        runs = await working.run_due()
    assert [run.status for run in runs] == [RunStatus.COMPLETED] * 2
    assert all(run.receipt for run in runs)
    assert failed(await checkup(granted.config)) == []
    async with worker(granted) as account:
        await whole_life(account, schema_of(granted.drive.connection), "other")


TOO_MUCH = {
    "DELETE FROM {drive}.PIPELINE_EXECUTION_DRIVE": "PIPELINE_EXECUTION_DRIVE",
    "DELETE FROM {drive}.PIPELINE_EVENTS": "PIPELINE_EVENTS",
    "UPDATE {drive}.PIPELINE_EVENTS SET actor = 'x'": "PIPELINE_EVENTS",
    "INSERT INTO {drive}.SLUICEWAY_DRIVE SELECT * FROM {drive}.SLUICEWAY_DRIVE": "SLUICEWAY_DRIVE",
    "DROP TABLE {drive}.PIPELINE_TOKENS": "PIPELINE_TOKENS",
    "CREATE TABLE {drive}.OTHER (a NUMBER)": "",
    "CREATE STAGE {load}.OTHER": "",
    "DROP STAGE {load}.LANDING": "LANDING",
}


async def test_the_script_grants_no_more_than_is_needed_n11(granted):
    places = {"drive": f"{granted.drive.database}.S", "load": f"{granted.load.database}.S"}
    async with worker(granted) as account:
        for statement, missing in TOO_MUCH.items():
            with pytest.raises(SluicewayError) as caught:
                async with account.session(Tag()) as session:
                    await session.rows(statement.format(**places))
            assert caught.value.code in ("privilege", "object")
            assert missing in caught.value.message


GRANT = re.compile(r"GRANT (?P<privileges>.+?) ON (?P<kind>\w+) (?P<name>\S+) TO ROLE .*")
GIVEN = [found for one in statements(SCRIPT) if (found := GRANT.fullmatch(one))]
ON_DRIVE = re.compile(r"drive|pipeline", re.IGNORECASE)
EACH = [
    (privilege, found["kind"], found["name"]) for found in GIVEN for privilege in found["privileges"].split(", ")
]
"""Every privilege by itself, with the object as the script names it."""


def thing(granted: Granted, name: str) -> str:
    """The object that the script means."""
    variable = re.search(r"\$(\w+)", name)
    return granted.names[variable[1]] if variable else f"{granted.drive.database}.S.{name.upper()}"


def taken(privilege: str) -> str:
    """WRITE on a stage does not stand without READ."""
    return "READ, WRITE" if privilege == "READ" else privilege


async def look(granted: Granted, name: str) -> list[Check]:
    """What doctor finds wrong where the object is used."""
    return failed(await (drive_table if ON_DRIVE.search(name) else stage_and_target)(granted.config))


def test_every_statement_of_the_script_is_one_of_those_below():
    others = [one for one in statements(SCRIPT) if not GRANT.fullmatch(one)]
    assert [" ".join(one.split()[:2]) for one in others if not one.startswith("SET ")] == [
        "CREATE ROLE",
        "CREATE USER",
        "GRANT ROLE",
        "USE SCHEMA",
        "CREATE STAGE",
    ]
    assert len(EACH) == 18


async def test_without_any_one_privilege_doctor_names_its_grant_n11(granted):
    """So the script gives nothing that is not needed."""
    async with granted.drive.connect() as admin:
        for privilege, kind, name in EACH:
            at = f"ON {kind} {thing(granted, name)}"
            await granted.drive.rows(admin, f"REVOKE {taken(privilege)} {at} FROM ROLE {granted.role}")
            found = await look(granted, name)
            parts = ".".join(f'"{part}"' for part in thing(granted, name).split("."))
            grant = f'GRANT {taken(privilege)} ON {kind} {parts} TO ROLE "{granted.role}"'
            assert {grants_in(check.hint)[0] for check in found} == {grant}
            await granted.drive.rows(admin, grant)
            assert await look(granted, name) == []


async def test_without_any_one_privilege_on_the_drive_table_the_workers_are_told_what_is_missing_n11(granted):
    async with granted.drive.connect() as admin, worker(granted) as account:
        for privilege, kind, name in (one for one in EACH if ON_DRIVE.search(one[2])):
            at = f"{privilege} ON {kind} {thing(granted, name)}"
            await granted.drive.rows(admin, f"REVOKE {at} FROM ROLE {granted.role}")
            with pytest.raises(SluicewayError) as caught:
                await whole_life(account, schema_of(granted.drive.connection), at)
            assert caught.value.code in ("privilege", "object", "no_drive_table")
            assert thing(granted, name).rsplit(".", 1)[-1].upper() in caught.value.message.upper()
            assert caught.value.hint
            await granted.drive.rows(admin, f"GRANT {at} TO ROLE {granted.role}")


async def test_without_any_one_other_statement_of_the_script_doctor_says_what_to_do(wanted):
    """The role of the user, the stage, the role. (A user that is not there comes in to the test server.)"""
    await wanted.give(leave_out=lambda statement: statement.startswith("GRANT ROLE"))
    [check] = failed(await stage_and_target(wanted.config))
    assert check.hint == f'GRANT ROLE "{wanted.role}" TO USER "{wanted.names["sluiceway_user"]}";'
    await wanted.give()
    assert failed(await stage_and_target(wanted.config)) == []
    async with wanted.drive.connect() as admin:
        await wanted.drive.rows(admin, f"DROP STAGE {wanted.names['sluiceway_stage']}")
        [check] = failed(await stage_and_target(wanted.config))
        assert "GRANT CREATE STAGE ON SCHEMA" in check.hint
        await wanted.drive.rows(admin, f"DROP ROLE {wanted.role}")
    with pytest.raises(Exception, match=wanted.role):
        await wanted.give(leave_out=lambda statement: statement.startswith("CREATE ROLE"))
