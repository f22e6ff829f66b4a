"""A role of the test server with exactly what was granted, and the GRANT statements that `doctor` names."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from state.checks import Check
from tests.contract.loader_snowflake import SnowflakePlace
from tests.snowflake.running import Place

Grant = tuple[str, str, str]
"""Privilege, kind of object, its name."""

LOADS = "EVENTS__SLUICEWAY_LOADS"
EMPTY = f"EVENTS_STAGE_EMPTY_{hashlib.sha256(b'p').hexdigest()[:12].upper()}"


@dataclass(frozen=True)
class Role:
    """A role in one place. `name`: as GRANT takes it."""

    place: Place
    name: str

    def has(self, grants: Iterable[Grant]) -> None:
        """Exactly these, whatever it had."""
        self.place.server.put(f"/test/roles/{self.name}", [list(grant) for grant in grants])


def limited(place: Place) -> Role:
    return Role(place, f"LIMITED_{place.database}")


def loading(place: SnowflakePlace) -> list[Grant]:
    """All that a loader needs in a place that is prepared, by somebody else."""
    database, schema = place.place.database, place.schema
    tables = {
        "EVENTS": ("SELECT", "INSERT", "UPDATE", "DELETE"),
        LOADS: ("SELECT", "INSERT", "UPDATE"),
        EMPTY: ("OWNERSHIP",),
    }
    return [
        ("USAGE", "WAREHOUSE", "LOADING"),
        ("USAGE", "DATABASE", database),
        ("USAGE", "SCHEMA", schema),
        ("CREATE TABLE", "SCHEMA", schema),
        ("READ", "STAGE", f"{schema}.LANDING"),
        ("WRITE", "STAGE", f"{schema}.LANDING"),
        *((privilege, "TABLE", f"{schema}.{name}") for name, many in tables.items() for privilege in many),
    ]


def shown(grant: Grant, role: str) -> str:
    """The statement that gives it, as the doctor writes names."""
    privilege, kind, name = grant
    parts = ".".join(f'"{part}"' for part in name.split("."))
    more = " COPY CURRENT GRANTS" if privilege == "OWNERSHIP" else ""
    return f'GRANT {privilege} ON {kind} {parts} TO ROLE "{role}"{more}'


def grants_in(hint: str) -> list[str]:
    """The statements that a hint says to run."""
    return re.findall(r"GRANT [^;]+", hint)


def failed(checks: Iterable[Check]) -> list[Check]:
    return [check for check in checks if not check.ok]


def told(checks: Iterable[Check]) -> dict[str, Any]:
    """What failed, and what to do."""
    return {check.name: check.hint for check in checks if not check.ok}
