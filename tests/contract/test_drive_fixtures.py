"""Drive tables of every schema version so far, kept as files: what an older program wrote stays readable.

The fixtures are made by `tests/fixtures/drive/make.py`, once per version.
"""

from __future__ import annotations

import sqlite3
from contextlib import aclosing, closing
from pathlib import Path

import msgspec
import pytest

from state.errors import ConfigurationError
from state.model import Phase, Run, RunStatus
from state.sqlite import SqliteDrive, schema
from tests.fixtures.drive import make

FOLDER = Path(make.__file__).parent
VERSIONS = sorted(int(file.stem[1:]) for file in FOLDER.glob("v*.sql"))
STEP = "ALTER TABLE pipeline_execution_drive ADD COLUMN note TEXT NOT NULL DEFAULT 'new';\n"


def restored(version: int, folder: Path) -> Path:
    """The fixture as a database file."""
    path = folder / f"v{version}.sqlite"
    with closing(sqlite3.connect(path)) as sql:
        sql.executescript((FOLDER / f"v{version}.sql").read_text())
        sql.execute("PRAGMA journal_mode = WAL")
    return path


def expected(version: int) -> list[Run]:
    """What the program of that version read."""
    lines = (FOLDER / f"v{version}.ndjson").read_bytes()
    return msgspec.json.Decoder(Run).decode_lines(lines)


async def runs_in(path: Path) -> list[Run]:
    async with aclosing(await SqliteDrive.open(path)) as drive:
        return await drive.runs()


def with_step(monkeypatch, step: str) -> None:
    """The program as it will be: one schema version further."""
    steps = [*schema.steps(), step]
    monkeypatch.setattr(schema, "steps", lambda: steps)


