"""The names that a search server shows → what is read as one stream.

A data stream is one, whatever is behind it. Indices whose names differ only in a date or a number at their end are
one, by a pattern. An alias is one only where no index is meant by the same name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from connectors.proposals import is_wanted

_SERIES = re.compile(r"^(.+?[-_.])(?:\d{4}(?:[-_.]?\d{2}){0,3}|\d{4}[-_.]?w\d{2}|\d{6,})$")
"""A name that ends with a date (`logs-2025.11.15`, `logs-202511`) or a rollover's number (`logs-000001`)."""


@dataclass(frozen=True)
class Stream:
    """`name`: what `source_system.index` says. `grows`: further indices may come to be part of it."""

    name: str
    kind: str
    grows: bool


def streams(listed: Mapping[str, Any], patterns: Sequence[str]) -> list[Stream]:
    """What the globs are for, from the answer to `_resolve/index`, by name. Names that begin with a dot are the
    server's own."""
    data = {one["name"] for one in listed.get("data_streams", ())}
    behind = {name for one in listed.get("data_streams", ()) for name in _many(one.get("backing_indices", ()))}
    indices = {one["name"] for one in listed.get("indices", ()) if not one.get("data_stream")} - behind
    found: dict[str, Stream] = {}
    for pattern in patterns:
        named = [name for name in sorted(data | indices) if is_wanted(name, [pattern]) and name[0] != "."]
        if named:
            found |= {one.name: one for one in _grouped(named, data, indices | data)}
            continue
        aliases = [one["name"] for one in listed.get("aliases", ()) if is_wanted(one["name"], [pattern])]
        found |= {name: Stream(name, "alias", grows=True) for name in aliases if name[0] != "."}
    return [found[name] for name in sorted(found)]


def _grouped(named: Sequence[str], data: set[str], everything: set[str]) -> list[Stream]:
    """Data streams, series, and indices by themselves."""
    series: dict[str, list[str]] = {}
    made = []
    for name in named:
        if name in data:
            made.append(Stream(name, "data stream", grows=True))
        elif (match := _SERIES.match(name)) is not None:
            series.setdefault(match[1], []).append(name)
        else:
            made.append(Stream(name, "index", grows=False))
    for prefix, members in series.items():
        pattern = _pattern(prefix, members, everything)
        if pattern is None:
            made += [Stream(name, "index", grows=False) for name in members]
        else:
            made.append(Stream(pattern, f"series of {len(members)}", grows=True))
    return made


def _pattern(prefix: str, members: Sequence[str], everything: set[str]) -> str | None:
    """A pattern for these and no other name; None if there is none."""
    for pattern in (f"{prefix}*", f"{prefix}{members[0][len(prefix)]}*"):
        if {name for name in everything if fnmatchcase(name, pattern)} == set(members):
            return pattern
    return None


def _many(names: Any) -> Sequence[str]:
    return [names] if isinstance(names, str) else names
