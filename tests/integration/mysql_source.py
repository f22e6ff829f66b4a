"""Tables of a MariaDB as sources of tests: a database of its own for each, and a user who may only read it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from connectors.mysql.settings import MysqlSettings
from tests.servers.mariadb import PASSWORD, PASSWORD_VARIABLE, MariaServer

READER_STATEMENTS = (
    "CREATE USER IF NOT EXISTS {user}@'127.0.0.1' IDENTIFIED BY {password}",
    "GRANT SELECT ON {database}.* TO {user}@'127.0.0.1'",
)
"""As docs/mysql.md has them."""
READER = "reader"
GONE_SECONDS = 10


class MysqlPlace:
    """A fresh database on the server. `settings` may read it; `sql` is the administrator's."""

    def __init__(self, server: MariaServer) -> None:
        self.server = server
        self.database = server.database().database
        with server.connection() as connection, connection.cursor() as cursor:
            for statement in READER_STATEMENTS:
                cursor.execute(
                    statement.format(database=self.database, user=READER, password=connection.escape(PASSWORD))
                )

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """In the database; what an administrator is answered."""
        return self.server.sql(statement, *values, database=self.database)

    def many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """The statement for each row, in one transaction."""
        with self.server.connection(self.database) as connection, connection.cursor() as cursor:
            cursor.execute("SET time_zone = '+00:00', sql_mode = ''")
            connection.begin()
            cursor.executemany(statement, list(rows))
            connection.commit()

    def settings(self, **given: Any) -> MysqlSettings:
        """A source on the database; `table` is `t`, and `cursor` is `at`, where nothing else is said."""
        return MysqlSettings.model_validate(self.source(**given))

    def source(self, **given: Any) -> dict[str, Any]:
        """The same as `source_system` of a configuration."""
        place = {"type": "mysql", "host": "127.0.0.1", "port": self.server.port, "database": self.database}
        who = {"user": READER, "password": {"env": PASSWORD_VARIABLE}, "tls": False}
        what = {} if "query" in given else {"table": "t"}
        return place | who | what | {"cursor": "at"} | given

    def connections(self) -> list[tuple[int, str]]:
        """Number and command of each connection that reads the database."""
        found = self.server.sql(
            "SELECT id, command FROM information_schema.processlist WHERE db = %s AND user = %s",
            self.database,
            READER,
        )
        return [(int(number), str(command)) for number, command in found]

    def held(self) -> list[str]:
        """What is open in the server for a reader; a connection that was cut needs an instant to go."""
        until = time.monotonic() + GONE_SECONDS
        while (found := self.connections()) and time.monotonic() < until:
            time.sleep(0.005)
        return [f"connection {number}: {command}" for number, command in found]


ROWS = "CREATE TABLE t (id VARCHAR(20), at TIMESTAMP(6) NULL, n BIGINT, note LONGTEXT, KEY (at)) CHARSET utf8mb4"
"""The rows of the connectors' contract."""


def put(place: MysqlPlace, rows: pa.Table) -> None:
    """Rows of the connectors' contract into the table `t`."""
    place.many("INSERT INTO t VALUES (%s, %s, %s, %s)", [tuple(row.values()) for row in rows.to_pylist()])