def query(path: Path, sql: str) -> list[tuple]:
    """As an operator asks, with nothing of ours."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def test_every_version_has_its_fixture():
    assert list(range(1, len(schema.steps()) + 1)) == VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
def test_a_migration_that_was_released_is_never_changed(version, tmp_path):
    with closing(sqlite3.connect(tmp_path / "fresh.sqlite")) as sql:
        for script in schema.steps()[:version]:
            sql.executescript(script)
    of_schema = "SELECT name, sql FROM sqlite_master ORDER BY name"
    assert query(tmp_path / "fresh.sqlite", of_schema) == query(restored(version, tmp_path), of_schema)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_table_of_every_version_is_read_as_its_own_program_read_it(version, tmp_path):
    path = restored(version, tmp_path)
    assert await SqliteDrive.upgrade(path) == "f" * 32
    assert await runs_in(path) == expected(version)
    async with aclosing(await SqliteDrive.open(path)) as drive:
        assert [event.action for event in await drive.events("p")] == ["pause", "retry"]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_fixtures_hold_runs_in_every_status_and_phase(version):
    runs = expected(version)
    assert {run.status for run in runs} == set(RunStatus)
    for status in (RunStatus.FAILED, RunStatus.RUNNING, RunStatus.PENDING):
        furthest = {len(run.phases) for run in runs if run.status is status}
        assert furthest >= set(range(len(Phase)))
    assert {run.phase_failed for run in runs} == {None, *Phase}
    assert {bool(run.quarantined_at) for run in runs if run.status is RunStatus.FAILED} == {True, False}
    assert any(run.superseded_by for run in runs)


async def test_the_newest_fixture_is_what_its_maker_makes(tmp_path):
    made = await make.made(tmp_path / "drive.sqlite")
    assert msgspec.json.Decoder(Run).decode_lines(made) == expected(VERSIONS[-1])


async def test_an_older_schema_is_used_only_after_an_upgrade(tmp_path, monkeypatch):
    path = restored(VERSIONS[-1], tmp_path)
    with_step(monkeypatch, STEP)
    with pytest.raises(ConfigurationError) as caught:
        await SqliteDrive.open(path)
    assert (caught.value.code, "sluiceway drive upgrade" in caught.value.hint) == ("old_schema", True)
    await SqliteDrive.upgrade(path)
    assert await runs_in(path) == expected(VERSIONS[-1])
    assert query(path, "SELECT DISTINCT note FROM pipeline_execution_drive") == [("new",)]


async def test_an_old_program_leaves_a_newer_schema_alone(tmp_path, monkeypatch):
    path = restored(VERSIONS[-1], tmp_path)
    with monkeypatch.context() as future:
        with_step(future, STEP)
        await SqliteDrive.upgrade(path)
    before = make.dump(path)
    for attempt in (SqliteDrive.open, SqliteDrive.init, SqliteDrive.upgrade):
        with pytest.raises(ConfigurationError, match=r"schema version (\d+), this program knows") as caught:
            await attempt(path)
        assert caught.value.code == "newer_schema"
    assert make.dump(path) == before


async def test_a_migration_that_fails_leaves_the_table_as_it_was(tmp_path, monkeypatch):
    path = restored(VERSIONS[-1], tmp_path)
    before = make.dump(path)
    wrong = STEP + "DELETE FROM pipeline_events;\nINSERT INTO no_such_table VALUES (1);\n"
    with monkeypatch.context() as future:
        with_step(future, wrong)
        with pytest.raises(ConfigurationError, match="no_such_table"):
            await SqliteDrive.upgrade(path)
    assert make.dump(path) == before
    assert await runs_in(path) == expected(VERSIONS[-1])


@pytest.fixture(scope="module")
def operators_file(tmp_path_factory):
    return restored(VERSIONS[-1], tmp_path_factory.mktemp("operators"))


def test_operators_see_what_failed_and_where(operators_file):
    rows = query(
        operators_file,
        "SELECT pipeline_id, phase_failed FROM pipeline_execution_drive"
        " WHERE pipeline_name = 'p' AND pipeline_status = 'FAILED' ORDER BY query_window_start_timestamp LIMIT 2",
    )
    assert rows == [
        ("p_20251115_00h_run1", "stale_pipeline_handling"),
        ("p_20251115_01h_run1", "pre_validation"),
    ]


def test_operators_count_runs_by_status_and_day(operators_file):
    rows = query(
        operators_file,
        "SELECT pipeline_status, count(*) FROM pipeline_execution_drive"
        " WHERE created_at >= '2025-12-26' AND created_at < '2025-12-27' AND pipeline_name = 'p'"
        " GROUP BY pipeline_status ORDER BY 1",
    )
    assert dict(rows) == {"COMPLETED": 1, "FAILED": 8, "PENDING": 8, "RUNNING": 7, "SKIPPED": 1}


def test_operators_compare_the_counts_of_an_audit_as_json(operators_file):
    rows = query(
        operators_file,
        "SELECT pipeline_id, audit_phase ->> '$.source_count', audit_phase ->> '$.target_count',"
        " audit_phase ->> '$.validation_status' FROM pipeline_execution_drive"
        " WHERE audit_phase ->> '$.source_count' = audit_phase ->> '$.target_count'",
    )
    assert rows == [("p_20251116_06h_run1", 3, 3, "PASSED")]


def test_operators_find_the_run_of_an_instant(operators_file):
    rows = query(
        operators_file,
        "SELECT pipeline_id, query_window_end_timestamp FROM pipeline_execution_drive WHERE pipeline_name = 'p'"
        " AND query_window_start_timestamp <= '2025-11-15 11:30:00'"
        " AND query_window_end_timestamp > '2025-11-15 11:30:00'",
    )
    assert rows == [("p_20251115_11h_run1", "2025-11-15 12:00:00.000000")]


def test_operators_find_gaps_between_windows(operators_file):
    """Half-open windows that tile show no row here; the fixture has holes."""
    rows = query(
        operators_file,
        "SELECT query_window_end_timestamp, following FROM (SELECT query_window_end_timestamp,"
        " lead(query_window_start_timestamp) OVER (ORDER BY query_window_start_timestamp, run_number) AS following"
        " FROM pipeline_execution_drive WHERE pipeline_name = 'p')"
        " WHERE following > query_window_end_timestamp LIMIT 1",
    )
    assert rows == [("2025-11-15 07:00:00.000000", "2025-11-15 10:00:00.000000")]
