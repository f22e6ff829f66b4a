"""The targets that the contract of loaders is tried on: the twin, and DuckDB with a directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from loaders.base import ConflictPolicy, Mode
from loaders.duckdb.loader import DuckDBLoader
from loaders.duckdb.settings import DuckDBStage, DuckDBTarget
from loaders.memory import MemoryLoader
from loaders.memory_rows import MemoryTable, MemoryTarget
from loaders.swap import UNASKED
from state.contract import RESERVED_PREFIX
from tests.contract.loader_desk import SCHEMA, SEEN

BY_HAND = {"id": None, "at": None, "version": None, "value": None}


class MemoryPlace:
    """The twin; `kind` is the class of its loaders, which a mutant replaces."""

    def __init__(self, _folder: Path, kind: type[MemoryLoader] = MemoryLoader) -> None:
        self.target = MemoryTarget()
        self.kind = kind

    def loader(self, *, mode: str, policy: str = "fail", **settings: Any) -> MemoryLoader:
        settings.pop("cursor_immutable", None)
        settings["guard"] = settings.pop("snapshot", UNASKED)
        return self.kind(
            self.target, mode=Mode(mode), policy=ConflictPolicy(policy), table="events", cursor="at", **settings
        )

    def rows(self) -> list[dict]:
        found = self.target.tables["events"]
        return [{**dict.fromkeys(found.columns), **row} for row in found.rows]

    def columns(self) -> list[str]:
        found = self.target.tables.get("events")
        return list(found.columns) if found else []

    def drop_target(self) -> None:
        del self.target.tables["events"]

    def make_target_with_note(self) -> None:
        columns = {field.name: field for field in [*SCHEMA, pa.field("note", pa.string())]}
        self.target.tables["events"] = MemoryTable(SEEN, columns, defaults={"note": "none"})

    def add_row(self, row: dict) -> None:
        self.target.tables["events"].rows.append({**BY_HAND, **row})

    def lose_receipts(self) -> None:
        self.target.receipts.clear()

    def change_row(self, key: str, **values: Any) -> None:
        for row in self.target.tables["events"].rows:
            if row["id"] == key:
                row.update(values)

    def remove_row(self, key: str) -> None:
        found = self.target.tables["events"]
        found.rows = [row for row in found.rows if row["id"] != key]

    def stage_tables(self) -> list[str]:
        return sorted(name for name in self.target.tables if name.startswith("events_stage_"))

    def stage_rows(self, table: str) -> list[dict]:
        return self.target.tables[table].rows

    def remove_stage_row(self, table: str, key: str) -> None:
        found = self.target.tables[table]
        found.rows = [row for row in found.rows if row["id"] != key]

    def files(self) -> list[str]:
        return sorted(self.target.files)

    def remove_file(self, name: str) -> None:
        del self.target.files[name]

    def change_file(self, name: str) -> None:
        data, at = self.target.files[name]
        self.target.files[name] = (changed(data), at)

    def fill_user_stage(self, rows: pa.Table) -> None:
        columns = {field.name: field for field in rows.schema}
        self.target.tables["events_stage"] = MemoryTable(SEEN, columns, rows.to_pylist())

    def quarantine(self) -> list[dict] | None:
        found = self.target.tables.get("events__SLUICEWAY_QUARANTINE")
        return found.rows if found else None

    def remove_quarantined(self, value: str) -> None:
        self.remove_side_row("events__SLUICEWAY_QUARANTINE", value)

    def remove_side_row(self, table: str, value: str) -> None:
        found = self.target.tables[table]
        found.rows = [row for row in found.rows if row["bad_value"] != value]

    def untouched(self) -> bool:
        return not (self.target.tables or self.target.files or self.target.claims)


class DuckDBPlace:
    """A DuckDB file and a stage directory below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "warehouse" / "w.duckdb"
        self.stage = folder / "stage"

    def loader(self, *, mode: str, policy: str = "fail", port, pipeline: str, **settings: Any) -> DuckDBLoader:
        target = DuckDBTarget(
            type="duckdb",
            database=self.database,
            table="events",
            mode=Mode(mode),
            on_type_conflict=ConflictPolicy(policy),
            **settings,
        )
        stage = DuckDBStage(directory=self.stage)
        return DuckDBLoader(target, stage, pipeline=pipeline, cursor="at", port=port)

    def query(self, sql: str, *values: Any) -> list[dict]:
        with duckdb.connect(self.database) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            found = connection.execute(sql, values)
            return [dict(zip([d[0] for d in found.description], row, strict=True)) for row in found.fetchall()]

    def rows(self) -> list[dict]:
        return self.query("FROM events")

    def columns(self) -> list[str]:
        found = self.query("SELECT column_name AS n FROM duckdb_columns() WHERE table_name = 'events'")
        return [row["n"] for row in found if not row["n"].startswith(RESERVED_PREFIX)]

    def drop_target(self) -> None:
        self.query("DROP TABLE events")

    def make_target_with_note(self) -> None:
        self.database.parent.mkdir(parents=True, exist_ok=True)
        self.query(
            'CREATE TABLE events (id VARCHAR, "at" TIMESTAMPTZ, version BIGINT, value BIGINT,'
            " note VARCHAR NOT NULL DEFAULT 'none')"
        )

    def add_row(self, row: dict) -> None:
        names = ", ".join(f'"{name}"' for name in row)
        self.query(f"INSERT INTO events ({names}) VALUES ({', '.join('?' for _ in row)})", *row.values())

    def lose_receipts(self) -> None:
        self.query("DELETE FROM SLUICEWAY_LOADS WHERE kind = 'receipt'")

    def change_row(self, key: str, **values: Any) -> None:
        sets = ", ".join(f'"{name}" = ?' for name in values)
        self.query(f"UPDATE events SET {sets} WHERE id = ?", *values.values(), key)

    def remove_row(self, key: str) -> None:
        self.query("DELETE FROM events WHERE id = ?", key)

    def stage_tables(self) -> list[str]:
        found = self.query("SELECT table_name AS n FROM duckdb_tables() WHERE table_name LIKE 'events_stage_%'")
        return sorted(row["n"] for row in found)

    def stage_rows(self, table: str) -> list[dict]:
        return self.query(f'FROM "{table}"')

    def remove_stage_row(self, table: str, key: str) -> None:
        self.query(f'DELETE FROM "{table}" WHERE id = ?', key)

    def files(self) -> list[str]:
        found = self.stage.rglob("*") if self.stage.is_dir() else []
        return sorted(path.relative_to(self.stage).as_posix() for path in found if path.is_file())

    def remove_file(self, name: str) -> None:
        (self.stage / name).unlink()

    def change_file(self, name: str) -> None:
        path = self.stage / name
        path.write_bytes(changed(path.read_bytes()))

    def fill_user_stage(self, rows: pa.Table) -> None:
        with duckdb.connect(self.database) as connection:
            connection.register("given", rows)
            connection.execute("CREATE OR REPLACE TABLE events_stage AS FROM given")

    def quarantine(self) -> list[dict] | None:
        made = self.query("SELECT 1 FROM duckdb_tables() WHERE table_name = 'events__SLUICEWAY_QUARANTINE'")
        return self.query("FROM events__SLUICEWAY_QUARANTINE") if made else None

    def remove_quarantined(self, value: str) -> None:
        self.remove_side_row("events__SLUICEWAY_QUARANTINE", value)

    def remove_side_row(self, table: str, value: str) -> None:
        self.query(f'DELETE FROM "{table}" WHERE bad_value = ?', value)

    def untouched(self) -> bool:
        return not (self.stage.exists() or self.database.parent.exists())


def changed(data: bytes) -> bytes:
    """Other bytes of the same length with a footer that still tells the same rows."""
    return data[:8] + bytes([data[8] ^ 1]) + data[9:]
