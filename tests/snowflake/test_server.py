"""The server itself: a login, a query, what the history tells."""

from __future__ import annotations


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
