"""What DuckDB's catalog does not keep: declared types, comments, kinds and instants, as JSON in DuckDB's comments.

So they live and die with their table, whoever renames or drops it. Views over them (`_fs_global.sw.…`) answer
SHOW, DESCRIBE and INFORMATION_SCHEMA.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from typing import Any

from fakesnow import macros

from tests.snowflake.server import translate, types, vendor
from tests.snowflake.server.model import GLOBAL, Name, Server, Session, SnowflakeError, Statement
from tests.snowflake.server.names import literal, quoted

HIDDEN = "('_fs_global', 'memory', 'system', 'temp')"
DUCK_TYPES = "\n".join(f"WHEN {literal(duck)} THEN {literal(kind)}" for duck, kind in types.FROM_DUCK.items())
VIEWS = f"""
CREATE SCHEMA IF NOT EXISTS sw;
CREATE OR REPLACE VIEW sw.all_columns AS
SELECT database_name AS table_catalog, schema_name AS table_schema, table_name, column_name,
    column_index AS ordinal_position, is_nullable, column_default,
    json_extract_string(comment, '$.comment') AS comment,
    json_extract_string(comment, '$.default') AS told_default,
    coalesce(json_extract_string(comment, '$.type'),
        CASE data_type {DUCK_TYPES} ELSE replace(data_type, 'DECIMAL', 'NUMBER') END) AS type
FROM duckdb_columns() WHERE NOT internal AND schema_name <> 'sw' AND database_name NOT IN {HIDDEN};
CREATE OR REPLACE VIEW sw.all_tables AS
SELECT database_name AS table_catalog, schema_name AS table_schema, table_name, 'BASE TABLE' AS table_type,
    coalesce(json_extract_string(comment, '$.kind'), 'TABLE') AS kind,
    coalesce(json_extract_string(comment, '$.comment'), '') AS comment, json_extract_string(comment, '$.id') AS id,
    json_extract_string(comment, '$.owner') AS owner, estimated_size AS row_count,
    coalesce(json_extract_string(comment, '$.retention'), '1') AS retention_time,
    CAST(json_extract_string(comment, '$.created') AS TIMESTAMPTZ) AS created
FROM duckdb_tables() WHERE NOT internal AND schema_name <> 'sw' AND database_name NOT IN {HIDDEN}
UNION ALL
SELECT database_name, schema_name, view_name, 'VIEW', 'VIEW',
    coalesce(json_extract_string(comment, '$.comment'), ''),
    json_extract_string(comment, '$.id'), json_extract_string(comment, '$.owner'), NULL, '1',
    CAST(json_extract_string(comment, '$.created') AS TIMESTAMPTZ)
FROM duckdb_views() WHERE NOT internal AND database_name NOT IN {HIDDEN};
CREATE OR REPLACE VIEW sw.columns AS
SELECT table_catalog AS TABLE_CATALOG, table_schema AS TABLE_SCHEMA, table_name AS TABLE_NAME,
    column_name AS COLUMN_NAME, ordinal_position AS ORDINAL_POSITION, told_default AS COLUMN_DEFAULT,
    CASE WHEN is_nullable THEN 'YES' ELSE 'NO' END AS IS_NULLABLE,
    replace(regexp_extract(type, '^[A-Z_]+'), 'VARCHAR', 'TEXT') AS DATA_TYPE,
    CASE WHEN type LIKE 'VARCHAR%'
        THEN CAST(regexp_extract(type, '\\d+') AS BIGINT) END AS CHARACTER_MAXIMUM_LENGTH,
    CASE WHEN type LIKE 'NUMBER%' THEN CAST(regexp_extract(type, '\\d+') AS BIGINT) END AS NUMERIC_PRECISION,
    CASE WHEN type LIKE 'NUMBER%' THEN CAST(regexp_extract(type, ',(\\d+)', 1) AS BIGINT) END AS NUMERIC_SCALE,
    CASE WHEN type LIKE 'TIME%' THEN CAST(regexp_extract(type, '\\d+') AS BIGINT) END AS DATETIME_PRECISION,
    comment AS COMMENT
FROM sw.all_columns;
CREATE OR REPLACE VIEW sw.tables AS
SELECT table_catalog AS TABLE_CATALOG, table_schema AS TABLE_SCHEMA, table_name AS TABLE_NAME,
    owner AS TABLE_OWNER,
    CASE kind WHEN 'TEMPORARY' THEN 'LOCAL TEMPORARY' ELSE table_type END AS TABLE_TYPE,
    CASE kind WHEN 'TRANSIENT' THEN 'YES' ELSE 'NO' END AS IS_TRANSIENT, row_count AS ROW_COUNT, 0 AS BYTES,
    CAST(retention_time AS BIGINT) AS RETENTION_TIME, created AS CREATED, created AS LAST_ALTERED,
    nullif(comment, '') AS COMMENT
FROM sw.all_tables;
CREATE OR REPLACE VIEW sw.views AS
SELECT table_catalog AS TABLE_CATALOG, table_schema AS TABLE_SCHEMA, table_name AS TABLE_NAME,
    owner AS TABLE_OWNER,
    created AS CREATED, nullif(comment, '') AS COMMENT
FROM sw.all_tables WHERE kind = 'VIEW';
CREATE OR REPLACE VIEW sw.schemata AS
SELECT database_name AS TABLE_CATALOG, database_name AS CATALOG_NAME, schema_name AS SCHEMA_NAME,
    'NO' AS IS_TRANSIENT
