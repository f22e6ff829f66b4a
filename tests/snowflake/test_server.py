"""The server itself: a login, a query, what the history tells."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from snowflake.connector import errors

from tests.snowflake.conformance import parquet, put
from tests.snowflake.conformance_copy import BY_NAME


async def test_the_unmodified_connector_logs_in_and_asks(place):
    async with place.connect() as connection:
        assert await place.rows(connection, "SELECT 1, 'two'") == [(1, "two")]


async def test_a_place_is_a_fresh_database(place):
    async with place.connect() as connection:
        await place.rows(connection, "CREATE TABLE t (a NUMBER(38,0))")
        await place.rows(connection, "INSERT INTO t VALUES (?)", 5)
        assert await place.rows(connection, "SELECT a FROM t") == [(5,)]
    other = place.server.place()
    async with other.connect() as connection:
        assert await other.rows(connection, "SHOW TABLES") == []


async def test_the_history_tells_what_ran(place):
    async with place.connect(session_parameters={"QUERY_TAG": "me"}) as connection:
        await place.rows(connection, "SELECT 41 + 1")
    [run] = place.statements(tag="me")
    assert (run["text"], run["rows"], run["code"], run["user"]) == ("SELECT 41 + 1", 1, None, "SLUICEWAY")


async def test_a_place_has_a_clock_of_its_own(place):
    async with place.connect() as connection:
        [(before,)] = await place.rows(connection, "SELECT CURRENT_TIMESTAMP()")
        place.clock(3600)
        [(after,)] = await place.rows(connection, "SELECT CURRENT_TIMESTAMP()")
    assert timedelta(minutes=59) < after - before < timedelta(minutes=61)


async def test_load_metadata_are_forgotten_after_64_days(place, tmp_path):
    async with place.connect() as connection:
        await place.rows(connection, "CREATE STAGE s")
        await put(connection, parquet(tmp_path / "a.parquet", {"ID": [1]}), "@s")
        await place.rows(connection, "CREATE TABLE t (id NUMBER)")
        for days, loaded in ((0, 1), (63, 1), (65, 2)):
            place.clock(days * 86400)
            await place.rows(connection, "COPY INTO t FROM @s FILES = ('a.parquet') " + BY_NAME)
            assert await place.rows(connection, "SELECT COUNT(*) FROM t") == [(loaded,)]


@pytest.mark.parametrize("url", ["s3://bucket/below/", "file://{folder}/archive/"])
async def test_an_external_stage_is_a_folder(place, tmp_path, url):
    url = url.format(folder=tmp_path)
    (tmp_path / "a.bin").write_bytes(b"12345")
    async with place.connect() as connection:
        await place.rows(connection, "CREATE STAGE here")
        await place.rows(connection, f"CREATE STAGE there URL = '{url}'")
        await put(connection, tmp_path / "a.bin", "@here/x/")
        copied = await place.rows(connection, "COPY FILES INTO @there/2024/ FROM @here/x/ FILES = ('a.bin')")
        assert copied == [("2024/a.bin",)]
        [(name, size, *_)] = await place.rows(connection, "LIST @there")
        assert (name, size) == (f"{url}2024/a.bin", 5)
    if url.startswith("file:"):
        assert (tmp_path / "archive" / "2024" / "a.bin").read_bytes() == b"12345"


async def test_an_instant_that_the_connector_rounds_out_of_range_is_refused(place):
    """It sends seconds as a float: above the year 2255 microseconds are rounded."""
    async with place.connect() as connection:
        with pytest.raises(errors.Error) as caught:
            await place.rows(connection, "SELECT ?", datetime(9999, 12, 31, 23, 59, 59, 999999))
    assert caught.value.errno == 100040


async def test_a_login_without_a_schema_enters_public(place):
    async with place.connect(schema=None) as connection:
        assert await place.rows(connection, "SELECT CURRENT_SCHEMA()") == [("PUBLIC",)]
    async with place.connect(schema="NOWHERE") as connection:
        assert await place.rows(connection, "SELECT CURRENT_DATABASE(), CURRENT_SCHEMA()") == [
            (place.database, None)
        ]
