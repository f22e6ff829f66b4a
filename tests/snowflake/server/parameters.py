"""Session parameters, and what else belongs to a session: ALTER SESSION, SHOW PARAMETERS, USE, CURRENT_…()."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import duckdb
from sqlglot import exp

from tests.snowflake.server import catalog, names, vendor
from tests.snowflake.server.model import Answer, Column, Session, SnowflakeError, Statement, done

DEFAULTS: dict[str, tuple[Any, str]] = {
    "ABORT_DETACHED_QUERY": (False, "BOOLEAN"),
    "AUTOCOMMIT": (True, "BOOLEAN"),
    "BINARY_INPUT_FORMAT": ("HEX", "STRING"),
    "BINARY_OUTPUT_FORMAT": ("HEX", "STRING"),
    "CLIENT_PREFETCH_THREADS": (4, "NUMBER"),
    "CLIENT_RESULT_CHUNK_SIZE": (160, "NUMBER"),
    "CLIENT_SESSION_KEEP_ALIVE": (False, "BOOLEAN"),
    "CLIENT_SESSION_KEEP_ALIVE_HEARTBEAT_FREQUENCY": (3600, "NUMBER"),
    "CLIENT_TELEMETRY_ENABLED": (True, "BOOLEAN"),
    "DATE_INPUT_FORMAT": ("AUTO", "STRING"),
    "DATE_OUTPUT_FORMAT": ("YYYY-MM-DD", "STRING"),
    "ERROR_ON_NONDETERMINISTIC_MERGE": (True, "BOOLEAN"),
    "ERROR_ON_NONDETERMINISTIC_UPDATE": (False, "BOOLEAN"),
    "JSON_INDENT": (2, "NUMBER"),
    "LOCK_TIMEOUT": (43200, "NUMBER"),
    "MULTI_STATEMENT_COUNT": (1, "NUMBER"),
    "PYTHON_CONNECTOR_QUERY_RESULT_FORMAT": ("ARROW_FORCE", "STRING"),
    "QUERY_TAG": ("", "STRING"),
    "QUOTED_IDENTIFIERS_IGNORE_CASE": (False, "BOOLEAN"),
    "ROWS_PER_RESULTSET": (0, "NUMBER"),
    "STATEMENT_QUEUED_TIMEOUT_IN_SECONDS": (0, "NUMBER"),
    "STATEMENT_TIMEOUT_IN_SECONDS": (172800, "NUMBER"),
    "STRICT_JSON_OUTPUT": (False, "BOOLEAN"),
    "TIMESTAMP_INPUT_FORMAT": ("AUTO", "STRING"),
    "TIMESTAMP_LTZ_OUTPUT_FORMAT": ("", "STRING"),
    "TIMESTAMP_NTZ_OUTPUT_FORMAT": ("YYYY-MM-DD HH24:MI:SS.FF3", "STRING"),
    "TIMESTAMP_OUTPUT_FORMAT": ("YYYY-MM-DD HH24:MI:SS.FF3 TZHTZM", "STRING"),
    "TIMESTAMP_TYPE_MAPPING": ("TIMESTAMP_NTZ", "STRING"),
    "TIMESTAMP_TZ_OUTPUT_FORMAT": ("", "STRING"),
    "TIMEZONE": ("America/Los_Angeles", "STRING"),
    "TIME_INPUT_FORMAT": ("AUTO", "STRING"),
    "TIME_OUTPUT_FORMAT": ("HH24:MI:SS", "STRING"),
    "TRANSACTION_ABORT_ON_ERROR": (False, "BOOLEAN"),
    "TRANSACTION_DEFAULT_ISOLATION_LEVEL": ("READ COMMITTED", "STRING"),
    "TWO_DIGIT_CENTURY_START": (1970, "NUMBER"),
    "USE_CACHED_RESULT": (True, "BOOLEAN"),
    "WEEK_START": (0, "NUMBER"),
}
"""Parameter, its default as documented, and its type."""

LONGEST_TAG = 2000
SHOWN = ("key", "value", "default", "level", "description", "type")


def get(session: Session, name: str) -> Any:
    """The value of a parameter in this session."""
    return session.parameters.get(name, DEFAULTS[name][0])


def flag(session: Session, name: str) -> bool:
    return bool(get(session, name))


def take(session: Session, name: str, value: Any) -> None:
    """Set a parameter. One that Snowflake does not know is refused, and so is a value that cannot be."""
    if name not in DEFAULTS:
        if name.startswith("CLIENT_") or name.startswith("PYTHON_"):
            return
        raise SnowflakeError("001006", "22023", f"invalid parameter '{name}'")
    session.parameters[name] = _typed(name, value)
    if name == "TIMEZONE":
        _set_zone(session, str(value))


def _typed(name: str, value: Any) -> Any:
    kind = DEFAULTS[name][1]
    text = str(value)
    if kind == "BOOLEAN" and text.upper() in ("TRUE", "FALSE", "1", "0", "ON", "OFF"):
        return text.upper() in ("TRUE", "1", "ON")
    if kind == "NUMBER" and re.fullmatch(r"\d+", text):
        return int(text)
    if kind == "STRING" and not (name == "QUERY_TAG" and len(text) > LONGEST_TAG):
        return text
    raise SnowflakeError("001008", "22023", f"invalid value [{text[:80]!r}] for parameter '{name}'")


def _set_zone(session: Session, zone: str) -> None:
    try:
        session.duck.execute(f"SET TimeZone = {names.literal(zone)}")
    except duckdb.Error as error:
        raise SnowflakeError("001008", "22023", f"invalid value ['{zone}'] for parameter 'TIMEZONE'") from error


def opened(session: Session, wanted: dict[str, Any]) -> None:
    """The parameters that came with a login."""
    take(session, "TIMEZONE", DEFAULTS["TIMEZONE"][0])
    session.parameters.clear()
    for name, value in wanted.items():
        take(session, name, value)


def handle(statement: Statement, proceed: Callable[[Statement], Answer]) -> Answer:
    """The handler of this module."""
    words = statement.words(2)
    if words == "ALTER SESSION":
        return alter(statement)
    if words == "SHOW PARAMETERS":
        return show(statement)
    if words.startswith("USE "):
        return use(statement)
    return proceed(statement)


def alter(statement: Statement) -> Answer:
    found = re.fullmatch(r"ALTER\s+SESSION\s+(SET|UNSET)\s+(.*)", statement.bare, re.IGNORECASE | re.DOTALL)
    if found is None:
        raise SnowflakeError("001003", "42000", "SQL compilation error:\nsyntax error in ALTER SESSION.")
    if found[1].upper() == "SET":
        for name, value in names.options(found[2]).items():
            take(statement.session, name, value)
    else:
        for name in re.split(r"[,\s]+", found[2].strip().upper()):
            take(statement.session, name, DEFAULTS.get(name, ("",))[0])
            statement.session.parameters.pop(name, None)
    return done()


def show(statement: Statement) -> Answer:
    """SHOW PARAMETERS [LIKE '…'] [IN SESSION]; other scopes are shown as the session has them."""
    found = re.search(r"\bLIKE\s+'((?:[^']|'')*)'", statement.bare, re.IGNORECASE)
    session = statement.session
    rows = [
        (
            name,
            _told(get(session, name)),
            _told(default),
            "SESSION" if name in session.parameters else "",
            "",
            kind,
        )
        for name, (default, kind) in DEFAULTS.items()
        if found is None or names.like(found[1], name)
    ]
    return Answer([Column(name) for name in SHOWN], rows, 0x4400)


def _told(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def use(statement: Statement) -> Answer:
    """USE WAREHOUSE, ROLE, SECONDARY ROLES, SCHEMA, DATABASE."""
    pattern = r"USE\s+(?:(WAREHOUSE|SCHEMA|DATABASE|SECONDARY\s+ROLES|ROLE)\s+)?(\S+)"
    found = re.fullmatch(pattern, statement.bare, re.IGNORECASE)
    if found is None:
        raise SnowflakeError("001003", "42000", "SQL compilation error:\nsyntax error in USE.")
    what, session = (found[1] or "DATABASE").upper(), statement.session
    if what.startswith("SECONDARY"):
        session.secondary_roles = found[2].upper()
    elif what == "WAREHOUSE":
        session.warehouse = names.parts(found[2])[0]
    elif what == "ROLE":
        session.role = names.parts(found[2])[0]
    else:
        parts = names.parts(found[2])
        if what == "DATABASE" and not catalog.has_database(session, parts[0]):
            raise vendor.missing("Database", parts[0])
        if what == "DATABASE" and len(parts) == 1:
            parts.append("PUBLIC")
        if not enter(statement, *parts[-2:]) and what == "SCHEMA":
            raise vendor.missing("Schema", ".".join(parts))
    return done(kind=0x4300)


def enter(statement: Statement, *parts: str) -> bool:
    """Make a schema the session's current one; False if there is none."""
    session = statement.session
    database, schema = parts if len(parts) == 2 else (session.database, parts[0])
    return session.enter(database, schema)