FROM duckdb_schemas()
WHERE database_name NOT IN {HIDDEN} AND schema_name NOT IN ('main', 'information_schema', 'pg_catalog', 'sw');
"""

LOADS = """
CREATE SCHEMA {database}.sw;
CREATE TABLE {database}.sw.loads (
    table_id VARCHAR, file VARCHAR, etag VARCHAR, rows_loaded BIGINT, status VARCHAR, loaded_at TIMESTAMPTZ
);
"""
"""What COPY remembers of a table: in its own database, so that it stays or goes with the transaction."""


@dataclass
class Noted:
    """The JSON in the comment of a table."""

    kind: str
    comment: str = ""
    owner: str | None = None
    created: str = ""
    retention: str = "1"
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


def setup(server: Server) -> None:
    """The views, once."""
    server.duck.execute("SET GLOBAL TimeZone = 'UTC'")
    server.duck.execute(f"ATTACH ':memory:' AS {GLOBAL}")
    server.duck.execute(f"USE {GLOBAL}")
    server.duck.execute(VIEWS)
    _macros(server, GLOBAL)


def _macros(server: Server, database: str) -> None:
    server.duck.execute(translate.MACROS.format(database=quoted(database)))
    server.duck.execute(macros.creation_sql(quoted(database)))


def create_database(server: Server, name: str, schemas: tuple[str, ...] = ("PUBLIC",)) -> None:
    """A database with its schemas, in a few milliseconds."""
    with server.ddl:
        server.duck.execute(f"ATTACH ':memory:' AS {quoted(name)}")
        server.duck.execute(LOADS.format(database=quoted(name)))
        _macros(server, name)
        for schema in schemas:
            server.duck.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(name)}.{quoted(schema)}")


def has_database(session: Session, name: str) -> bool:
    found = session.duck.execute("SELECT 1 FROM duckdb_databases() WHERE database_name = ?", [name])
    return found.fetchone() is not None and name not in HIDDEN


def has_schema(session: Session, database: str, schema: str) -> bool:
    found = session.duck.execute(
        "SELECT 1 FROM duckdb_schemas() WHERE database_name = ? AND schema_name = ?", [database, schema]
    )
    return found.fetchone() is not None


def require_schema(session: Session, name: Name) -> None:
    """Raise 002003 where database or schema of an object is missing."""
    if not has_database(session, name.database):
        raise vendor.missing("Database", name.database)
    if not has_schema(session, name.database, name.schema):
        raise vendor.missing("Schema", f"{name.database}.{name.schema}")


def kept(session: Session, name: Name) -> Name:
    """The table as DuckDB has it: a temporary one hides another of its name."""
    temporary = session.temporary.get(name)
    return Name("temp", "main", temporary) if temporary else name


def find(session: Session, name: Name) -> str | None:
    """TABLE or VIEW; None if there is neither."""
    at = kept(session, name)
    where = "database_name = ? AND schema_name = ? AND"
    for kind, function in (("TABLE", "table"), ("VIEW", "view")):
        found = session.duck.execute(
            f"SELECT 1 FROM duckdb_{function}s() WHERE {where} {function}_name = ?",
            [at.database, at.schema, at.name],
        ).fetchone()
        if found:
            return kind
    return None


def require(session: Session, name: Name) -> Name:
    """The table as DuckDB has it. Raises 002003."""
    if find(session, name) is None:
        raise vendor.missing("Object", name)
    return kept(session, name)


def note(session: Session, what: str, at: str, told: dict[str, Any]) -> None:
    """Keep JSON in the comment of a TABLE, VIEW or COLUMN."""
    session.duck.execute(f"COMMENT ON {what} {at} IS {literal(json.dumps(told))}")


def noted(session: Session, at: Name, what: str = "TABLE") -> dict[str, Any]:
    """The JSON in the comment of a table."""
    function = what.lower()
    found = session.duck.execute(
        f"SELECT comment FROM duckdb_{function}s()"
        f" WHERE database_name = ? AND schema_name = ? AND {function}_name = ?",
        [at.database, at.schema, at.name],
    ).fetchone()
    return json.loads(found[0]) if found and found[0] else {}


def column_notes(session: Session, at: Name) -> dict[str, dict[str, Any]]:
    """The JSON in the comments of a table's columns, in their order."""
    found = session.duck.execute(
        "SELECT column_name, comment FROM duckdb_columns()"
        " WHERE database_name = ? AND schema_name = ? AND table_name = ? ORDER BY column_index",
        [at.database, at.schema, at.name],
    ).fetchall()
    return {name: json.loads(comment) if comment else {} for name, comment in found}


@dataclass(frozen=True)
class TableColumn:
    """A column of a table: its type and default as declared, DuckDB's type, whether NULL may stand there."""

    name: str
    type: str
    duck: str
    nullable: bool
    default: str | None
    comment: str


def columns(session: Session, at: Name) -> list[TableColumn]:
    """The columns of a table or view as DuckDB has it."""
    notes = column_notes(session, at)
    found = session.duck.execute(
        "SELECT column_name, data_type, is_nullable FROM duckdb_columns()"
        " WHERE database_name = ? AND schema_name = ? AND table_name = ? ORDER BY column_index",
        [at.database, at.schema, at.name],
    ).fetchall()
    return [
        TableColumn(
            name,
            notes[name].get("type") or types.from_duck(duck),
            duck,
            nullable,
            notes[name].get("default"),
            notes[name].get("comment", ""),
        )
        for name, duck, nullable in found
    ]


def now(statement: Statement) -> str:
    return statement.now.isoformat()


def refuse(what: str) -> SnowflakeError:
    return SnowflakeError("000002", "0A000", f"Unsupported feature of the test server: {what}")
