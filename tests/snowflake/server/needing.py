"""Which privileges a statement needs, and the names in it.

What is asked before which statement follows the "Access control requirements" of each command's page:

    query                       SELECT on each table                   PUT, REMOVE       WRITE on the stage
    INSERT, COPY INTO table     INSERT (COPY: READ on the stage)       LIST, GET         READ on the stage
    UPDATE, DELETE              UPDATE or DELETE, and SELECT           CREATE TABLE      CREATE TABLE on the schema
    MERGE                       what its clauses do, and SELECT        CREATE STAGE      CREATE STAGE on the schema
    ALTER, DROP TABLE           OWNERSHIP                              TRUNCATE          TRUNCATE
    CREATE OR REPLACE           OWNERSHIP of what it replaces          USE, login        USAGE on the warehouse
    DESCRIBE                    any privilege                          USE DATABASE, USE SCHEMA   USAGE

An external stage has one privilege, USAGE, in place of READ and WRITE.
"""

from __future__ import annotations

import re

import sqlglot
from sqlglot.errors import ParseError, TokenError

from tests.snowflake.server import catalog, names
from tests.snowflake.server.model import Name as Place
from tests.snowflake.server.model import Session, Statement
from tests.snowflake.server.privileges import (
    ANY,
    DATABASE,
    OWNERSHIP,
    SCHEMA,
    STAGE,
    TABLE,
    WAREHOUSE,
    Name,
    Need,
    needs,
    within,
)

FLAGS = re.IGNORECASE | re.DOTALL
WORD = rf"({names.PART})"
OBJECT = rf"({names.NAME})"
STAGE_NAME = rf"@({names.NAME})"

USE_PLACE = re.compile(rf"USE\s+(DATABASE|SCHEMA)\s+{OBJECT}", FLAGS)

MAKE = re.compile(
    rf"CREATE\s+(OR\s+REPLACE\s+)?(TRANSIENT\s+|TEMP(?:ORARY)?\s+)?(TABLE|STAGE|VIEW|SCHEMA)\s+"
    rf"(?:IF\s+NOT\s+EXISTS\s+)?{OBJECT}",
    FLAGS,
)
OWN = re.compile(rf"(?:ALTER|DROP)\s+(TABLE|STAGE|VIEW|SCHEMA)\s+(?:IF\s+EXISTS\s+)?{OBJECT}", FLAGS)
EMPTY = re.compile(rf"TRUNCATE\s+(?:TABLE\s+)?(?:IF\s+EXISTS\s+)?{OBJECT}", FLAGS)
DESCRIBE = re.compile(rf"DESC(?:RIBE)?\s+(TABLE|STAGE|VIEW)\s+{OBJECT}", FLAGS)
PUT = re.compile(rf"PUT\s+\S+\s+'?{STAGE_NAME}", FLAGS)
REMOVE = re.compile(rf"(?:REMOVE|RM)\s+'?{STAGE_NAME}", FLAGS)
LIST = re.compile(rf"(?:LIST|LS|GET)\s+'?{STAGE_NAME}", FLAGS)
LOAD = re.compile(rf"COPY\s+INTO\s+{OBJECT}.*?\bFROM\b.*?{STAGE_NAME}", FLAGS)
FILES = re.compile(rf"COPY\s+FILES\s+INTO\s+'?{STAGE_NAME}.*?\bFROM\s+'?{STAGE_NAME}", FLAGS)

EACH = {"TABLES": TABLE, "VIEWS": TABLE, "VIEW": TABLE, "STAGES": STAGE, "SCHEMAS": SCHEMA}


def needs_of(statement: Statement) -> list[Need]:
    """All that the role must be allowed for this statement, outermost objects first."""
    session, text = statement.session, statement.bare
    if found := MAKE.match(text):
        return _to_make(statement, found)
    for pattern, privilege in ((OWN, OWNERSHIP), (DESCRIBE, ANY)):
        if found := pattern.match(text):
            kind = EACH.get(found[1].upper(), found[1].upper())
            name = named(session, found)
            return [*within(name), Need(privilege, kind, name)]
    if found := USE_PLACE.fullmatch(text):
        name = object_name(session, found[1].upper(), found[2])
        return [*within(name), Need("USAGE", found[1].upper(), name)]
    if found := EMPTY.match(text):
        return _on(session, found[1], TABLE, "TRUNCATE")
    return _stage_needs(statement) or _query_needs(session, text)


def _to_make(statement: Statement, found: re.Match[str]) -> list[Need]:
    name, kind = named(statement.session, found), EACH.get(found[3].upper(), found[3].upper())
    above, temporary = within(name), (found[2] or "").upper().startswith("TEMP")
    wanted = [] if temporary else [Need(f"CREATE {found[3].upper()}", above[-1].kind, above[-1].name)]
    if found[1] and there(statement, kind, name):
        wanted.append(Need(OWNERSHIP, kind, name))
    return above + wanted


def there(statement: Statement, kind: str, name: Name) -> bool:
    """Whether there is a table, view or stage of that name, whoever may see it."""
    if kind == STAGE:
        return Place(*name) in statement.server.stages
    return kind == TABLE and catalog.find(statement.session, Place(*name)) is not None


def _stage_needs(statement: Statement) -> list[Need]:
    session, text = statement.session, statement.bare
    if found := PUT.match(text) or REMOVE.match(text):
        return _on_stage(statement, found[1], "WRITE")
    if found := LIST.match(text):
        return _on_stage(statement, found[1], "READ")
    if found := LOAD.match(text):
        return _on(session, found[1], TABLE, "INSERT") + _on_stage(statement, found[2], "READ")
    if found := FILES.match(text):
        return _on_stage(statement, found[1], "WRITE") + _on_stage(statement, found[2], "READ")
    return []


def _on_stage(statement: Statement, text: str, privilege: str) -> list[Need]:
    """READ or WRITE on an internal stage, USAGE on an external one."""
    stage = statement.server.stages.get(Place(*full(statement.session, text)))
    return _on(statement.session, text, STAGE, "USAGE" if stage and stage.url else privilege)


def _query_needs(session: Session, text: str) -> list[Need]:
    if not re.match(r"\(*\s*(?:SELECT|WITH|INSERT|UPDATE|DELETE|MERGE)\b", text, re.IGNORECASE):
        return []
    try:
        tree = sqlglot.parse_one(text, read="snowflake")
    except (ParseError, TokenError):
        return []  # whoever runs it says what is wrong with it
    return needs(tree, session.database, session.schema)


def _on(session: Session, text: str, kind: str, privilege: str) -> list[Need]:
    name = full(session, text)
    return [*within(name), Need(privilege, kind, name)]


def object_name(session: Session, kind: str, text: str) -> Name:
    """The full name of what a GRANT names."""
    if kind in (DATABASE, WAREHOUSE, "ROLE", "INTEGRATION"):
        return (part(text),)
    parts = tuple(names.parts(text))
    if kind == SCHEMA:
        return parts if len(parts) == 2 else (session.database or "", *parts)
    return full(session, text)


def part(text: str) -> str:
    return names.parts(text)[0]


def full(session: Session, text: str) -> Name:
    name = names.resolve(session, text)
    return (name.database, name.schema, name.name)


def named(session: Session, found: re.Match[str]) -> Name:
    """The full name of the object that a statement makes, changes or describes: the last group."""
    text = found[found.re.groups]
    if found[found.re.groups - 1].upper() == "SCHEMA":
        return object_name(session, SCHEMA, text)
    return full(session, text)
