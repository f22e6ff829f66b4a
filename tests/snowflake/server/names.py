"""Names and options as they stand in statements: identifiers, stages, `KEY = VALUE` lists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.snowflake.server.model import Name, Session, SnowflakeError

PART = r'(?:"(?:[^"]|"")*"|[A-Za-z_][A-Za-z0-9_$]*)'
NAME = rf"{PART}(?:\.{PART}){{0,2}}"
STAGE = re.compile(rf"(?:'@(?P<quoted>(?:[^']|'')*)'|@(?P<plain>{PART}(?:\.{PART}){{0,2}}(?:/[^\s()';,]*)?))")
TOKEN = re.compile(r"\s*(?:(?P<text>'(?:[^'\\]|''|\\.)*')|(?P<mark>=>|[(),=])|(?P<word>[^\s(),=']+))", re.DOTALL)
ESCAPES = {"\\n": "\n", "\\t": "\t", "\\r": "\r", "\\\\": "\\", "\\'": "'", "\\0": "\0"}


@dataclass(frozen=True)
class Location:
    """A stage and what stands behind its first slash."""

    stage: Name
    path: str


def quoted(part: str) -> str:
    return '"' + part.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text constant for DuckDB."""
    return "'" + text.replace("'", "''") + "'"


def parts(text: str) -> list[str]:
    """`a."b c".D` → `["A", "b c", "D"]`."""
    if not re.fullmatch(NAME, text):
        raise SnowflakeError(
            "001003", "42000", f"SQL compilation error:\nsyntax error, {text!r} is no identifier."
        )
    return [_part(found) for found in re.findall(PART, text)]


def _part(text: str) -> str:
    return text[1:-1].replace('""', '"') if text.startswith('"') else text.upper()


def resolve(session: Session, text: str) -> Name:
    """The object that `text` names in this session. Raises 090105 or 090106 where something is missing."""
    return within(session, parts(text))


def within(session: Session, found: list[str]) -> Name:
    """Fill in database and schema of the session."""
    missing = [session.database, session.schema][: 3 - len(found)] if len(found) < 3 else []
    if len(found) == 2:
        missing = [session.database]
    if None in missing:
        what, code = ("database", "090105") if missing[0] is None else ("schema", "090106")
        raise SnowflakeError(
            code, "22000", f"Cannot perform operation. This session does not have a current {what}."
        )
    return Name(*[*missing, *found])


def location(session: Session, text: str) -> Location:
    """`@stage/path`, in quotes or not."""
    found = STAGE.fullmatch(text.strip())
    if found is None:
        raise SnowflakeError("001003", "42000", f"SQL compilation error:\nsyntax error, {text!r} is no stage.")
    whole = found["plain"] or found["quoted"].replace("''", "'")
    named = re.match(NAME, whole)
    if named is None:
        raise SnowflakeError("001003", "42000", f"SQL compilation error:\nsyntax error, {text!r} is no stage.")
    return Location(resolve(session, named[0]), whole[named.end() :].lstrip("/"))


def words(text: str) -> Iterator[str]:
    """The tokens of a list of options; constants keep their quotes."""
    place = 0
    while place < len(text.rstrip()):
        found = TOKEN.match(text, place)
        if found is None:
            raise SnowflakeError(
                "001003", "42000", f"SQL compilation error:\nsyntax error near {text[place:][:40]!r}."
            )
        yield found["text"] or found["mark"] or found["word"]
        place = found.end()


def options(text: str) -> dict[str, Any]:
    """`KEY = VALUE …` with upper-case keys; a value is text, a bool, an int, a list or again such a dict."""
    tokens = list(words(text))
    found, rest = _pairs(tokens)
    if rest:
        raise SnowflakeError("001003", "42000", f"SQL compilation error:\nsyntax error unexpected {rest[0]!r}.")
    return found


def _pairs(tokens: list[str]) -> tuple[dict[str, Any], list[str]]:
    found: dict[str, Any] = {}
    while len(tokens) > 1 and tokens[0] not in "(),=" and tokens[1] in ("=", "=>"):
        key = tokens[0].upper()
        value, tokens = _value(tokens[2:])
        found[key] = value
        if tokens and tokens[0] == ",":
            tokens = tokens[1:]
    return found, tokens


def _value(tokens: list[str]) -> tuple[Any, list[str]]:
    if not tokens:
        raise SnowflakeError("001003", "42000", "SQL compilation error:\nsyntax error unexpected '<EOF>'.")
    if tokens[0] != "(":
        return constant(tokens[0]), tokens[1:]
    if len(tokens) > 2 and tokens[2] in ("=", "=>"):
        found, rest = _pairs(tokens[1:])
        return found, rest[1:]
    items: list[Any] = []
    rest = tokens[1:]
    while rest and rest[0] != ")":
        if rest[0] != ",":
            items.append(constant(rest[0]))
        rest = rest[1:]
    return items, rest[1:]


def constant(token: str) -> Any:
    """What a token stands for."""
    if token.startswith("'"):
        inner = token[1:-1].replace("''", "'")
        return re.sub(r"\\[ntr0'\\]", lambda found: ESCAPES[found[0]], inner)
    if token.upper() in ("TRUE", "FALSE"):
        return token.upper() == "TRUE"
    return int(token) if re.fullmatch(r"-?\d+", token) else token


def like(pattern: str, text: str) -> bool:
    """SHOW … LIKE: without regard to case."""
    shape = re.escape(pattern).replace("%", ".*").replace("_", ".")
    return re.fullmatch(shape, text, re.IGNORECASE | re.DOTALL) is not None
