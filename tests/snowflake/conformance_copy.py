"""Clauses about COPY INTO a table."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from tests.snowflake.conformance import Site, clause, fails, parquet, put, records, rows, run_all, value

COPY = "sql-reference/sql/copy-into-table"
METADATA, TRANSFORM = "user-guide/data-load-considerations-load", "user-guide/data-load-transform"
FORMAT = (
    "FILE_FORMAT = (TYPE = PARQUET USE_VECTORIZED_SCANNER = TRUE USE_LOGICAL_TYPE = TRUE BINARY_AS_TEXT = FALSE"
    " REPLACE_INVALID_CHARACTERS = FALSE NULL_IF = ())"
)
BY_NAME = f"{FORMAT} MATCH_BY_COLUMN_NAME = CASE_INSENSITIVE"
RESULT = [
    "file",
    "status",
    "rows_parsed",
    "rows_loaded",
    "error_limit",
    "errors_seen",
    "first_error",
    "first_error_line",
    "first_error_character",
    "first_error_column_name",
]


async def staged(site: Site, connection: Any, name: str, /, **columns: Any) -> None:
    """A Parquet file in stage `s`, folder `x`; the stage is made if need be."""
    await rows(connection, "CREATE STAGE IF NOT EXISTS s")
    await put(connection, parquet(site.folder / name, columns), "@s/x/")


@clause("COPY answers one row for each file, with its status and counts", COPY)
async def copy_tells_each_file(site: Site) -> None:
    async with site.connect() as connection:
        await staged(site, connection, "a.parquet", ID=[1, 2], NAME=["a", "b"])
        await staged(site, connection, "b.parquet", ID=[3], NAME=["c"])
        await rows(connection, "CREATE TABLE t (id NUMBER, name VARCHAR)")
        found = await records(connection, f"COPY INTO t FROM @s/x/ FILES = ('a.parquet', 'b.parquet') {BY_NAME}")
        assert list(found[0]) == RESULT
        told = {one["file"].rpartition("/")[2]: one for one in found}
        assert {name: (one["status"], one["rows_parsed"], one["rows_loaded"]) for name, one in told.items()} == {
            "a.parquet": ("LOADED", 2, 2),
            "b.parquet": ("LOADED", 1, 1),
        }
        assert {one["errors_seen"] for one in found} == {0}
        assert await rows(connection, "SELECT * FROM t ORDER BY id") == [(1, "a"), (2, "b"), (3, "c")]


@clause("A file of FILES that is missing makes COPY fail, and nothing is loaded", COPY)
async def copy_fails_for_a_missing_file(site: Site) -> None:
    async with site.connect() as connection:
        await staged(site, connection, "a.parquet", ID=[1])
        await rows(connection, "CREATE TABLE t (id NUMBER)")
        words = await fails(
            connection, 91016, f"COPY INTO t FROM @s/x/ FILES = ('a.parquet', 'gone.parquet') {BY_NAME}"
        )
        assert "gone.parquet" in words
        assert await value(connection, "SELECT COUNT(*) FROM t") == 0


@clause("FILES takes 1,000 names at most", COPY)
async def copy_takes_a_thousand_files(site: Site) -> None:
    async with site.connect() as connection:
        await staged(site, connection, "a.parquet", ID=[1])
        await rows(connection, "CREATE TABLE t (id NUMBER)")
        names = ", ".join(f"'{number}.parquet'" for number in range(1001))
        await fails(connection, 1007, f"COPY INTO t FROM @s/x/ FILES = ({names}) {BY_NAME}")


@clause("A file that was loaded into the table is skipped: LOAD_SKIPPED, no rows", METADATA)
async def a_loaded_file_is_skipped(site: Site) -> None:
    async with site.connect() as connection:
        await staged(site, connection, "a.parquet", ID=[1])
        await rows(connection, "CREATE TABLE t (id NUMBER)")
        copy = f"COPY INTO t FROM @s/x/ FILES = ('a.parquet') {BY_NAME}"
        await rows(connection, copy)
        [again] = await records(connection, copy)
        assert (again["status"], again["rows_loaded"]) == ("LOAD_SKIPPED", 0)
        assert await value(connection, "SELECT COUNT(*) FROM t") == 1


@clause("FORCE loads a file again", COPY)
async def force_loads_a_file_again(site: Site) -> None:
    async with site.connect() as connection:
        await staged(site, connection, "a.parquet", ID=[1])
        await rows(connection, "CREATE TABLE t (id NUMBER)")
        for _ in range(2):
            [record] = await records(
                connection, f"COPY INTO t FROM @s/x/ FILES = ('a.parquet') {BY_NAME} FORCE = TRUE"
            )
            assert record["status"] == "LOADED"
        assert await value(connection, "SELECT COUNT(*) FROM t") == 2


@clause("A file of the same name with other bytes is loaded", METADATA)
async def a_changed_file_is_loaded(site: Site) -> None:
    async with site.connect() as connection:
        await rows(connection, "CREATE TABLE t (id NUMBER)")
        for number in (1, 2):
            await staged(site, connection, "a.parquet", ID=[number])
            await rows(connection, f"COPY INTO t FROM @s/x/ FILES = ('a.parquet') {BY_NAME}")
        assert await rows(connection, "SELECT id FROM t ORDER BY id") == [(1,), (2,)]


@clause("DELETE keeps the load metadata of a table, TRUNCATE and CREATE OR REPLACE drop them", METADATA)
async def load_metadata_outlive_delete_only(site: Site) -> None:
    async with site.connect() as connection:
        await staged(site, connection, "a.parquet", ID=[1])
        await rows(connection, "CREATE TABLE t (id NUMBER)")
        copy = f"COPY INTO t FROM @s/x/ FILES = ('a.parquet') {BY_NAME}"
        await rows(connection, copy)
        for forget, loaded in (
            ("DELETE FROM t", 0),
            ("TRUNCATE TABLE t", 1),
            ("CREATE OR REPLACE TABLE t (id NUMBER)", 1),
        ):
            await rows(connection, forget)
            await rows(connection, copy)
            assert await value(connection, "SELECT COUNT(*) FROM t") == loaded, forget


@clause("What a COPY loaded and remembers is gone after ROLLBACK", METADATA)
async def a_rolled_back_copy_is_forgotten(site: Site) -> None:
    async with site.connect() as connection:
        await staged(site, connection, "a.parquet", ID=[1])
        await rows(connection, "CREATE TABLE t (id NUMBER)")
        copy = f"COPY INTO t FROM @s/x/ FILES = ('a.parquet') {BY_NAME}"
        await run_all(connection, ["BEGIN", copy, "ROLLBACK"])
        assert await value(connection, "SELECT COUNT(*) FROM t") == 0
        await rows(connection, copy)
        assert await value(connection, "SELECT COUNT(*) FROM t") == 1


@clause("Without FILES, a COPY of files that were all loaded processes none", COPY)
async def copy_of_nothing_new(site: Site) -> None:
    async with site.connect() as connection:
        await staged(site, connection, "a.parquet", ID=[1])
        await rows(connection, "CREATE TABLE t (id NUMBER)")
        await rows(connection, f"COPY INTO t FROM @s/x/ {BY_NAME}")
        assert await rows(connection, f"COPY INTO t FROM @s/x/ {BY_NAME}") == [
            ("Copy executed with 0 files processed.",)
        ]


@clause("ON_ERROR = ABORT_STATEMENT, the default, loads nothing when a row cannot be converted", COPY)
async def copy_aborts_on_a_bad_row(site: Site) -> None:
    async with site.connect() as connection:
        await staged(site, connection, "a.parquet", ID=["1"])
        await staged(site, connection, "b.parquet", ID=["2", "x"])
        await rows(connection, "CREATE TABLE t (id NUMBER)")
        await fails(connection, 100038, f"COPY INTO t FROM @s/x/ FILES = ('a.parquet', 'b.parquet') {BY_NAME}")
        assert await value(connection, "SELECT COUNT(*) FROM t") == 0


@clause("ON_ERROR = CONTINUE leaves bad rows out: PARTIALLY_LOADED, with the first error", COPY)
async def copy_continues_past_a_bad_row(site: Site) -> None:
    async with site.connect() as connection:
        await staged(site, connection, "b.parquet", ID=["2", "x"])
        await rows(connection, "CREATE TABLE t (id NUMBER)")
        [record] = await records(
            connection, f"COPY INTO t FROM @s/x/ FILES = ('b.parquet') {BY_NAME} ON_ERROR = CONTINUE"
        )
        assert (record["status"], record["rows_parsed"], record["rows_loaded"]) == ("PARTIALLY_LOADED", 2, 1)
        assert record["errors_seen"] == 1
        assert record["first_error"]


@clause("ON_ERROR = SKIP_FILE leaves a file with a bad row out: LOAD_FAILED", COPY)
async def copy_skips_a_bad_file(site: Site) -> None:
    async with site.connect() as connection:
        await staged(site, connection, "a.parquet", ID=["1"])
        await staged(site, connection, "b.parquet", ID=["2", "x"])
        await rows(connection, "CREATE TABLE t (id NUMBER)")
        files = "FILES = ('a.parquet', 'b.parquet')"
        found = await records(connection, f"COPY INTO t FROM @s/x/ {files} {BY_NAME} ON_ERROR = SKIP_FILE")
        assert sorted((one["status"], one["rows_loaded"]) for one in found) == [("LOADED", 1), ("LOAD_FAILED", 0)]


@clause("MATCH_BY_COLUMN_NAME drops what the table lacks and fills what the file lacks with NULL, silently", COPY)
async def matching_by_name_says_nothing_of_differences(site: Site) -> None:
    async with site.connect() as connection:
        await staged(site, connection, "a.parquet", id=[1], Extra=["lost"])
        await rows(connection, "CREATE TABLE t (id NUMBER, missing VARCHAR)")
        [record] = await records(connection, f"COPY INTO t FROM @s/x/ FILES = ('a.parquet') {BY_NAME}")
        assert (record["status"], record["errors_seen"]) == ("LOADED", 0)
        assert await rows(connection, "SELECT * FROM t") == [(1, None)]


@clause("MATCH_BY_COLUMN_NAME = CASE_SENSITIVE does not match another case: all is NULL, silently", COPY)
async def matching_by_case_loses_everything_silently(site: Site) -> None:
    async with site.connect() as connection:
        await staged(site, connection, "a.parquet", id=[1])
        await rows(connection, "CREATE TABLE t (id NUMBER)")
        sensitive = BY_NAME.replace("CASE_INSENSITIVE", "CASE_SENSITIVE")
        [record] = await records(connection, f"COPY INTO t FROM @s/x/ FILES = ('a.parquet') {sensitive}")
        assert (record["status"], record["rows_loaded"]) == ("LOADED", 1)
        assert await rows(connection, "SELECT * FROM t") == [(None,)]


@clause("Parquet without MATCH_BY_COLUMN_NAME or a transformation needs a table of one VARIANT column", COPY)
async def plain_parquet_needs_one_variant(site: Site) -> None:
    async with site.connect() as connection:
        await staged(site, connection, "a.parquet", id=[1], name=["a"])
        await run_all(connection, ["CREATE TABLE t (id NUMBER, name VARCHAR)", "CREATE TABLE v (v VARIANT)"])
        await fails(connection, 2019, f"COPY INTO t FROM @s/x/ FILES = ('a.parquet') {FORMAT}")
        await rows(connection, f"COPY INTO v FROM @s/x/ FILES = ('a.parquet') {FORMAT}")
        assert await rows(connection, "SELECT v:id::NUMBER, v:name::VARCHAR FROM v") == [(1, "a")]


@clause(r"NULL_IF is \N unless told otherwise: a text of these two characters becomes NULL", COPY)
async def null_if_has_a_default(site: Site) -> None:
    async with site.connect() as connection:
        await staged(site, connection, "a.parquet", ID=[1, 2], NAME=["\\N", ""])
        await rows(connection, "CREATE TABLE t (id NUMBER, name VARCHAR)")
        default = BY_NAME.replace(" NULL_IF = ()", "")
        for options, first in ((default, None), (BY_NAME, "\\N")):
            await rows(connection, f"COPY INTO t FROM @s/x/ FILES = ('a.parquet') {options} FORCE = TRUE")
            assert await rows(connection, "SELECT name FROM t ORDER BY id") == [(first,), ("",)]
            await rows(connection, "DELETE FROM t")


@clause("JSON text in Parquet becomes a string inside VARIANT, whose paths answer NULL", TRANSFORM)
async def json_text_is_not_parsed(site: Site) -> None:
    async with site.connect() as connection:
        await staged(site, connection, "a.parquet", DOC=['{"k": 1}'])
        await rows(connection, "CREATE TABLE t (doc VARIANT)")
        await rows(connection, f"COPY INTO t FROM @s/x/ FILES = ('a.parquet') {BY_NAME}")
        assert await rows(connection, "SELECT TYPEOF(doc), doc:k, PARSE_JSON(doc):k::NUMBER FROM t") == [
            ("VARCHAR", None, 1)
        ]


@clause("A transformation may cast, parse JSON and take file name and row number, which counts from 1", TRANSFORM)
async def copy_transforms(site: Site) -> None:
    async with site.connect() as connection:
        await staged(site, connection, "a.parquet", Id=[7, 8], doc=['{"k": 9007199254740993}', None])
        await rows(connection, "CREATE TABLE t (id NUMBER(38,0), doc VARIANT, file VARCHAR, r NUMBER)")
        query = (
            "SELECT $1:Id::NUMBER(38,0), PARSE_JSON($1:doc), METADATA$FILENAME, METADATA$FILE_ROW_NUMBER"
            " FROM @s/x/"
        )
        [record] = await records(
            connection, f"COPY INTO t (id, doc, file, r) FROM ({query}) FILES = ('a.parquet') {FORMAT}"
        )
        assert (record["status"], record["rows_loaded"]) == ("LOADED", 2)
        assert await rows(connection, "SELECT id, doc:k::NUMBER, file, r FROM t ORDER BY id") == [
            (7, 9007199254740993, "x/a.parquet", 1),
            (8, None, "x/a.parquet", 2),
        ]


@clause("An element of a row is found by its exact spelling only", TRANSFORM)
async def elements_are_case_sensitive(site: Site) -> None:
    async with site.connect() as connection:
        await staged(site, connection, "a.parquet", Id=[7])
        await rows(connection, "CREATE TABLE t (a NUMBER, b NUMBER)")
        query = "SELECT $1:Id::NUMBER, $1:ID::NUMBER FROM @s/x/"
        await rows(connection, f"COPY INTO t FROM ({query}) FILES = ('a.parquet') {FORMAT}")
        assert await rows(connection, "SELECT a, b FROM t") == [(7, None)]


@clause("Invalid JSON makes a transformation fail", TRANSFORM)
async def copy_fails_for_invalid_json(site: Site) -> None:
    async with site.connect() as connection:
        await staged(site, connection, "a.parquet", doc=["{"])
        await rows(connection, "CREATE TABLE t (doc VARIANT)")
        query = "SELECT PARSE_JSON($1:doc) FROM @s/x/"
        await fails(connection, 100069, f"COPY INTO t FROM ({query}) FILES = ('a.parquet') {FORMAT}")


@clause("MATCH_BY_COLUMN_NAME is not allowed with a transformation", COPY)
async def no_matching_with_a_transformation(site: Site) -> None:
    async with site.connect() as connection:
        await staged(site, connection, "a.parquet", id=[1])
        await rows(connection, "CREATE TABLE t (id NUMBER)")
        query = "SELECT $1:id::NUMBER FROM @s/x/"
        await fails(connection, 1065, f"COPY INTO t FROM ({query}) FILES = ('a.parquet') {BY_NAME}")


@clause("Parquet's logical types arrive exact: instants of year 1 and 9999, 38 digits, bytes, NaN, 2^53+1", COPY)
async def parquet_types_arrive_exact(site: Site) -> None:
    first, last = datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999)
    async with site.connect() as connection:
        await staged(
            site,
            connection,
            "a.parquet",
            N=pa.array([2**53 + 1, None]),
            D=pa.array([Decimal("9" * 38), Decimal("-1")], pa.decimal128(38, 0)),
            S=pa.array([Decimal("0.1234567890"), None], pa.decimal128(38, 10)),
            L=pa.array([first.replace(tzinfo=UTC), last.replace(tzinfo=UTC)], pa.timestamp("us", tz="UTC")),
            W=pa.array([first, last], pa.timestamp("us")),
            B=pa.array([b"\x00\xff", b""]),
            F=pa.array([float("inf"), 0.1]),
        )
        await rows(
            connection,
            "CREATE TABLE t (n NUMBER(38,0), d NUMBER(38,0), s NUMBER(38,10), l TIMESTAMP_LTZ(6),"
            " w TIMESTAMP_NTZ(6), b BINARY, f FLOAT)",
        )
        await rows(connection, "ALTER SESSION SET TIMEZONE = 'UTC'")
        await rows(connection, f"COPY INTO t FROM @s/x/ FILES = ('a.parquet') {BY_NAME}")
        found = await rows(connection, "SELECT n, d, s, w, b, f FROM t ORDER BY w")
        assert [(*row[:4], bytes(row[4]), row[5]) for row in found] == [
            (2**53 + 1, 10**38 - 1, Decimal("0.1234567890"), first, b"\x00\xff", float("inf")),
            (None, -1, None, last, b"", 0.1),
        ]
        texts = await rows(connection, "SELECT TO_VARCHAR(l, 'YYYY-MM-DD HH24:MI:SS.FF6') FROM t ORDER BY l")
        assert texts == [("0001-01-01 00:00:00.000000",), ("9999-12-31 23:59:59.999999",)]
