"""A replica that lags: its windows wait for what it does not have yet (M-18)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import aclosing
from datetime import timedelta

import pytest

from connectors.mysql.connector import MysqlConnector
from state.errors import TransientError
from tests.integration.mysql_source import READER, MysqlPlace
from tests.servers.mariadb import MariaServer

LAG_SECONDS = 2


@pytest.fixture
def replica() -> Iterator[tuple[MysqlPlace, MariaServer]]:
    """A source's place, and a server that has its rows some seconds later."""
    source, copy = MariaServer("--log-bin=log", "--server-id=1"), MariaServer("--server-id=2")
    try:
        source.start()
        copy.start()
        source.sql("CREATE USER repl@'127.0.0.1' IDENTIFIED BY 'x'")
        source.sql("GRANT REPLICATION SLAVE ON *.* TO repl@'127.0.0.1'")
        copy.sql(
            "CHANGE MASTER TO master_host = '127.0.0.1', master_port = %s, master_user = 'repl',"
            " master_password = 'x', master_use_gtid = slave_pos",
            source.port,
        )
        copy.sql("START SLAVE")
        yield MysqlPlace(source), copy
    finally:
        source.remove()
        copy.remove()


def eventually(look) -> None:
    """Wait until it is so, 30 seconds at most."""
    until = time.monotonic() + 30
    while not look():
        assert time.monotonic() < until
        time.sleep(0.05)


def behind(copy: MariaServer) -> int | None:
    with copy.connection() as connection, connection.cursor() as cursor:
        cursor.execute("SHOW REPLICA STATUS")
        [row] = cursor.fetchall()
        names = [column[0] for column in cursor.description]
    return dict(zip(names, row, strict=True))["Seconds_Behind_Master"]


async def test_a_window_waits_for_what_a_replica_does_not_have_yet_m18(replica):
    place, copy = replica
    place.server.sql(f"GRANT REPLICA MONITOR ON *.* TO {READER}@'127.0.0.1'")
    place.sql("CREATE TABLE t (id INT PRIMARY KEY, at TIMESTAMP(6) NOT NULL DEFAULT NOW(6), KEY (at))")
    eventually(lambda: copy.sql("SHOW TABLES FROM " + place.database) == [("t",)])
    settings = place.settings(port=copy.port, replica=True)
    async with aclosing(MysqlConnector(settings)) as source:
        now = await source.now()
        assert await source.readable_until(now) == now - timedelta(seconds=1)
        with copy.connection(place.database) as blocker, blocker.cursor() as cursor:
            cursor.execute("LOCK TABLES t READ")
            place.sql("INSERT INTO t (id) VALUES (1)")
            [(written,)] = place.sql("SELECT at FROM t")
            eventually(lambda: (behind(copy) or 0) >= LAG_SECONDS)
            now = await source.now()
            until = await source.readable_until(now)
            assert until.replace(tzinfo=None) <= written
            cursor.execute("UNLOCK TABLES")
        eventually(lambda: copy.sql("SELECT count(*) FROM t", database=place.database) == [(1,)])
        eventually(lambda: behind(copy) == 0)
        now = await source.now()
        assert await source.readable_until(now) == now - timedelta(seconds=1)
        copy.sql("STOP SLAVE")
        with pytest.raises(TransientError) as found:
            await source.readable_until(now)
    assert found.value.code == "replica_stopped"
