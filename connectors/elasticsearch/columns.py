"""From declared fields to the columns of the contract, as `source_system.columns` asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from connectors.elasticsearch.decode import META, Decoder
from connectors.elasticsearch.fields import ABSENT_TYPES, KNOWN_TYPES, MICROS, NANOS, FieldSpec, arrow_type
from connectors.elasticsearch.mappings import Declared, Fields, resolve
from connectors.elasticsearch.settings import ElasticsearchSettings
from state.contract import RESERVED_PREFIX
from state.errors import ConfigurationError

Path = tuple[str, ...]


def decoder(settings: ElasticsearchSettings, fields: Fields) -> Decoder:
    """The decoder of the chosen columns, its schema the contract's.

    Raises `ConfigurationError` for a column that is missing or cannot be, `ContractError` for a conflict.
    """
    columns = settings.columns
    chosen = _chosen(settings, fields)
    for setting, names in (("rename", columns.rename), ("types", columns.types)):
        _require_read(setting, names, chosen)
    specs = [_spec(path, settings, fields[path]) for path in chosen]
    meta = [name for name in META if name in (*columns.meta, *settings.key)]
    _require_columns(settings, [*meta, *(spec.column for spec in specs)])
    _require_cursor(settings, specs, fields)
    return Decoder(specs, meta, dict(columns.on_bad_value), settings.cursor)


def cursor_field(settings: ElasticsearchSettings) -> str | None:
    """The field behind the cursor's column, where there is one."""
    return None if settings.cursor is None else _field_of(settings.cursor, settings)


def _field_of(column: str, settings: ElasticsearchSettings) -> str:
    return next((field for field, name in settings.columns.rename.items() if name == column), column)


def _spec(path: Path, settings: ElasticsearchSettings, declared: Sequence[Declared]) -> FieldSpec:
    name = ".".join(path)
    word = settings.columns.types.get(name)
    one = resolve(path, declared, settings.columns.conflicts) if word is None else _as_told(name, word, declared)
    type_, as_json, formats = arrow_type(one.es_type, one.entry)
    return FieldSpec(settings.columns.rename.get(name, name), path, one.es_type, formats, type_, as_json)


def _as_told(name: str, word: str, declared: Sequence[Declared]) -> Declared:
    """The declaration by the operator, with the mapping's own format where the type is the same."""
    if word not in KNOWN_TYPES:
        raise ConfigurationError(
            f"'{word}' is no type of a field that holds a value",
            hint="Use a type of the search server, such as keyword, long, double, date, or json.",
            code="columns",
            path=f"source_system.columns.types.{name}",
        )
    entry = next((one.entry for one in declared if one.es_type == word), {})
    return Declared(declared[0].index, word, entry)


def _chosen(settings: ElasticsearchSettings, fields: Fields) -> list[Path]:
    """The fields that become columns, in order of their names; cursor and key are always among them."""
    columns = settings.columns
    always = {_field_of(name, settings) for name in (*_cursors(settings), *settings.key)} | columns.types.keys()
    candidates = sorted(_candidates(settings, fields, always | set(columns.include)))
    for pattern in columns.include:
        if not any(_matches(path, pattern) for path in candidates):
            raise ConfigurationError(
                f"columns.include names no field: {pattern}",
                hint="Correct it; fields inside an object are columns with columns.objects: flatten.",
                code="columns",
                path="source_system.columns.include",
            )
    chosen = [
        path
        for path in candidates
        if ".".join(path) in always or (_any(path, columns.include) and not _any(path, columns.exclude))
    ]
    _require_whole(columns.exclude, chosen, fields)
    return chosen


def _candidates(settings: ElasticsearchSettings, fields: Fields, named: set[str]) -> Iterator[Path]:
    """Fields that can be columns: outermost or innermost ones, and any that is named exactly."""
    flatten, types = settings.columns.objects == "flatten", settings.columns.types
    whole: set[Path] = set()
    outer = {around for path in fields for around in _around(path)}
    for path, declared in fields.items():
        name = ".".join(path)
        covered = any(around in whole for around in _around(path))
        is_object = path in outer and all(one.is_object for one in declared)  # in every index that has it
        entered = flatten and name not in types and is_object
        absent = all(one.es_type in ABSENT_TYPES for one in declared)
        if covered or entered or absent:
            if name in named and not entered:
                yield path
            continue
        if any(one.is_object for one in declared):
            whole.add(path)
        yield path


