"""CREATE USER and ALTER USER, as documented in sql-reference/sql/create-user.

Only what logins look at: TYPE, PASSWORD, RSA_PUBLIC_KEY, RSA_PUBLIC_KEY_2, DEFAULT_ROLE, DEFAULT_WAREHOUSE,
DISABLED, COMMENT. A user of TYPE = SERVICE has no password.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.snowflake.server import auth
from tests.snowflake.server.model import Answer, SnowflakeError, Statement, done

CREATE = re.compile(r'CREATE\s+USER\s+(IF\s+NOT\s+EXISTS\s+)?("[^"]+"|\w+)(.*)', re.IGNORECASE | re.DOTALL)
ALTER = re.compile(r'ALTER\s+USER\s+("[^"]+"|\w+)\s+SET\s+(.*)', re.IGNORECASE | re.DOTALL)
PROPERTY = re.compile(r"\s*,?\s*(\w+)\s*=\s*('(?:[^']|'')*'|\w+)")
KEPT = ("PASSWORD", "RSA_PUBLIC_KEY", "RSA_PUBLIC_KEY_2", "DEFAULT_ROLE", "DEFAULT_WAREHOUSE")
KNOWN = (*KEPT, "TYPE", "DISABLED", "COMMENT")


def handle(statement: Statement, proceed: Callable[[Statement], Answer]) -> Answer:
    """The handler."""
    users, text = auth.of(statement.server), statement.bare
    if found := CREATE.fullmatch(text):
        name, given = named(found[2]), properties(found[3])
        if users.get(name) is not None:
            if found[1]:
                return done(f"{name} already exists, statement succeeded.")
            raise SnowflakeError("002002", "42710", f"SQL compilation error:\nObject '{name}' already exists.")
        users.register(name, **given, roles=[])
        return done(f"User {name} successfully created.")
    if found := ALTER.fullmatch(text):
        users.register(named(found[1]), **properties(found[2]))
        return done()
    return proceed(statement)


def named(word: str) -> str:
    return word[1:-1] if word.startswith('"') else word.upper()


def properties(text: str) -> dict[str, object]:
    """The properties in `KEY = value …`, as `auth.User` keeps them."""
    found: dict[str, str] = {}
    place = 0
    while text[place:].strip():
        match = PROPERTY.match(text, place)
        if match is None or match[1].upper() not in KNOWN:
            raise SnowflakeError(
                "001003", "42000", f"SQL compilation error:\nsyntax error: {text[place:].strip()[:40]}"
            )
        found[match[1].upper()] = match[2][1:-1].replace("''", "'") if match[2].startswith("'") else match[2]
        place = match.end()
    if found.get("TYPE", "").upper() == "SERVICE" and "PASSWORD" in found:
        raise SnowflakeError("001008", "22023", "invalid value [SERVICE] for parameter 'TYPE' with PASSWORD")
    kept: dict[str, object] = {key.lower(): value for key, value in found.items() if key in KEPT}
    if "DISABLED" in found:
        kept["disabled"] = found["DISABLED"].upper() == "TRUE"
    return kept