def _of_session(read: Callable[[Statement], Any]) -> Callable[[Statement, exp.Expression], exp.Expression]:
    from tests.snowflake.server.translate import constant

    return lambda statement, _node: constant(read(statement))


def functions() -> dict[str, Callable[[Statement, exp.Expression], exp.Expression]]:
    """SQL functions that tell of the session. Plug-ins add theirs to `Server.functions`."""
    return {
        "CURRENT_ACCOUNT": _of_session(lambda statement: "TEST"),
        "CURRENT_ACCOUNT_NAME": _of_session(lambda statement: "TEST"),
        "CURRENT_DATABASE": _of_session(lambda statement: statement.session.database),
        "CURRENT_REGION": _of_session(lambda statement: "AWS_EU_CENTRAL_1"),
        "CURRENT_ROLE": _of_session(lambda statement: statement.session.role),
        "CURRENT_SCHEMA": _of_session(lambda statement: statement.session.schema),
        "CURRENT_SECONDARY_ROLES": _of_session(
            lambda statement: f'{{"roles":"","value":"{statement.session.secondary_roles}"}}'
        ),
        "CURRENT_SESSION": _of_session(lambda statement: str(statement.session.id)),
        "CURRENT_TRANSACTION": _of_session(
            lambda statement: statement.session.transaction and statement.session.transaction.id
        ),
        "CURRENT_USER": _of_session(lambda statement: statement.session.user),
        "CURRENT_VERSION": _of_session(lambda statement: "9.30.0"),
        "CURRENT_WAREHOUSE": _of_session(lambda statement: statement.session.warehouse),
        "LAST_QUERY_ID": _of_session(lambda statement: statement.session.last_query_id),
    }
