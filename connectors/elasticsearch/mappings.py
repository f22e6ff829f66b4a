"""Mappings of all matching indices → one declaration per field.

Types that one column holds without loss are joined: the widest integer, `date` with `date_nanos`, texts of every
kind. For what remains the operator says what to do: fail, load the values as text, or as JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from connectors.elasticsearch.fields import ABSENT_TYPES, DATE_FORMAT, DATE_NANOS_FORMAT, arrow_type
from state.errors import ConfigurationError, ContractError

Conflicts = Literal["fail", "text", "json"]

_INTEGERS = ("byte", "short", "integer", "long", "unsigned_long")
_DATES = {"date": DATE_FORMAT, "date_nanos": DATE_NANOS_FORMAT}
_NESTED = "nested"
OBJECT = "object"
"""The type of an entry that names none."""


@dataclass(frozen=True)
class Declared:
    """A field as one index maps it: its type, and its own entry in the mapping."""

    index: str
    es_type: str
    entry: Mapping[str, Any] = field(default_factory=dict)

    @property
    def format(self) -> str:
        """The date format, with the default filled in; empty for other types."""
        return str(self.entry.get("format") or _DATES[self.es_type]) if self.es_type in _DATES else ""

    @property
    def is_object(self) -> bool:
        """True for an object whose fields are indexed as fields of their own."""
        return self.es_type == OBJECT and self.entry.get("enabled", True) is not False


Fields = Mapping[tuple[str, ...], Sequence[Declared]]
"""Path of object names → how each index that has the field declares it. Objects are in it beside their fields."""


def union(mappings: Mapping[str, Any]) -> Fields:
    """All fields of all indices, from the answer to a mapping request, by path."""
    found: dict[tuple[str, ...], list[Declared]] = {}
    for index in sorted(mappings):
        for path, entry in _walk(_inner(mappings[index].get("mappings", {}))):
            es_type = str(entry.get("type", OBJECT))
            found.setdefault(path, []).append(Declared(index, es_type, entry))
    return dict(sorted(found.items()))


def require_source(mappings: Mapping[str, Any], modes: Mapping[str, str]) -> None:
    """Raise `ConfigurationError` where `_source` is not kept as it came. `modes`: index → mode by its settings."""
    for index in sorted(mappings):
        source = mappings[index].get("mappings", {}).get("_source", {})
        mode = "disabled" if source.get("enabled") is False else source.get("mode") or modes.get(index, "stored")
        if mode != "stored":
            raise ConfigurationError(
                f"index {index} does not keep the documents as they came: its `_source` is {mode}",
                hint="Read from an index with a stored `_source`; values made up from the index are not exact.",
                code="source_mode",
            )
        if pruned := [*source.get("includes", ()), *source.get("excludes", ())]:
            raise ConfigurationError(
                f"index {index} keeps only a part of each document in `_source` ({', '.join(pruned)})",
                hint="Read from an index that keeps whole documents.",
                code="source_mode",
            )


def resolve(path: tuple[str, ...], declared: Sequence[Declared], conflicts: Conflicts) -> Declared:
    """The one declaration that holds the values of all. Raises `ContractError` if the policy refuses."""
    real = [one for one in declared if one.es_type not in ABSENT_TYPES] or list(declared)
    joined = _joined(real)
    if joined is not None:
        return joined
    if conflicts == "fail":
        raise ContractError(
            f"field '{'.'.join(path)}' is mapped to types that no column holds both of: {_shown(real)}",
            hint="Give it a type in source_system.columns.types, or set columns.conflicts to text or json.",
            code="mapping_conflict",
        )
    textual = conflicts == "text" and not any(_is_json(one) for one in real)
    return Declared(real[0].index, "string" if textual else "json")


def _joined(declared: Sequence[Declared]) -> Declared | None:
    first, types = declared[0], {one.es_type for one in declared}
    formats = {one.format for one in declared}
    if types <= set(_INTEGERS):
        return max(declared, key=lambda one: _INTEGERS.index(one.es_type))
    if types <= _DATES.keys():
        finest = max(declared, key=lambda one: one.es_type)
        usual = formats <= set(_DATES.values())
        return finest if usual or len(formats) == 1 else None
    columns = {arrow_type(one.es_type, {})[:2] for one in declared if one.es_type not in ABSENT_TYPES}
    return first if len(columns) <= 1 else None


def _is_json(one: Declared) -> bool:
    return one.es_type not in ABSENT_TYPES and arrow_type(one.es_type, {})[1]


def _shown(declared: Sequence[Declared]) -> str:
    """`long in a-1; text in a-2 and 3 more`, dates with their formats."""
    by_type: dict[str, list[str]] = {}
    for one in declared:
        word = f"{one.es_type} ({one.format})" if one.format else one.es_type
        by_type.setdefault(word, []).append(one.index)
    return "; ".join(
        f"{word} in {indices[0]}{f' and {len(indices) - 1} more' if len(indices) > 1 else ''}"
        for word, indices in by_type.items()
    )


def _inner(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    properties = entry.get("properties")
    return properties if isinstance(properties, Mapping) else {}


def _walk(
    properties: Mapping[str, Any], above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Every field and object; a name with dots stands for a path. Nested objects are not entered."""
    for name, entry in properties.items():
        path = (*above, *name.split("."))
        yield path, entry
        if entry.get("type") != _NESTED:
            yield from _walk(_inner(entry), path)