def _around(path: Path) -> Iterator[Path]:
    """The objects around a field, the outermost first."""
    return (path[:depth] for depth in range(1, len(path)))


def _matches(path: Path, pattern: str) -> bool:
    """True if the pattern is for the field or for an object around it."""
    return any(fnmatchcase(".".join(one), pattern) for one in (*_around(path), path))


def _any(path: Path, patterns: Sequence[str]) -> bool:
    return any(_matches(path, pattern) for pattern in patterns)


def _require_whole(exclude: Sequence[str], chosen: Sequence[Path], fields: Fields) -> None:
    """What is inside a column of JSON text cannot be left out of it."""
    read = set(chosen)
    for path in fields:
        outer = next((around for around in _around(path) if around in read), None)
        named = any(fnmatchcase(".".join(path), pattern) for pattern in exclude)
        if outer is not None and named and path not in read:
            raise ConfigurationError(
                f"columns.exclude names {'.'.join(path)}, which is inside {'.'.join(outer)}, which is read whole",
                hint=f"Set columns.objects: flatten, or exclude {'.'.join(outer)}.",
                code="columns",
                path="source_system.columns.exclude",
            )


def _require_read(setting: str, names: Mapping[str, str], chosen: Sequence[Path]) -> None:
    here = {".".join(path) for path in chosen}
    if unknown := sorted(set(names) - here):
        raise ConfigurationError(
            f"columns.{setting} names no field that is read: {', '.join(unknown)}",
            hint=_did_you_mean(unknown[0], here),
            code="columns",
            path=f"source_system.columns.{setting}",
        )


def _require_columns(settings: ElasticsearchSettings, columns: Sequence[str]) -> None:
    for setting, names in (("cursor", _cursors(settings)), ("key", settings.key)):
        if missing := [name for name in names if name not in columns]:
            raise ConfigurationError(
                f"{setting} {', '.join(missing)}: {settings.index} has no such field",
                hint=_did_you_mean(missing[0], columns),
                code=f"{setting}_missing",
                path=f"source_system.{setting}",
            )
    if reserved := [name for name in columns if name.startswith(RESERVED_PREFIX)]:
        raise ConfigurationError(
            f"columns that begin with {RESERVED_PREFIX} are the loader's own: {', '.join(reserved)}",
            hint="Give them other names in columns.rename.",
            code="columns",
            path="source_system.columns.rename",
        )


def _cursors(settings: ElasticsearchSettings) -> tuple[str, ...]:
    """The cursor, where there is one."""
    return () if settings.cursor is None else (settings.cursor,)


def _require_cursor(settings: ElasticsearchSettings, specs: Sequence[FieldSpec], fields: Fields) -> None:
    if settings.cursor is None:
        return
    spec = next((spec for spec in specs if spec.column == settings.cursor), None)
    mapped = "" if spec is None else ", ".join(sorted({one.es_type for one in fields[spec.path]}))
    if spec is None or spec.type not in (MICROS, NANOS) or not set(mapped.split(", ")) <= {"date", "date_nanos"}:
        raise ConfigurationError(
            f"cursor {settings.cursor} is not a date in every index of {settings.index}: {mapped or 'of the hit'}",
            hint="Name a field that is mapped as date or date_nanos.",
            code="cursor_type",
            path="source_system.cursor",
        )
    if any("null_value" in one.entry for one in fields[spec.path]):
        raise ConfigurationError(
            f"cursor {settings.cursor} has a null_value in its mapping: rows without a date would be found by it",
            hint="Name another date field, or remove null_value from the mapping.",
            code="cursor_type",
            path="source_system.cursor",
        )


def _did_you_mean(name: str, names: Sequence[str] | set[str]) -> str:
    near = get_close_matches(name, sorted(names), 1)
    return f"Did you mean {near[0]}?" if near else f"The index has: {', '.join(sorted(names)[:20])}."
