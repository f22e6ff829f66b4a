"""CREATE ROLE, GRANT, REVOKE, SHOW GRANTS, USE ROLE, and the question before each statement whether its role may.

What is asked before which statement follows the "Access control requirements" of each command's page:

    query                       SELECT on each table                   PUT, REMOVE       WRITE on the stage
    INSERT, COPY INTO table     INSERT (COPY: READ on the stage)       LIST, GET         READ on the stage
    UPDATE, DELETE              UPDATE or DELETE, and SELECT           CREATE TABLE      CREATE TABLE on the schema
    MERGE                       what its clauses do, and SELECT        CREATE STAGE      CREATE STAGE on the schema
    ALTER, DROP TABLE           OWNERSHIP                              TRUNCATE          TRUNCATE
    DESCRIBE                    any privilege                          USE, login        USAGE on the warehouse
    USE DATABASE, USE SCHEMA    USAGE

Not emulated: GRANT needs no privilege, secondary roles are never in force, INFORMATION_SCHEMA leaves nothing out,
a stage's or file format's own privileges beside READ and WRITE.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

import sqlglot
from sqlglot.errors import ParseError, TokenError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.snowflake.server import app, auth, names, warehouses, wire
from tests.snowflake.server.model import Answer, Column, Server, Session, SnowflakeError, Statement, done
from tests.snowflake.server.privileges import (
    ANY,
    DATABASE,
    SCHEMA,
    STAGE,
    TABLE,
    WAREHOUSE,
    Grant,
    Name,
    Need,
    Roles,
    hidden,
    needs,
    within,
)

Proceed = Callable[[Statement], Answer]
FLAGS = re.IGNORECASE | re.DOTALL
WORD = rf"({names.PART})"
OBJECT = rf"({names.NAME})"
STAGE_NAME = rf"@({names.NAME})"

ROLE = re.compile(rf"(CREATE|DROP)\s+(?:OR\s+REPLACE\s+)?ROLE\s+(?:IF\s+(?:NOT\s+)?EXISTS\s+)?{WORD}.*", FLAGS)
GRANT_ROLE = re.compile(rf"(GRANT|REVOKE)\s+ROLE\s+{WORD}\s+(?:TO|FROM)\s+(ROLE|USER)\s+{WORD}", FLAGS)
GRANT = re.compile(
    r"(GRANT|REVOKE)\s+(.+?)\s+ON\s+(?:(ALL|FUTURE)\s+)?(\w+(?:\s+FORMAT)?)(?:\s+IN\s+(SCHEMA|DATABASE))?"
    rf"\s+{OBJECT}\s+(?:TO|FROM)\s+(?:ROLE\s+)?{WORD}(?:\s+WITH\s+GRANT\s+OPTION|\s+(?:COPY|REVOKE)\s+CURRENT\s+GRANTS)?",
    FLAGS,
)
SHOW = re.compile(rf"SHOW\s+(?:GRANTS\s+(?:(TO|OF)\s+(ROLE|USER)\s+{WORD}|ON\s+(\w+)\s+{OBJECT})|ROLES.*)", FLAGS)
USE = re.compile(rf"USE\s+(ROLE|WAREHOUSE)\s+{WORD}", FLAGS)
USE_PLACE = re.compile(rf"USE\s+(DATABASE|SCHEMA)\s+{OBJECT}", FLAGS)

MAKE = re.compile(
    rf"CREATE\s+(?:OR\s+REPLACE\s+)?(TRANSIENT\s+|TEMP(?:ORARY)?\s+)?(TABLE|STAGE|VIEW|SCHEMA)\s+"
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


def roles_of(server: Server) -> Roles:
    """The roles of this server."""
    return server.plugins.setdefault("roles", Roles())


def handle(statement: Statement, proceed: Proceed) -> Answer:
    """The handler."""
    text, roles = statement.bare, roles_of(statement.server)
    for pattern, act in ((ROLE, _role), (GRANT_ROLE, _grant_role), (GRANT, _grant), (SHOW, _show)):
        if found := pattern.fullmatch(text):
            return act(statement, roles, found)
    if found := USE.fullmatch(text):
        _require_use(statement.session, statement.server, found[1].upper(), part(found[2]))
    elif roles.get(statement.session.role) is not None:
        for need in _needs(statement):
            roles.require(statement.session.role, need)
        _require_warehouse(statement, roles)
    answer = proceed(statement)
    if made := MAKE.match(text):
        roles.made(
            statement.session.role, EACH.get(made[2].upper(), made[2].upper()), named(statement.session, made)
        )
    return answer


def check(login: app.Login) -> None:
    """What a session gets of the warehouse and the database that it asks for."""
    roles = roles_of(login.server)
    if not _may_use(roles, login.role, login.warehouse):
        login.warehouse = None
    if roles.get(login.role) is not None and not roles.held(str(login.role), DATABASE, (login.database or "",)):
        login.database = login.schema = None


def _may_use(roles: Roles, role: str | None, warehouse: str | None) -> bool:
    if roles.get(role) is None:
        return True
    return bool(roles.held(str(role), WAREHOUSE, (warehouse or "",)) & {"USAGE", "OWNERSHIP", "ALL"})


# -- what a statement needs


def _needs(statement: Statement) -> list[Need]:
    session, text = statement.session, statement.bare
    if found := MAKE.match(text):
        name, temporary = named(session, found), (found[1] or "").upper().startswith("TEMP")
        above = within(name)
        wanted = [] if temporary else [Need(f"CREATE {found[2].upper()}", above[-1].kind, above[-1].name)]
        return above + wanted
    for pattern, privilege in ((OWN, "OWNERSHIP"), (DESCRIBE, ANY)):
        if found := pattern.match(text):
            kind = EACH.get(found[1].upper(), found[1].upper())
            name = named(session, found)
            return [*within(name), Need(privilege, kind, name)]
    if found := USE_PLACE.fullmatch(text):
        name = object_name(session, found[1].upper(), found[2])
        return [*within(name), Need("USAGE", found[1].upper(), name)]
    if found := EMPTY.match(text):
        return _on(session, found[1], TABLE, "TRUNCATE")
    return _stage_needs(session, text) or _query_needs(session, text)


def _stage_needs(session: Session, text: str) -> list[Need]:
    if found := PUT.match(text) or REMOVE.match(text):
        return _on(session, found[1], STAGE, "WRITE")
    if found := LIST.match(text):
        return _on(session, found[1], STAGE, "READ")
    if found := LOAD.match(text):
        return _on(session, found[1], TABLE, "INSERT") + _on(session, found[2], STAGE, "READ")
    if found := FILES.match(text):
        return _on(session, found[1], STAGE, "WRITE") + _on(session, found[2], STAGE, "READ")
    return []


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


def _require_warehouse(statement: Statement, roles: Roles) -> None:
    session = statement.session
    if warehouses.NEEDING.match(statement.bare) and not _may_use(roles, session.role, session.warehouse):
        raise warehouses.none_active()


def _require_use(session: Session, server: Server, what: str, name: str) -> None:
    user = auth.of(server).get(session.user)
    if what == "ROLE":
        if user is not None and user.roles is not None and name not in ("PUBLIC", *user.roles):
            text = (
                f"Requested role '{name}' is not assigned to the executing user. Specify another role to activate."
            )
            raise SnowflakeError("003013", "42501", f"SQL access control error:\n{text}")
        return
    if warehouses.of(server).get(name).missing or not _may_use(roles_of(server), session.role, name):
        raise hidden(Need("USAGE", WAREHOUSE, (name,)))


# -- GRANT and its kin


def _role(statement: Statement, roles: Roles, found: re.Match[str]) -> Answer:
    if found[1].upper() == "CREATE":
        roles.create(part(found[2]))
        return done(f"Role {part(found[2])} successfully created.")
    roles.drop(part(found[2]))
    return done(f"{part(found[2])} successfully dropped.")


def _grant_role(statement: Statement, roles: Roles, found: re.Match[str]) -> Answer:
    role, to = part(found[2]), part(found[4])
    if found[3].upper() == "ROLE":
        held = roles.create(to).inherits
    else:
        user = auth.of(statement.server).register(to)
        user.roles = held = user.roles or []
    if found[1].upper() == "GRANT":
        held.append(role)
    elif role in held:
        held.remove(role)
    return done()


def _grant(statement: Statement, roles: Roles, found: re.Match[str]) -> Answer:
    verb, privileges, scope, word, _, text, to = found.groups()
    kind = EACH.get(word.upper(), word.upper())
    role = roles.get(part(to))
    if role is None:
        raise SnowflakeError(
            "002003", "02000", f"SQL compilation error:\nRole '{part(to)}' does not exist or not authorized."
        )
    targets = (
        [object_name(statement.session, kind, text)] if scope is None else [above_name(statement.session, found)]
    )
    if (scope or "").upper() == "ALL":
        targets = existing(statement, kind, targets[0])
    future = (scope or "").upper() == "FUTURE"
    for privilege in re.split(r"\s*,\s*", re.sub(r"\s+PRIVILEGES$", "", privileges.upper().strip())):
        for name in targets:
            same = [
                g
                for g in role.grants
                if (g.privilege, g.kind, g.name, g.future) == (privilege, kind, name, future)
            ]
            if verb.upper() == "REVOKE":
                role.grants = [one for one in role.grants if one not in same]
            elif not same:
                role.grants.append(Grant(privilege, kind, name, future))
    return done()


def existing(statement: Statement, kind: str, above: Name) -> list[Name]:
    """The objects of a kind that are there, in a schema or database."""
    if kind != TABLE:
        raise SnowflakeError("000002", "0A000", f"the test server does not grant on all {kind.lower()}s")
    query = (
        "SELECT database_name, schema_name, table_name FROM duckdb_tables() WHERE NOT internal AND NOT temporary"
    )
    found = statement.session.duck.cursor().execute(query).fetchall()
    return [tuple(name) for name in found if tuple(name)[: len(above)] == above]


def object_name(session: Session, kind: str, text: str) -> Name:
    """The full name of what a GRANT names."""
    if kind in (DATABASE, WAREHOUSE, "ROLE", "INTEGRATION"):
        return (part(text),)
    parts = tuple(names.parts(text))
    if kind == SCHEMA:
        return parts if len(parts) == 2 else (session.database or "", *parts)
    return full(session, text)


def above_name(session: Session, found: re.Match[str]) -> Name:
    """The schema or database of `ON FUTURE TABLES IN SCHEMA s`."""
    return object_name(session, (found[5] or "SCHEMA").upper(), found[6])


def _show(statement: Statement, roles: Roles, found: re.Match[str]) -> Answer:
    if found[1] is None and found[4] is None:
        return table(["created_on", "name", "owner"], [(now(), name, "") for name in roles.names()])
    if (found[2] or "").upper() == "USER":
        user = auth.of(statement.server).get(part(found[3]))
        rows = [(now(), role, "USER", part(found[3]), "") for role in (user and user.roles) or []]
        return table(["created_on", "role", "granted_to", "grantee_name", "granted_by"], rows)
    columns = [
        "created_on",
        "privilege",
        "granted_on",
        "name",
        "granted_to",
        "grantee_name",
        "grant_option",
        "granted_by",
    ]
    chosen = lambda role, grant: role == part(found[3])  # noqa: E731
    if found[4] is not None:
        kind = EACH.get(found[4].upper(), found[4].upper())
        name = object_name(statement.session, kind, found[5])
        chosen = lambda role, grant: (grant.kind, grant.name) == (kind, name)  # noqa: E731
    rows = [
        (grant.at, grant.privilege, grant.kind, ".".join(grant.name), "ROLE", role, "false", "")
        for role, grant in roles.all_grants()
        if chosen(role, grant) and not grant.future
    ]
    if found[3] is not None:
        role = roles.get(part(found[3]))
        rows += [
            (now(), "USAGE", "ROLE", one, "ROLE", part(found[3]), "false", "")
            for one in (role.inherits if role else [])
        ]
    return table(columns, rows)


def table(columns: list[str], rows: list[tuple[object, ...]]) -> Answer:
    kinds = [Column(name, "timestamp_ltz" if name == "created_on" else "text") for name in columns]
    return Answer(kinds, rows, wire.SHOW)


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


def now() -> datetime:
    return datetime.now(UTC)


def routes(server: Server) -> list[Route]:
    return [Route("/test/roles/{name}", partial(put, server), methods=["PUT"])]


async def put(server: Server, request: Request) -> Response:
    """PUT /test/roles/NAME [[privilege, kind, "DB.SCHEMA.NAME"], …]: the role, with exactly these privileges."""
    role = roles_of(server).create(request.path_params["name"])
    asked = json.loads(await request.body() or b"[]")
    role.grants = [Grant(privilege, kind, tuple(name.split("."))) for privilege, kind, name in asked]
    return JSONResponse({"role": role.name, "grants": len(role.grants)})
