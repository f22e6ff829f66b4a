"""Pipelines that a source proposes from what it declares and what it holds, each choice with its reason.

A connector's `propose` looks and writes nothing. What it cannot propose is named with the reason, never left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from fnmatch import fnmatchcase
from importlib import import_module
from typing import Any

from state.settings import Secret


@dataclass(frozen=True)
class Access:
    """A source by its URL, with references in the place of secrets. `path` has no slash around it.

    `options`: what stood behind the question mark, `tls=false` for one.
    """

    scheme: str
    host: str
    port: int | None = None
    path: str = ""
    user: str | None = None
    password: Secret | None = None
    api_key: Secret | None = None
    options: Mapping[str, str] = field(default_factory=dict)


class Meaning(IntEnum):
    """What a date says of its row; the lower, the better windows are cut by it."""

    CHANGED = 0
    """It moves with every change, so that changed rows are seen again; and it tells which version is newer."""
    ARRIVED = 1
    """When the row came into the source."""
    CREATED = 2
    """When the row was made; a change does not move it."""
    HAPPENED = 3
    """Something else, such as the instant of an event."""


WORDS: Mapping[Meaning, str] = {
    Meaning.CHANGED: r"updated?|upd|modified|modification|mod|changed?|edited|touched|mtime|lastmod|revised",
    Meaning.ARRIVED: r"ingest|ingested|indexed|received|arrived|loaded|imported|synced",
    Meaning.CREATED: r"created?|creation|ctime|inserted|added|registered",
}
"""Words in names of dates."""


def meaning(name: str) -> Meaning:
    """What a date of this name says of its row."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    for found, pattern in WORDS.items():
        if re.search(rf"(?:^|[^a-z])(?:{pattern})(?:[^a-z]|$)", words):
            return found
    return Meaning.HAPPENED


@dataclass(frozen=True)
class Setting:
    """A key of `source_system` and its value; `why` stands as a comment above it."""

    key: str
    value: Any
    why: str = ""


@dataclass(frozen=True)
class Proposal:
    """One pipeline. `name`: the table or index as the source calls it, or the pattern of several.

    `rows` is the source's count, or its estimate where they are too many. `first` and `last`: the least and the
    greatest cursor, None without rows. `cursor` None: the whole table, each time (`mode: snapshot`).
    `whole_days`: the cursor tells no time of day. `behind_seconds`: so much may it lie before UTC when a row is
    written. `notes`: what else is worth knowing, a sentence each.
    """

    name: str
    rows: int
    key: tuple[str, ...]
    cursor: str | None
    meaning: Meaning
    first: datetime | None
    last: datetime | None
    source: tuple[Setting, ...]
    append: bool = False
    whole_days: bool = False
    behind_seconds: int = 0
    safety_lag_seconds: int = 120
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unproposed:
    """A table or index that no pipeline is proposed for."""

    name: str
    reason: str


@dataclass(frozen=True)
class Proposed:
    """What a source holds. `product`: what it says it is. `connection`: the settings that all share."""

    product: str
    connection: Mapping[str, Any]
    found: Sequence[Proposal] = ()
    left: Sequence[Unproposed] = ()


def is_wanted(name: str, patterns: Sequence[str]) -> bool:
    """True if one of the globs is for this name."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


PROPOSERS: Mapping[str, str] = {
    "http": "connectors.elasticsearch.proposing",
    "https": "connectors.elasticsearch.proposing",
    "mysql": "connectors.mysql.proposing",
    "mariadb": "connectors.mysql.proposing",
}
"""Scheme of a URL → module with `propose`, imported when it is used."""


async def propose(access: Access, patterns: Sequence[str]) -> Proposed:
    """What the source behind a URL could be read as; `patterns`: globs of tables or indices.

    Raises the connector's errors where the source cannot be asked.
    """
    found: Proposed = await import_module(PROPOSERS[access.scheme]).propose(access, patterns)
    return found
