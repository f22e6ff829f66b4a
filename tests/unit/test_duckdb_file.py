"""The DuckDB file between calls and during them: closed, limited, and locked by somebody else."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from loaders.duckdb.file import Database
from loaders.duckdb.loader import DuckDBLoader
from loaders.duckdb.settings import DuckDBStage, DuckDBTarget
from state.errors import TransientError
from state.model import Manifest
from state.port import direct
from tests.contract.loader_desk import CONTRACT, attempt, desk, rows
from tests.contract.loader_worlds import DuckDBPlace

HOLDER = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held_by_another_process(path: Path):
    """Another process has the file open meanwhile; gives its process id."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        yield holder.pid
    finally:
        holder.stdin.close()
        holder.wait()
        holder.stdout.close()


async def test_a_lock_that_another_process_holds_is_transient_and_names_the_holder(tmp_path):
    place = DuckDBPlace(tmp_path)
    loader = place.loader(mode="merge", key=("id",), pipeline="p", port=direct)
    await loader.prepare(CONTRACT)
    with held_by_another_process(place.database) as pid:
        with pytest.raises(TransientError, match=f"PID {pid}") as caught:
            await loader.raise_fence(attempt())
        assert caught.value.code == "locked"
        [found] = [check for check in await loader.check() if check.name == "target_system.database"]
        assert not found.ok
        assert str(pid) in found.found
    await loader.raise_fence(attempt())
    await loader.aclose()


async def test_between_calls_the_file_is_open_to_others(tmp_path):
    place = DuckDBPlace(tmp_path)
    loader = place.loader(mode="merge", key=("id",), pipeline="p", port=direct)
    await loader.prepare(CONTRACT)
    with held_by_another_process(place.database) as pid:
        assert pid
    await loader.aclose()


async def test_a_call_that_fails_closes_the_file_too(tmp_path):
    @contextmanager
    def port(name):
        yield
        if name == "loader.fence.open":
            raise TransientError("the answer was lost", code="answer_lost")

    place = DuckDBPlace(tmp_path)
    loader = place.loader(mode="merge", key=("id",), pipeline="p", port=port)
    await loader.prepare(CONTRACT)
    with pytest.raises(TransientError):
        await loader.raise_fence(attempt())
    with held_by_another_process(place.database) as pid:
        assert pid
    await loader.aclose()


def test_the_limits_are_set(tmp_path):
    target = DuckDBTarget(
        type="duckdb",
        database=tmp_path / "w.duckdb",
        table="t",
        memory_limit="64MiB",
        threads=1,
        temp_directory=tmp_path / "it's temporary",
    )
    with Database(target, direct).opened("test") as session:
        [found] = session.rows(
            "SELECT current_setting('memory_limit'), current_setting('threads'),"
            " current_setting('temp_directory'), current_setting('TimeZone')"
        )
    assert found == ("64.0 MiB", 1, str(tmp_path / "it's temporary"), "UTC")


def test_without_a_temp_directory_it_spills_beside_the_database(tmp_path):
    target = DuckDBTarget(type="duckdb", database=tmp_path / "w.duckdb", table="t", memory_limit="32MB", threads=1)
    database = Database(target, direct)
    with database.opened("test") as session:
        session.rows("CREATE TEMP TABLE big AS SELECT range, hash(range)::VARCHAR AS x FROM range(1500000)")
        assert any(database.spill.iterdir())
    assert database.spill.parent == tmp_path


def test_a_connection_of_the_same_process_with_other_settings_is_transient(tmp_path):
    target = DuckDBTarget(type="duckdb", database=tmp_path / "w.duckdb", table="t")
    duckdb.connect(target.database).close()
    database = Database(target, direct)
    with (
        duckdb.connect(target.database, read_only=True),
        pytest.raises(TransientError, match="in this process") as caught,
        database.opened("test"),
    ):
        raise AssertionError("it was opened")
    assert caught.value.code == "locked"
    with database.opened("test") as session:
        assert session.value("SELECT 1") == 1


async def test_a_schema_may_be_named_like_the_file_and_a_table_like_a_word_of_sql(tmp_path):
    database = tmp_path / "select.duckdb"
    target = DuckDBTarget(type="duckdb", database=database, table='select.gro"up by', key=("id",))
    loader = DuckDBLoader(target, DuckDBStage(directory=tmp_path / "st'a[g]e*"), pipeline="p", cursor="at")
    async with desk(DuckDBPlace) as d:
        receipt = await d.load(loader, attempt(), rows(("a", 1, 1)))
        await loader.clean(attempt(), Manifest(), None)
    assert receipt.counts.inserted == 1
    with duckdb.connect(database) as connection:
        assert connection.execute('SELECT id FROM "select"."select"."gro""up by"').fetchall() == [("a",)]
        tables = connection.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall()
    assert tables == [("SLUICEWAY_LOADS",), ('gro"up by',), ('gro"up by__SLUICEWAY_FENCE',)]
    await loader.aclose()


async def test_the_event_loop_runs_on_while_a_call_waits_for_the_disk(tmp_path):
    """Each call runs in the loader's own thread: the loop sees it begin and does its own work meanwhile (S-6)."""
    going, seen = asyncio.Event(), []
    loop = asyncio.get_running_loop()
    reader, writer = os.pipe()

    @contextmanager
    def port(name):
        if name == "loader.fence.begin":
            loop.call_soon_threadsafe(going.set)
            seen.append(os.read(reader, 1))  # until the loop writes
        yield

    place = DuckDBPlace(tmp_path)
    loader = place.loader(mode="merge", key=("id",), pipeline="p", port=port)
    call = asyncio.create_task(loader.raise_fence(attempt()))
    await going.wait()
    os.write(writer, b"x")
    await call
    assert seen == [b"x"]
    os.close(reader)
    os.close(writer)
    await loader.aclose()
