"""Session variables: SET, UNSET, `$NAME`, and IDENTIFIER($NAME), as documented in sql-reference/session-variables.

They are replaced in the text of a statement before anything else looks at it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from tests.snowflake.server.model import Answer, Session, SnowflakeError, Statement, done

SET = re.compile(r"SET\s+(\w+)\s*=\s*('(?:[^']|'')*'|-?[\d.]+|TRUE|FALSE)", re.IGNORECASE)
UNSET = re.compile(r"UNSET\s+(\w+)", re.IGNORECASE)
TOKEN = re.compile(
    r"--[^\n]*|'(?:[^'\\]|''|\\.)*'|\"(?:[^\"]|\"\")*\"|\$\$.*?\$\$|IDENTIFIER\s*\(\s*(\$\w+|'[^']*')\s*\)"
    r"|(?<![\w$])\$[A-Za-z_]\w*",
    re.IGNORECASE | re.DOTALL,
)


def handle(statement: Statement, proceed: Callable[[Statement], Answer]) -> Answer:
    """The handler."""
    known = statement.session.plugins.setdefault("variables", {})
    text = statement.bare
    if found := SET.fullmatch(text):
        known[found[1].upper()] = found[2]
        return done()
    if found := UNSET.fullmatch(text):
        known.pop(found[1].upper(), None)
        return done()
    return proceed(replace(statement, text=replaced(statement.text, statement.session)))


def replaced(text: str, session: Session) -> str:
    """`text` with its variables replaced."""

    def one(found: re.Match[str]) -> str:
        token, name = found[0], found[1]
        if name:  # an object's name, in a variable or written there
            literal = value(name, session) if name.startswith("$") else name
            return literal[1:-1].replace("''", "'")
        variable = token.startswith("$") and not token.startswith("$$")
        return value(token, session) if variable else token

    return TOKEN.sub(one, text)


def value(name: str, session: Session) -> str:
    """The literal that a variable was set to."""
    literal = session.plugins["variables"].get(name[1:].upper())
    if literal is None:
        raise SnowflakeError(
            "002211",
            "02000",
            f"SQL compilation error: error line 0\nSession variable '{name.upper()}' does not exist",
        )
    return literal
