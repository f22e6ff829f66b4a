"""CREATE ROLE, GRANT, REVOKE, SHOW GRANTS, USE ROLE, and the question before each statement whether its role may.

What is asked before which statement: `needing.py`. What a role is told of: `visibility.py`, and `translate.py` for
INFORMATION_SCHEMA. Not emulated: GRANT needs no privilege, secondary roles are never in force.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.snowflake.server import app, auth, warehouses, wire
from tests.snowflake.server.model import Answer, Column, Server, Session, SnowflakeError, Statement, done
from tests.snowflake.server.model import Name as Place
from tests.snowflake.server.needing import (
    EACH,
    FLAGS,
    MAKE,
    OBJECT,
    OWN,
    WORD,
    named,
    needs_of,
    object_name,
    part,
    there,
)
from tests.snowflake.server.privileges import (
    DATABASE,
    OWNERSHIP,
    STAGE,
    TABLE,
    WAREHOUSE,
    Grant,
    Name,
    Need,
    Role,
    Roles,
    hidden,
    insufficient,
)

Proceed = Callable[[Statement], Answer]
ROLE = re.compile(rf"(CREATE|DROP)\s+(?:OR\s+REPLACE\s+)?ROLE\s+(?:IF\s+(?:NOT\s+)?EXISTS\s+)?{WORD}.*", FLAGS)
GRANT_ROLE = re.compile(rf"(GRANT|REVOKE)\s+ROLE\s+{WORD}\s+(?:TO|FROM)\s+(ROLE|USER)\s+{WORD}", FLAGS)
GRANT = re.compile(
    r"(GRANT|REVOKE)\s+(.+?)\s+ON\s+(?:(ALL|FUTURE)\s+)?(\w+(?:\s+FORMAT)?)(?:\s+IN\s+(SCHEMA|DATABASE))?"
    rf"\s+{OBJECT}\s+(?:TO|FROM)\s+(?:ROLE\s+)?{WORD}(?:\s+WITH\s+GRANT\s+OPTION|\s+(?:COPY|REVOKE)\s+CURRENT\s+GRANTS)?",
    FLAGS,
)
SHOW = re.compile(rf"SHOW\s+(?:GRANTS\s+(?:(TO|OF)\s+(ROLE|USER)\s+{WORD}|ON\s+(\w+)\s+{OBJECT})|ROLES.*)", FLAGS)
USE = re.compile(rf"USE\s+(ROLE|WAREHOUSE)\s+{WORD}", FLAGS)


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
        for need in needs_of(statement):
            roles.require(statement.session.role, need)
        _require_warehouse(statement, roles)
    if made := MAKE.match(text):
        return _made(statement, proceed, roles, made)
    answer = proceed(statement)
    if (dropped := OWN.match(text)) and text[:4].upper() == "DROP":
        roles.forget(EACH.get(dropped[1].upper(), dropped[1].upper()), named(statement.session, dropped))
    return answer


def _made(statement: Statement, proceed: Proceed, roles: Roles, made: re.Match[str]) -> Answer:
    """Who makes an object owns it; what is replaced takes the grants on it along, unless they are copied."""
    kind, name = EACH.get(made[3].upper(), made[3].upper()), named(statement.session, made)
    was_there = there(statement, kind, name)
    answer = proceed(statement)
    if made[1] and not re.search(r"\bCOPY\s+GRANTS\b", statement.bare, re.IGNORECASE):
        roles.forget(kind, name)
    if made[1] or not was_there:
        roles.made(statement.session.role, kind, name)
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
    listed = re.split(r"\s*,\s*", re.sub(r"\s+PRIVILEGES$", "", privileges.upper().strip()))
    for privilege in sorted(listed, reverse=verb.upper() == "REVOKE"):  # READ before WRITE, and after it
        for name in targets:
            if kind == STAGE and not future:
                _require_stage_privilege(statement, role, verb.upper(), privilege, name)
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


def _require_stage_privilege(statement: Statement, role: Role, verb: str, privilege: str, name: Name) -> None:
    """USAGE is for external stages, READ and WRITE for internal ones, and WRITE never stands without READ."""
    stage = statement.server.stages.get(Place(*name))
    held = {grant.privilege for grant in role.grants if (grant.kind, grant.name) == (STAGE, name)}
    wrong = stage is not None and (privilege == "USAGE") is not bool(stage.url) and privilege in STAGE_PRIVILEGES
    alone = (verb, privilege) == ("GRANT", "WRITE") and not held & {"READ", "ALL", OWNERSHIP}
    left = (verb, privilege) == ("REVOKE", "READ") and "WRITE" in held
    if wrong or alone or left:
        raise insufficient(Need(privilege, STAGE, name))


STAGE_PRIVILEGES = ("READ", "WRITE", "USAGE")


def existing(statement: Statement, kind: str, above: Name) -> list[Name]:
    """The objects of a kind that are there, in a schema or database."""
    if kind != TABLE:
        raise SnowflakeError("000002", "0A000", f"the test server does not grant on all {kind.lower()}s")
    query = (
        "SELECT database_name, schema_name, table_name FROM duckdb_tables() WHERE NOT internal AND NOT temporary"
    )
    found = statement.session.duck.cursor().execute(query).fetchall()
    return [tuple(name) for name in found if tuple(name)[: len(above)] == above]


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
