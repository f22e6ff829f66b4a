"""SHOW and DESCRIBE."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.snowflake.server import catalog, names, types, vendor, wire
from tests.snowflake.server.model import Answer, Column, Name, SnowflakeError, Statement

SHAPE = re.compile(
    r"SHOW\s+(?:TERSE\s+)?(?P<what>TABLES|OBJECTS|VIEWS|SCHEMAS|DATABASES|COLUMNS|STAGES|PRIMARY\s+KEYS)(?:\s+HISTORY)?"
    r"(?:\s+LIKE\s+'(?P<like>(?:[^']|'')*)')?"
    rf"(?:\s+IN\s+(?P<scope>ACCOUNT|DATABASE|SCHEMA|TABLE|VIEW)?\s*(?P<name>{names.NAME})?)?"
    r"(?:\s+STARTS\s+WITH\s+'(?P<starts>(?:[^']|'')*)')?(?:\s+LIMIT\s+(?P<limit>\d+)(?:\s+FROM\s+'(?P<after>[^']*)')?)?",
    re.IGNORECASE | re.DOTALL,
)
DESCRIBE = re.compile(rf"DESC(?:RIBE)?\s+(?:(TABLE|VIEW)\s+)?({names.NAME})", re.IGNORECASE)


@dataclass(frozen=True)
class Wanted:
    """What a SHOW asks for; None: everything."""

    database: str | None
    schema: str | None
    table: str | None
    like: str | None
    starts: str | None
    after: str | None
    limit: int | None

    def fits(self, name: str) -> bool:
        return (
            (self.like is None or names.like(self.like, name))
            and (self.starts is None or name.startswith(self.starts))
            and (self.after is None or name > self.after)
        )


def handle(statement: Statement, proceed: Callable[[Statement], Answer]) -> Answer:
    """The handler of this module."""
    text = statement.bare
    if found := SHAPE.fullmatch(text):
        what = " ".join(found["what"].upper().split())
        columns, rows, place = SHOWN[what](statement, wanted(statement, found))
        asked = wanted(statement, found)
        kept = [row for row in rows if asked.fits(row[place])]
        return Answer(columns, kept[: asked.limit], wire.SHOW)
    if found := DESCRIBE.fullmatch(text):
        return describe(statement, names.resolve(statement.session, found[2]))
    return proceed(statement)


def wanted(statement: Statement, found: re.Match[str]) -> Wanted:
    session, scope = statement.session, (found["scope"] or "").upper()
    parts = names.parts(found["name"]) if found["name"] else []
    columns = found["what"].upper() in ("COLUMNS", "PRIMARY KEYS")
    database, schema, table = session.database, session.schema, None
    if found["what"].upper() in ("SCHEMAS", "DATABASES"):
        schema = None
    if scope == "ACCOUNT":
        database = schema = None
    elif scope == "DATABASE":
        database, schema = (parts or [session.database])[0], None
    elif parts and (scope in ("TABLE", "VIEW") or (columns and not scope)):
        name = names.within(session, parts)
        catalog.require(session, name)
        database, schema, table = name.database, name.schema, name.name
    elif parts:
        database, schema = (parts if len(parts) == 2 else [session.database, *parts])[:2]
        if found["what"].upper() == "SCHEMAS":
            database, schema = parts[0], None
    if schema and database and not catalog.has_schema(session, database, schema):
        raise SnowflakeError(
            "002043", "02000", f"{vendor.COMPILATION}Object does not exist, or operation cannot be performed."
        )
    texts = [found[name] and found[name].replace("''", "'") for name in ("like", "starts", "after")]
    limit = int(found["limit"]) if found["limit"] else None
    return Wanted(database, schema, table, *texts, limit)


def _asked(statement: Statement, view: str, asked: Wanted, order: str) -> list[dict[str, Any]]:
    where = ["true"]
    for column in ("database", "schema", "table"):
        if (part := getattr(asked, column)) is not None:
            key = {"database": "table_catalog", "schema": "table_schema", "table": "table_name"}[column]
            where.append(f"{key} = {names.literal(part)}")
    cursor = statement.session.duck
    cursor.execute(f"SELECT * FROM _fs_global.sw.{view} WHERE {' AND '.join(where)} ORDER BY {order}")
    keys = [column[0] for column in cursor.description]
    return [dict(zip(keys, row, strict=True)) for row in cursor.fetchall()]


def _texts(text: str) -> list[Column]:
    return [Column(name, "timestamp_ltz" if name.endswith("_on") else "text") for name in text.split()]


def tables(statement: Statement, asked: Wanted, kinds: tuple[str, ...] = ("TABLE", "TRANSIENT")) -> Any:
    columns = _texts(
        "created_on name database_name schema_name kind comment cluster_by rows bytes owner retention_time"
    )
    columns[7:9] = [Column("rows", "fixed"), Column("bytes", "fixed")]
    rows = []
    for one in _asked(statement, "all_tables", asked, "table_catalog, table_schema, table_name"):
        if one["kind"] in kinds:
            place = (one["table_name"], one["table_catalog"], one["table_schema"], one["kind"])
            rest = (one["comment"], "", one["row_count"], 0, one["owner"], one["retention_time"])
            rows.append((one["created"], *place, *rest))
    for name, kept in statement.session.temporary.items():
        if asked.database in (None, name.database) and asked.schema in (None, name.schema):
            noted = catalog.noted(statement.session, Name("temp", "main", kept))
            place = (name.name, name.database, name.schema, "TEMPORARY")
            rows.append(
                (
                    datetime.fromisoformat(noted["created"]),
                    *place,
                    noted.get("comment", ""),
                    "",
                    0,
                    0,
                    noted.get("owner"),
                    "1",
                )
            )
    return columns, rows, 1


def views(statement: Statement, asked: Wanted) -> Any:
    columns = _texts(
        "created_on name reserved database_name schema_name owner comment text is_secure is_materialized"
    )
    rows = [
        (
            one["created"],
            one["table_name"],
            "",
            one["table_catalog"],
            one["table_schema"],
            one["owner"],
            one["comment"],
            "",
            "false",
            "false",
        )
        for one in _asked(statement, "all_tables", asked, "table_catalog, table_schema, table_name")
        if one["kind"] == "VIEW"
    ]
    return columns, rows, 1


def show_columns(statement: Statement, asked: Wanted) -> Any:
    columns = _texts(
        "table_name schema_name column_name data_type null? default kind expression comment"
        " database_name autoincrement"
    )
    rows = [
        (
            one["table_name"],
            one["table_schema"],
            one["column_name"],
            json.dumps(types.as_json(one["type"], nullable=one["is_nullable"])),
            "true" if one["is_nullable"] else "NOT_NULL",
            one["told_default"] or "",
            "COLUMN",
            "",
            one["comment"] or "",
            one["table_catalog"],
            "",
        )
        for one in _asked(
            statement, "all_columns", asked, "table_catalog, table_schema, table_name, ordinal_position"
        )
    ]
    return columns, rows, 2


def schemas(statement: Statement, asked: Wanted) -> Any:
    columns = _texts("created_on name is_default is_current database_name owner comment options retention_time")
    session = statement.session
    found = session.duck.execute(
        'SELECT "CATALOG_NAME", "SCHEMA_NAME" FROM _fs_global.sw.schemata ORDER BY ALL'
    ).fetchall()
    rows = [
        (
            statement.now,
            schema,
            "N",
            "Y" if (database, schema) == (session.database, session.schema) else "N",
            database,
            session.role,
            "",
            "",
            "1",
        )
        for database, schema in [
            *found,
            *((one, "INFORMATION_SCHEMA") for one in sorted({row[0] for row in found})),
        ]
        if asked.database in (None, database)
    ]
    return columns, rows, 1


def databases(statement: Statement, asked: Wanted) -> Any:
    columns = _texts("created_on name is_default is_current origin owner comment options retention_time kind")
    session = statement.session
    found = session.duck.execute(
        f"SELECT database_name FROM duckdb_databases() WHERE database_name NOT IN {catalog.HIDDEN} ORDER BY 1"
    ).fetchall()
    now = statement.now
    rows = [
        (now, name, "N", "Y" if name == session.database else "N", "", session.role, "", "", "1", "STANDARD")
        for (name,) in found
    ]
    return columns, rows, 1


def stages(statement: Statement, asked: Wanted) -> Any:
    columns = _texts("created_on name database_name schema_name url owner comment type")
    rows = [
        (one.created, name.name, name.database, name.schema, one.url or "", one.owner, one.comment, one.kind)
        for name, one in sorted(statement.server.stages.items(), key=lambda item: str(item[0]))
        if asked.database in (None, name.database) and asked.schema in (None, name.schema)
    ]
    return columns, rows, 1


def keys(statement: Statement, asked: Wanted) -> Any:
    """Keys are not enforced and not kept."""
    return (
        _texts("created_on database_name schema_name table_name column_name key_sequence constraint_name"),
        [],
        3,
    )


def describe(statement: Statement, name: Name) -> Answer:
    """DESCRIBE TABLE and DESCRIBE VIEW."""
    columns = [
        Column(one)
        for one in ("name", "type", "kind", "null?", "default", "primary key", "unique key", "check", "expression")
    ]
    columns += [Column("comment"), Column("policy name"), Column("privacy domain")]
    at = catalog.require(statement.session, name)
    rows = [
        (
            one.name,
            one.type,
            "COLUMN",
            "Y" if one.nullable else "N",
            one.default,
            "N",
            "N",
            None,
            None,
            one.comment or None,
            None,
            None,
        )
        for one in catalog.columns(statement.session, at)
    ]
    return Answer(columns, rows, wire.DESCRIBE)


SHOWN: dict[str, Callable[[Statement, Wanted], Any]] = {
    "TABLES": tables,
    "OBJECTS": lambda statement, asked: tables(statement, asked, ("TABLE", "TRANSIENT", "VIEW")),
    "VIEWS": views,
    "SCHEMAS": schemas,
    "DATABASES": databases,
    "COLUMNS": show_columns,
    "STAGES": stages,
    "PRIMARY KEYS": keys,
}
