"""A file that several pipelines share: `connections`, named by a system's `connection:`, and `defaults` for all.

The pipeline's own value wins, then its connection's, then the default. Groups are joined key by key, anything
else is replaced as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.config_text import Document, Place, read_file
from service.problems import Problem, nearest
from service.reference import Keys

SECTIONS = ("source_system", "stage_system", "target_system", "drive_table", "snowflake_connection")
"""Groups that may name a connection."""


def completed(document: Document, folder: Path) -> Document:
    """The document with what its shared file adds; `folder` is where a relative path begins."""
    name = document.data.get("shared")
    if not isinstance(name, str):
        return _connected(document, {})
    shared = read_file(folder / name)
    if shared.problems:
        return Document(document.data, document.places, (*document.problems, *shared.problems))
    defaults = shared.data.get("defaults") or {}
    connections = shared.data.get("connections") or {}
    problems = [*document.problems, *_strangers(shared)]
    for key, value in (("defaults", defaults), ("connections", connections)):
        if not isinstance(value, Mapping):
            problems.append(_at(shared.places, (key,), "must be a group of keys", "Write groups below it."))
            return Document(document.data, document.places, tuple(problems))
    base = Document(defaults, _moved(shared.places, ("defaults",), ()))
    both = _over(Document(document.data, document.places, tuple(problems)), base)
    return _connected(both, connections, shared.places)


def _strangers(shared: Document) -> list[Problem]:
    known = ("connections", "defaults")
    return [
        _at(shared.places, (key,), f"{key} is no known key of a shared file", f"Known here: {', '.join(known)}.")
        for key in shared.data
        if key not in known
    ]


def _connected(
    document: Document, connections: Mapping[str, Any], shared: Mapping[Keys, Place] | None = None
) -> Document:
    """Each system with the connection that it names joined in."""
    for section in SECTIONS:
        group = document.data.get(section)
        if not isinstance(group, Mapping) or "connection" not in group:
            continue
        name = group["connection"]
        own = {key: value for key, value in group.items() if key != "connection"}
        document = Document({**document.data, section: own}, document.places, document.problems)
        fragment = connections.get(name) if isinstance(name, str) else None
        if not isinstance(fragment, Mapping):
            problem = _unknown(document.places, section, str(name), list(connections))
            document = Document(document.data, document.places, (*document.problems, problem))
            continue
        base = Document({section: fragment}, _moved(shared or {}, ("connections", str(name)), (section,)))
        document = _over(document, base)
    return document


def _unknown(places: Mapping[Keys, Place], section: str, name: str, known: list[str]) -> Problem:
    there = (
        f"{nearest(name, known)}It has: {', '.join(known)}."
        if known
        else "Name a file with `shared:` that has it."
    )
    return _at(places, (section, "connection"), "is no connection of the shared file", there, name)


def _at(places: Mapping[Keys, Place], keys: Keys, message: str, remedy: str, value: str = "") -> Problem:
    place = places.get(keys, Place("", None))
    return Problem(".".join(map(str, keys)), message, remedy, value=value, file=place.file, line=place.line)


def _moved(places: Mapping[Keys, Place], below: Keys, to: Keys) -> dict[Keys, Place]:
    size = len(below)
    return {(*to, *keys[size:]): place for keys, place in places.items() if keys[:size] == below}


def _over(top: Document, base: Document) -> Document:
    return Document(_joined(top.data, base.data), {**base.places, **top.places}, (*base.problems, *top.problems))


def _joined(top: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(base)
    for key, value in top.items():
        below = made.get(key)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        made[key] = _joined(value, below) if both and below is not None else value
    return made
