"""Snowflake as a place that the contract of loaders is tried on: a schema of an account, or of the test server,
fresh for each clause."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import snowflake.connector

from loaders.base import ConflictPolicy, Mode
from loaders.columns import ROW
from loaders.snowflake.copying import stage_columns
from loaders.snowflake.loader import SnowflakeLoader
from loaders.snowflake.schema import wanted
from loaders.snowflake.settings import NameRule, SnowflakeStage, SnowflakeTarget
from state.contract import RESERVED_PREFIX
from state.port import Port
from state.snowflake.session import Account
from tests.contract.drive_snowflake import settings as connection_settings
from tests.contract.loader import CLAUSES as ALL
from tests.contract.loader_worlds import changed
from tests.snowflake.running import Place

CLAUSES = {name: clause for name, clause in ALL.items() if name != "json_stays_the_text_that_came"}
"""JSON is a VARIANT in Snowflake: what becomes of it is in `test_loader_snowflake_values.py`."""


class SnowflakeSchema:
    """One schema with a target EVENTS, its stage and its stage tables; an operator's hand in it.

    `connection`: keywords of the connector that lead into the schema. Names are told in lower case and rows of a
    file numbered from 0, as the other places do.
    """

    def __init__(self, connection: Mapping[str, Any], account: Account) -> None:
        self.name = str(connection["schema"])
        self.schema = f"{connection['database']}.{self.name}"
        self.account = account
        self.connection = connection
        self.hand = self.opened()

    def opened(self) -> Any:
        """A session by hand."""
        return snowflake.connector.connect(**self.connection, session_parameters={"TIMEZONE": "UTC"})

    async def aclose(self) -> None:
        self.hand.close()
        await self.account.aclose()

    def loader(
        self,
        *,
        mode: str,
        port: Port,
        pipeline: str,
        policy: str = "fail",
        account: Account | None = None,
        table: str | None = None,
        **settings: Any,
    ) -> SnowflakeLoader:
        target = SnowflakeTarget(
            type="snowflake",
            table=table or f"{self.schema}.events",
            mode=Mode(mode),
            on_type_conflict=ConflictPolicy(policy),
            **settings,
        )
        stage = SnowflakeStage(stage=f"{self.schema}.landing")
        return SnowflakeLoader(target, stage, account or self.account, pipeline=pipeline, cursor="at", port=port)

    def query(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        with self.hand.cursor() as cursor:
            cursor.execute(sql, [bound(value) for value in values] or None)
            names = [column.name.lower() for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def rows(self) -> list[dict[str, Any]]:
        return self.query("SELECT * FROM EVENTS")

    def columns(self) -> list[str]:
        found = self.query(
            "SELECT COLUMN_NAME AS N FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_NAME = 'EVENTS'"
            " AND TABLE_SCHEMA = CURRENT_SCHEMA() ORDER BY ORDINAL_POSITION"
        )
        return [row["n"].lower() for row in found if not row["n"].lower().startswith(RESERVED_PREFIX)]

    def drop_target(self) -> None:
        self.query("DROP TABLE EVENTS")

    def make_target_with_note(self) -> None:
        self.query(
            "CREATE TABLE EVENTS (ID VARCHAR, AT TIMESTAMP_LTZ(9), VERSION NUMBER(38,0), VALUE NUMBER(38,0),"
            " NOTE VARCHAR NOT NULL DEFAULT 'none')"
        )

    def add_row(self, row: Mapping[str, Any]) -> None:
        names = ", ".join(f'"{name.upper()}"' for name in row)
        self.query(f"INSERT INTO EVENTS ({names}) VALUES ({', '.join('?' for _ in row)})", *row.values())

    def lose_receipts(self) -> None:
        self.query("DELETE FROM EVENTS__SLUICEWAY_LOADS WHERE KIND = 'receipt'")

    def change_row(self, key: str, **values: Any) -> None:
        sets = ", ".join(f'"{name.upper()}" = ?' for name in values)
        self.query(f"UPDATE EVENTS SET {sets} WHERE ID = ?", *values.values(), key)

    def remove_row(self, key: str) -> None:
        self.query("DELETE FROM EVENTS WHERE ID = ?", key)

    def stage_tables(self) -> list[str]:
        found = self.query(
            "SELECT TABLE_NAME AS N FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = ?", self.name
        )
        names = sorted(row["n"] for row in found)
        return [name for name in names if name.startswith("EVENTS_STAGE_") and "_EMPTY_" not in name]

    def stage_rows(self, table: str) -> list[dict[str, Any]]:
        return [{**row, ROW: row[ROW] - 1} for row in self.query(f'SELECT * FROM "{table}"')]

    def remove_stage_row(self, table: str, key: str) -> None:
        self.query(f'DELETE FROM "{table}" WHERE ID = ?', key)

    def files(self) -> list[str]:
        if not self.query("SHOW STAGES LIKE 'LANDING'"):
            return []
        return sorted(row["name"].partition("/")[2] for row in self.query("LIST @LANDING"))

    def remove_file(self, name: str) -> None:
        self.query(f"REMOVE '@LANDING/{name}'")

    def change_file(self, name: str) -> None:
        folder, _, last = name.rpartition("/")
        with TemporaryDirectory() as local:
            self.query(f"GET '@LANDING/{name}' 'file://{local}/'")
            path = Path(local) / last
            path.write_bytes(changed(path.read_bytes()))
            self.query(f"PUT 'file://{path}' '@LANDING/{folder}/' AUTO_COMPRESS = FALSE OVERWRITE = TRUE")

    def fill_user_stage(self, rows: pa.Table) -> None:
        columns = wanted(rows.schema, NameRule.UPPER)
        kinds = stage_columns(columns).split(', "_SLUICEWAY_READ_AT"')[0]
        self.query(f"CREATE OR REPLACE TABLE EVENTS_STAGE ({kinds})")
        for row in rows.to_pylist():
            self.query(f"INSERT INTO EVENTS_STAGE VALUES ({', '.join('?' for _ in row)})", *row.values())

    def quarantine(self) -> list[dict[str, Any]] | None:
        made = "SELECT 1 AS N FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?"
        if not self.query(made, self.name, "EVENTS__SLUICEWAY_QUARANTINE"):
            return None
        return self.query("SELECT * FROM EVENTS__SLUICEWAY_QUARANTINE")

    def remove_quarantined(self, value: str) -> None:
        self.remove_side_row("EVENTS__SLUICEWAY_QUARANTINE", value)

    def remove_side_row(self, table: str, value: str) -> None:
        self.query(f'DELETE FROM "{table}" WHERE BAD_VALUE = ?', value)

    def untouched(self) -> bool:
        found = self.query("SELECT TABLE_NAME FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = ?", self.name)
        return not found and not self.query("SHOW STAGES")


class SnowflakePlace(SnowflakeSchema):
    """A schema of the test server."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.user = f"LOADER_{place.database}"
        self.accounts: list[Account] = []
        super().__init__(place.connection, self.another_account())

    async def aclose(self) -> None:
        await super().aclose()
        for account in self.accounts:
            await account.aclose()

    def another_account(self, **other: Any) -> Account:
        """Sessions of their own, as another process has them; keywords replace those of the connection."""
        self.accounts.append(Account(connection_settings({**self.place.connection, "user": self.user, **other})))
        return self.accounts[-1]

    @contextmanager
    def fault(self, act: str, **rule: Any) -> Iterator[None]:
        """A rule of `server/faults.py` for this place's loaders; it must be met."""
        server = self.place.server
        added = server.post("/test/faults", {"act": act, "user": self.user, **rule})
        try:
            yield
            assert server.get(f"/test/faults/{added['id']}")["fired"], "the fault was never met"
        finally:
            server.delete(f"/test/faults/{added['id']}")


def bound(value: Any) -> Any:
    """A value for a statement by hand."""
    return value.isoformat(" ") if isinstance(value, datetime) else value
