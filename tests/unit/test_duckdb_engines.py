"""Engines that loaders of one process share: a file is open for one call, limited, and locked as with its own."""

from __future__ import annotations

import threading
from pathlib import Path

import duckdb
import pytest

from loaders.duckdb.engines import MOST_IDLE, SHARED, Engines, Limits
from loaders.duckdb.file import Database
from loaders.duckdb.settings import DuckDBTarget
from state.errors import PermanentError, TransientError
from state.port import direct
from tests.unit.test_duckdb_file import held_by_another_process

SETTINGS = ("memory_limit", "threads", "temp_directory", "TimeZone")


@pytest.fixture(autouse=True)
def no_engines():
    """Each test begins with none, and leaves none."""
    SHARED.close()
    yield
    SHARED.close()


def shared(path: Path, **settings) -> Database:
    return Database(DuckDBTarget(type="duckdb", database=path, table="t", **settings), direct, lambda: True)


def rows(path: Path) -> int:
    """Counted by an engine of its own, which needs the file to be closed."""
    with duckdb.connect(path) as connection:
        return connection.execute("SELECT count(*) FROM t").fetchone()[0]


@pytest.mark.parametrize("name", ["w", "memory", "system", "temp", "main", "select", 'a "b" c.d', "it's"])
def test_after_a_call_the_file_is_whole_and_closed_and_the_engine_is_kept(tmp_path, name):
    path = tmp_path / f"{name}.duckdb"
    for _ in range(2):
        with shared(path).opened("test") as session:
            session.rows("CREATE TABLE IF NOT EXISTS t (n INTEGER)")
            session.rows("INSERT INTO t VALUES (1)")
        assert SHARED.idle == 1
    assert rows(path) == 2
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    with duckdb.connect(path) as connection:
        own = connection.execute("SELECT current_database()").fetchone()[0]
    with shared(path).opened("test") as session:
        assert session.catalog == own


def test_a_call_finds_the_limits_of_its_own_settings_whoever_was_there_before(tmp_path):
    small = {"memory_limit": "64MiB", "threads": 1}
    asked = ", ".join(f"current_setting('{name}')" for name in SETTINGS)
    for _ in range(2):
        for name, settings, memory in (("a", small, "64.0 MiB"), ("b", small, "64.0 MiB"), ("c", {}, "953.6 MiB")):
            folder = tmp_path / f"{name}'s spill"
            with shared(tmp_path / f"{name}.duckdb", temp_directory=folder, **settings).opened("test") as session:
                [found] = session.rows(f"SELECT {asked}")
            assert found == (memory, settings.get("threads", 2), str(folder), "UTC")
    assert SHARED.idle == 2


def test_two_calls_on_one_file_share_its_engine_and_the_last_one_closes_it(tmp_path):
    path = tmp_path / "w.duckdb"
    with shared(path).opened("one") as one:
        one.rows("CREATE TABLE t (n INTEGER)")
        with shared(path).opened("two") as two:
            two.rows("INSERT INTO t VALUES (1)")
        assert one.count("SELECT count(*) FROM t") == 1
        with pytest.raises(duckdb.Error, match="already attached"):
            duckdb.connect(path)
    assert rows(path) == 1
    assert SHARED.idle == 1


def test_calls_of_many_threads_on_few_files_meet_no_conflict(tmp_path):
    paths = [tmp_path / f"{number}.duckdb" for number in range(2)]
    for path in paths:
        with duckdb.connect(path) as connection:
            connection.execute("CREATE TABLE t (n INTEGER)")

    def work(path: Path) -> None:
        for _ in range(15):
            with shared(path).opened("test") as session:
                session.rows("INSERT INTO t VALUES (1)")

    threads = [threading.Thread(target=work, args=(path,)) for path in paths * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [rows(path) for path in paths] == [45, 45]
    assert 1 <= SHARED.idle <= 2


def test_a_call_that_fails_undoes_its_transaction_closes_the_file_and_its_engine_is_not_kept(tmp_path):
    path = tmp_path / "w.duckdb"
    with shared(path).opened("test") as session:
        session.rows("CREATE TABLE t (n INTEGER)")
    with pytest.raises(PermanentError), shared(path).opened("test") as session:
        session.rows("BEGIN")
        session.rows("INSERT INTO t VALUES (1)")
        session.rows("no statement")
    assert SHARED.idle == 0
    assert rows(path) == 0


def test_a_transaction_that_is_left_open_is_undone(tmp_path):
    path = tmp_path / "w.duckdb"
    with shared(path).opened("test") as session:
        session.rows("CREATE TABLE t (n INTEGER)")
        session.rows("BEGIN")
        session.rows("INSERT INTO t VALUES (1)")
    assert rows(path) == 0


def test_an_engine_that_spilled_removes_its_folder(tmp_path):
    database = shared(tmp_path / "w.duckdb", memory_limit="32MB", threads=1)
    with database.opened("test") as session:
        session.rows("CREATE TEMP TABLE big AS SELECT range, hash(range)::VARCHAR AS x FROM range(1500000)")
        assert any(database.spill.iterdir())
    assert not database.spill.exists()
    assert SHARED.idle == 0


def test_an_engine_that_spilled_to_a_folder_of_the_operator_serves_no_other_folder(tmp_path):
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        database = shared(tmp_path / f"{name}.duckdb", memory_limit="32MB", threads=1, temp_directory=folder)
        with database.opened("test") as session:
            session.rows("CREATE TEMP TABLE big AS SELECT range, hash(range)::VARCHAR AS x FROM range(1500000)")
            assert any(folder.iterdir())


def test_a_lock_that_another_process_holds_names_the_holder_and_leaves_nothing(tmp_path):
    path = tmp_path / "w.duckdb"
    with (
        held_by_another_process(path) as pid,
        pytest.raises(TransientError, match=f"PID {pid}") as caught,
        shared(path).opened("test"),
    ):
        raise AssertionError("it was opened")
    assert caught.value.code == "locked"
    with shared(path).opened("test") as session:
        session.rows("CREATE TABLE t (n INTEGER)")
    assert rows(path) == 0


def test_no_more_engines_are_kept_than_few(tmp_path):
    calls = [shared(tmp_path / f"{number}.duckdb").opened("test") for number in range(MOST_IDLE + 2)]
    for call in calls:
        call.__enter__()
    for call in calls:
        call.__exit__(None, None, None)
    assert SHARED.idle == MOST_IDLE


def test_an_engine_serves_so_many_calls_and_no_more(tmp_path):
    """It grows by some kilobytes with each."""
    engines, path, kept = Engines(most_calls=3), tmp_path / "w.duckdb", []
    for _ in range(6):
        connection, _ = engines.connect(path, Limits("64MiB", 1), tmp_path / "spill")
        engines.let_go(path, connection, failed=False)
        kept.append(engines.idle)
    assert kept == [1, 1, 0, 1, 1, 0]
