"""Names in Snowflake: parsed to parts, and the one way to write them and text into a statement.

A name without quotes is what Snowflake makes of it: upper case. A name in double quotes is taken as it stands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from state.errors import ConfigurationError

LONGEST = 255
"""Characters that Snowflake allows in one part of a name."""

PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")
PART = re.compile(r'(?:([A-Za-z_][A-Za-z0-9_$]*)|"((?:[^"]|"")+)")(\.|$)')


def quoted(part: str) -> str:
    """One part of a name as an SQL identifier that Snowflake takes as it stands, case included.

    Raises `ConfigurationError` for a part that no name in Snowflake can have.
    """
    if not 0 < len(part) <= LONGEST or "\0" in part:
        raise ConfigurationError(
            f"{part[:40]!r} cannot be a name in Snowflake",
            hint=f"A name has 1 to {LONGEST} characters, none of them the null character.",
            code="name",
        )
    return '"' + part.replace('"', '""') + '"'


def identifier(given: str) -> str:
    """A name of the settings as a GRANT takes it: a login takes it in upper case as well."""
    upper = given.upper()
    return quoted(upper if plain(upper) else given)


def text(value: str) -> str:
    """`value` as an SQL string, for the few places that take no parameter."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


@dataclass(frozen=True)
class Name:
    """The parts of a name as Snowflake stores them, the outermost first: database, schema, object."""

    parts: tuple[str, ...]

    @property
    def sql(self) -> str:
        """The name in a statement, every part in quotes."""
        return ".".join(quoted(part) for part in self.parts)

    def __str__(self) -> str:
        """The name as an operator writes it: quotes only where they are needed."""
        return ".".join(part if plain(part) else quoted(part) for part in self.parts)

    @property
    def last(self) -> str:
        """The innermost part: the table's or the stage's own name."""
        return self.parts[-1]

    @property
    def schema(self) -> Name:
        """All parts but the last."""
        return Name(self.parts[:-1])

    def beside(self, part: str) -> Name:
        """Another object of the same schema; `part` as Snowflake stores it."""
        return Name((*self.parts[:-1], part))


def plain(part: str) -> bool:
    """True if a name needs no quotes: it is what Snowflake makes of itself."""
    return PLAIN.fullmatch(part) is not None and part == part.upper()


def parse(name: str, *, parts: int = 3, path: str = "") -> Name:
    """`DB.SCHEMA.TABLE`, each part plain or in double quotes (a quote inside is doubled).

    `parts`: how many it must have. `path`: the setting it comes from. Raises `ConfigurationError`.
    """
    found = _parts(name)
    if len(found) != parts or any(len(part) > LONGEST or "\0" in part for part in found):
        where = f"{path}: " if path else ""
        form = ".".join(("DATABASE", "SCHEMA", "NAME")[3 - parts :])
        raise ConfigurationError(
            f"{where}{name[:300]!r} is not like {form}",
            hint='Write letters, digits, _ and $, or put a part in double quotes: MY_DB.MY_SCHEMA."my table".',
            code="name",
            path=path,
        )
    return Name(found)


def _parts(name: str) -> tuple[str, ...]:
    """The parts as Snowflake stores them; none where the text is no name."""
    found: list[str] = []
    place = 0
    while part := PART.match(name, place):
        plain_part, quoted_part, end = part.groups()
        found.append(plain_part.upper() if plain_part else quoted_part.replace('""', '"'))
        place = part.end()
        if not end:
            break
    return tuple(found) if place == len(name) and not name.endswith(".") else ()
