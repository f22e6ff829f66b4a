"""`sluiceway doctor` on an archive that is a stage: what is missing is named with its GRANT (F-18, N-11)."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from loaders.archive_settings import ArchivePlace
from loaders.snowflake.checks_archive import check_archive
from loaders.snowflake.names import names
from loaders.snowflake.settings import SnowflakeStage, SnowflakeTarget
from service import doctor
from state.errors import ConfigurationError
from tests.contract.loader_desk import CONTRACT, attempt, desk, rows
from tests.contract.loader_snowflake import SnowflakePlace
from tests.contract.snowflake_rights import failed, grants_in, limited, loading
from tests.lifecycle.snowflake_world import SnowflakeWorld

SETTING = "phases.stage_cleaning.archive"


@pytest.fixture
async def place(snowflake_server, tmp_path):
    place = SnowflakePlace(snowflake_server.place())
    place.query("CREATE SCHEMA KEPT")
    place.query("CREATE STAGE KEPT.INTERNAL")
    place.query(f"CREATE STAGE KEPT.EXTERNAL URL = 'file://{tmp_path}/bucket'")
    place.query("USE SCHEMA S")
    async with desk(lambda _folder: place) as made:
        await made.loader().prepare(CONTRACT)
        place.desk = made
        yield place
    await place.aclose()


KINDS = {"internal": (("READ", "STAGE"), ("WRITE", "STAGE")), "external": (("USAGE", "STAGE"),)}


def needed(place, kind):
    """What an archive takes beside what a loader needs."""
    schema = f"{place.place.database}.KEPT"
    return [("USAGE", "SCHEMA", schema), *((*one, f"{schema}.{kind.upper()}") for one in KINDS[kind])]


async def looked(place, where, grants):
    role = limited(place.place)
    role.has([*loading(place), *grants])
    return await found_by(place, where)


async def found_by(place, where):
    made = names(
        SnowflakeTarget(type="snowflake", table=f"{place.schema}.EVENTS", key=("id",)),
        SnowflakeStage(stage=f"{place.schema}.LANDING"),
    )
    async with aclosing(place.another_account(role=limited(place.place).name)) as account:
        return await check_archive(account, made, where.format(db=place.place.database), "p")


def files(place, stage):
    return [row["name"] for row in place.query(f"LIST @KEPT.{stage}")]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_file_is_copied_listed_and_removed_and_the_role_archives_a_run(place, kind):
    where = f"@{{db}}.KEPT.{kind}/a"
    checks = await looked(place, where, needed(place, kind))
    assert failed(checks) == []
    assert "removed again" in checks[-1].found
    assert files(place, kind) == place.files() == []
    loader = place.desk.loader(account=place.another_account(role=limited(place.place).name))
    run = attempt()
    staged = await place.desk.stage(loader, run, rows(("a", 1, 1)))
    await staged.merge()
    await loader.clean(run, staged.manifest, ArchivePlace(where.format(db=place.place.database)))
    assert len(files(place, kind)) == 1
    assert place.files() == []


CASES = {
    "schema": ("internal", ["USAGE"], 'USAGE ON SCHEMA "{db}"."KEPT"'),
    "write": ("internal", ["WRITE"], 'WRITE ON STAGE "{db}"."KEPT"."INTERNAL"'),
    "read and write": ("internal", ["READ", "WRITE"], 'READ, WRITE ON STAGE "{db}"."KEPT"."INTERNAL"'),
    "read and write, seen": ("internal", ["READ", "WRITE"], 'READ, WRITE ON STAGE "{db}"."KEPT"."INTERNAL"'),
    "usage": ("external", ["USAGE"], 'USAGE ON STAGE "{db}"."KEPT"."EXTERNAL"'),
    "usage, seen": ("external", ["USAGE"], 'USAGE ON STAGE "{db}"."KEPT"."EXTERNAL"'),
}
"""What is lost, and the grant that is named. Whoever has no privilege on a stage does not see its kind."""


@pytest.mark.parametrize("case", CASES)
async def test_what_is_missing_is_named_and_its_grant_is_all_it_takes_n11(place, case):
    kind, lost, named = CASES[case]
    where, role = f"@{{db}}.KEPT.{kind}", limited(place.place)
    of = "SCHEMA" if case == "schema" else "STAGE"
    kept = [one for one in needed(place, kind) if (one[0] in lost, one[1]) != (True, of)]
    kept += [("REFERENCES", "STAGE", f"{place.place.database}.KEPT.{kind.upper()}")] if "seen" in case else []
    [check] = failed(await looked(place, where, kept))
    assert check.name.startswith(SETTING)
    grant = f'GRANT {named.format(db=place.place.database)} TO ROLE "{role.name}"'
    either = case in ("read and write", "usage")
    assert grant in grants_in(check.hint)
    assert len(grants_in(check.hint)) == (2 if either else 1)
    place.query(grant)
    assert failed(await found_by(place, where)) == []


async def test_doctor_looks_at_the_archive_that_the_configuration_names(place, tmp_path):
    archive = {"archive": f"@{place.place.database}.KEPT.NOWHERE/a"}
    world = SnowflakeWorld(tmp_path, {"phases": {"stage_cleaning": archive}}, place.place.connection)
    [check] = failed(await doctor.archive(world.config))
    assert (check.name, "KEPT.NOWHERE" in check.found) == (SETTING, True)
    place.query("CREATE STAGE KEPT.NOWHERE")
    place.query("CREATE STAGE SLUICEWAY")
    assert failed(await doctor.archive(world.config)) == []


async def test_without_the_stage_that_is_copied_from_the_archive_says_to_look_there_first(place):
    place.query("DROP STAGE LANDING")
    [check] = failed(await looked(place, "@{db}.KEPT.INTERNAL", needed(place, "internal")))
    assert "stage_system.stage" in check.hint


async def test_a_stage_that_is_not_there_is_named(place):
    [check] = failed(await looked(place, "@{db}.KEPT.NOWHERE", needed(place, "internal")))
    assert 'CREATE STAGE "' in check.hint
    assert "KEPT.NOWHERE" in check.found


async def test_the_stage_that_is_cleaned_is_no_archive(place):
    """What is in it was taken for archived, and then removed."""
    where = f"@{place.schema}.landing"
    with pytest.raises(ConfigurationError, match="nothing would be kept"):
        await looked(place, where, [])
    loader, run = place.desk.loader(), attempt()
    staged = await place.desk.stage(loader, run, rows(("a", 1, 1)))
    await staged.merge()
    with pytest.raises(ConfigurationError, match="nothing would be kept"):
        await loader.clean(run, staged.manifest, ArchivePlace(where))
    assert len(place.files()) == 1
    assert await loader.clean(run, staged.manifest, ArchivePlace(f"{where}/kept")) == 1
    assert [name.split("/")[0] for name in place.files()] == ["kept"]


async def test_a_file_that_may_not_be_removed_stays_and_is_told(place):
    with place.fault("error", sql=r"REMOVE @.T\d+.\..KEPT", code="003001", state="42501", message="no"):
        checks = await looked(place, "@{db}.KEPT.EXTERNAL/a", needed(place, "external"))
    assert failed(checks) == []
    assert "stays there" in checks[-1].found
    assert [name.rpartition("/")[2] for name in files(place, "EXTERNAL")] == ["sluiceway-doctor-p"]
