"""What SHOW GRANTS tells of a user."""

from __future__ import annotations

import re
from collections.abc import Sequence

READING = frozenset(
    {
        *("SELECT", "USAGE", "PROCESS", "SHOW VIEW", "SHOW DATABASES", "EXECUTE", "PROXY"),
        *("REPLICATION CLIENT", "REPLICA MONITOR", "SLAVE MONITOR", "BINLOG MONITOR", "SHOW_ROUTINE"),
    }
)
"""Privileges that change no row."""
EVERYTHING = "ALL PRIVILEGES"

_GRANT = re.compile(r"GRANT (.+?) ON (\S+)")


def privileges(grants: Sequence[str], on: str | None = None) -> set[str]:
    """The privileges that are told, on anything or on `on` alone; without the columns they are for."""
    found: set[str] = set()
    for grant in grants:
        told = _GRANT.match(grant)
        if told and on in (None, told[2]):
            found |= {word.strip().upper() for word in re.sub(r"\([^)]*\)", "", told[1]).split(",")}
    return found


def writing(grants: Sequence[str]) -> list[str]:
    """Privileges that change rows or tables."""
    return sorted(privileges(grants) - READING)


def may_see_all(grants: Sequence[str]) -> bool:
    """True for one who sees the transactions of others."""
    return bool(privileges(grants, "*.*") & {"PROCESS", EVERYTHING})
