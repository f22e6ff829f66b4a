"""DuckDB's errors and what they mean: each row of the table by an error that it is there for."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest

from loaders.duckdb.errors import MEANINGS, explain
from loaders.duckdb.file import Database
from loaders.duckdb.settings import DuckDBTarget
from state.errors import ConfigurationError, ContractError, PermanentError, TransientError, Unreachable
from state.port import direct

DATABASE = Path("/data/w.duckdb")

ROWS = [
    (
        duckdb.IOException,
        'IO Error: Could not set lock on file "/data/w.duckdb": Conflicting lock is held in /usr/bin/python3.11 '
        "(PID 8321). See also https://duckdb.org/docs",
        Unreachable,
        "locked",
        "/usr/bin/python3.11 (PID 8321)",
    ),
    (
        duckdb.IOException,
        'IO Error: Could not set lock on file "/data/w.duckdb": Resource unavailable',
        Unreachable,
        "locked",
        "in another process",
    ),
    (
        duckdb.ConnectionException,
        "Connection Error: Can't open a connection to same database file with a different configuration than "
        "existing connections",
        Unreachable,
        "locked",
        "elsewhere in this process",
    ),
    (
        duckdb.BinderException,
        'Binder Error: Unique file handle conflict: Cannot attach "w" - the database file "/data/w.duckdb" is '
        "already attached by database x",
        Unreachable,
        "locked",
        "elsewhere in this process",
    ),
    (
        duckdb.IOException,
        'IO Error: Could not write to file "/data/w.duckdb.wal": No space left on device',
        TransientError,
        "disk_full",
        "no room left on its disk",
    ),
    (
        duckdb.OutOfMemoryException,
        "Out of Memory Error: failed to offload data block of size 256.0 KiB (1.0 GiB/1.0 GiB used).",
        TransientError,
        "disk_full",
        "spill",
    ),
    (
        duckdb.OutOfMemoryException,
        "Out of Memory Error: could not allocate block of size 256.0 KiB (19.0 MiB/19.0 MiB used)",
        TransientError,
        "out_of_memory",
        "memory_limit",
    ),
    (
        duckdb.TransactionException,
        "TransactionContext Error: Conflict on update!",
        TransientError,
        "conflict",
        "another transaction",
    ),
    (
        duckdb.IOException,
        'IO Error: The file "/data/w.duckdb" exists, but it is not a valid DuckDB database file!',
        ConfigurationError,
        "corrupt",
        "no intact DuckDB file",
    ),
    (
        duckdb.IOException,
        'IO Error: Cannot open file "/data/w.duckdb": Permission denied',
        ConfigurationError,
        "unusable",
        "opened for writing",
    ),
    (
        duckdb.ConstraintException,
        'Constraint Error: PRIMARY KEY or UNIQUE constraint violation: duplicate key "1"',
        ContractError,
        "constraint",
        'duplicate key "1"',
    ),
    (
        duckdb.ConversionException,
        "Conversion Error: Could not convert string 'x' to INT32",
        ContractError,
        "conversion",
        "'x' to INT32",
    ),
    (
        duckdb.IOException,
        "IO Error: Could not read from file: Input/output error",
        TransientError,
        "disk",
        "read or written",
    ),
    (duckdb.InterruptException, "INTERRUPT Error: Interrupted!", TransientError, "interrupted", "stopped"),
    (
        duckdb.FatalException,
        "FATAL Error: Failed: database has been invalidated because of a previous fatal error.",
        TransientError,
        "invalidated",
        "was closed by DuckDB",
    ),
    (
        duckdb.CatalogException,
        "Catalog Error: Table with name t does not exist!",
        PermanentError,
        "duckdb",
        "Table with name t",
    ),
]


@pytest.mark.parametrize(("kind", "text", "becomes", "code", "words"), ROWS)
def test_an_error_is_told_by_what_to_do_next(kind, text, becomes, code, words):
    error = explain(DATABASE, kind(text + "\n\nLINE 1: SELECT secret"))
    assert (type(error), error.code) == (becomes, code)
    assert str(DATABASE) in error.message
    assert words in error.message
    assert "SELECT" not in error.message
    assert error.hint


def test_every_row_of_the_table_has_its_error_here():
    hit = set()
    for kind, text, *_ in ROWS:
        error = kind(text)
        matching = [
            n for n, m in enumerate(MEANINGS) if isinstance(error, m.kind) and re.search(m.words, text, re.I)
        ]
        hit.add(matching[0])
    assert hit == set(range(len(MEANINGS)))


def raised(sql: str, **settings) -> Exception:
    """What a statement on a real DuckDB becomes."""
    with duckdb.connect(config=settings) as connection, pytest.raises(duckdb.Error) as caught:
        connection.execute(sql)
    return explain(DATABASE, caught.value)


@pytest.mark.parametrize(
    ("sql", "becomes", "code"),
    [
        ("SELECT CAST('x' AS INTEGER)", ContractError, "conversion"),
        ("SELECT CAST(300 AS TINYINT)", ContractError, "conversion"),
        ("SELECT CAST(1e30 AS DECIMAL(5,2))", ContractError, "conversion"),
        ("CREATE TABLE t(a INTEGER NOT NULL); INSERT INTO t VALUES (NULL)", ContractError, "constraint"),
        ("CREATE TABLE t(a INTEGER PRIMARY KEY); INSERT INTO t VALUES (1), (1)", ContractError, "constraint"),
        ("SELECT * FROM nowhere", PermanentError, "duckdb"),
    ],
)
def test_what_duckdb_itself_raises_is_told_so(sql, becomes, code):
    error = raised(sql)
    assert (type(error), error.code) == (becomes, code)


def test_a_memory_limit_that_is_too_low_is_transient_and_names_the_setting():
    sql = "SELECT count(DISTINCT hash(range)) FROM range(5000000)"
    error = raised(sql, memory_limit="4MB", temp_directory="", threads="1")
    assert (type(error), error.code) == (TransientError, "out_of_memory")
    assert "target_system.memory_limit" in error.hint


def opened(path: Path) -> None:
    target = DuckDBTarget(type="duckdb", database=path, table="t")
    with Database(target, direct).opened("test") as session:
        session.rows("FROM t")


@pytest.mark.parametrize("start", [0, 12_288])
def test_a_damaged_file_is_a_matter_of_configuration(tmp_path, start):
    path = tmp_path / "w.duckdb"
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE t AS FROM range(100000)")
    data = bytearray(path.read_bytes())
    for place in range(start, len(data)):
        data[place] ^= 0x55
    path.write_bytes(data)
    with pytest.raises(ConfigurationError) as caught:
        opened(path)
    assert caught.value.code == "corrupt"


def test_a_folder_in_the_place_of_the_file_is_a_matter_of_configuration(tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        opened(tmp_path)
    assert caught.value.code == "unusable"


def test_a_file_in_the_place_of_the_folder_is_a_matter_of_configuration(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="folder") as caught:
        opened(tmp_path / "file" / "w.duckdb")
    assert caught.value.path == "target_system.database"
