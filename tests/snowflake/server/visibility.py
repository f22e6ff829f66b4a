"""SHOW tells a role of nothing that it has no privilege on.

Documented on the pages of SHOW TABLES and its kin: an object is shown with any privilege on it, and USAGE on the
database and schema that it lies in; a schema or database that one looks into but may not use is 002043.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.snowflake.server import grants, names, show
from tests.snowflake.server.model import Answer, Session, SnowflakeError, Statement
from tests.snowflake.server.privileges import DATABASE, OWNERSHIP, SCHEMA, STAGE, TABLE, Name, Roles

KINDS = {
    "TABLES": TABLE,
    "VIEWS": TABLE,
    "OBJECTS": TABLE,
    "STAGES": STAGE,
    "SCHEMAS": SCHEMA,
    "DATABASES": DATABASE,
}
USABLE = {"USAGE", OWNERSHIP, "ALL"}


def handle(statement: Statement, proceed: Callable[[Statement], Answer]) -> Answer:
    """The handler."""
    roles, session = grants.roles_of(statement.server), statement.session
    found = show.SHAPE.fullmatch(statement.bare)
    kind = KINDS.get(found["what"].upper()) if found else None
    if found is None or kind is None or roles.get(session.role) is None:
        return proceed(statement)
    _require_place(roles, session, found)
    answer = proceed(statement)
    columns = [column.name for column in answer.columns]
    shown = [row for row in answer.rows if _visible(roles, session, kind, dict(zip(columns, row, strict=True)))]
    return replace(answer, rows=shown)


def _require_place(roles: Roles, session: Session, found: re.Match[str]) -> None:
    if not found["name"]:
        return
    parts = tuple(names.parts(found["name"]))
    if (found["scope"] or "SCHEMA").upper() == "SCHEMA" and len(parts) == 1:
        parts = (session.database or "", *parts)
    if not _usable(roles, session, parts):
        text = "Object does not exist, or operation cannot be performed."
        raise SnowflakeError("002043", "02000", f"SQL compilation error:\n{text}")


def _visible(roles: Roles, session: Session, kind: str, row: dict[str, Any]) -> bool:
    above = [row.get("database_name"), row.get("schema_name")][: {DATABASE: 0, SCHEMA: 1}.get(kind, 2)]
    place: Name = tuple(str(one) for one in above)
    held = roles.held(str(session.role), kind, (*place, str(row["name"])))
    return bool(held) and _usable(roles, session, place)


def _usable(roles: Roles, session: Session, place: Name) -> bool:
    """Whether the role may use a database, and a schema in it."""
    kinds = ((DATABASE, place[:1]), (SCHEMA, place[:2]))[: len(place)]
    return all(roles.held(str(session.role), kind, name) & USABLE for kind, name in kinds)
