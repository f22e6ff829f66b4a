"""Which declared columns are read, and as what: the contract of a relation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import pyarrow as pa

from connectors.mysql.catalog import Relation
from connectors.mysql.columns import FAMILY, Column, Declared, Kind, column, quoted
from connectors.mysql.settings import MysqlSettings
from connectors.mysql.statements import Place, Statements
from state.contract import RESERVED_PREFIX, Contract
from state.errors import ConfigurationError


@dataclass(frozen=True)
class Chosen:
    """The contract of a relation, the columns behind it, and the statements that ask for them."""

    contract: Contract
    columns: Sequence[Column]
    statements: Statements


def chosen(settings: MysqlSettings, relation: Relation) -> Chosen:
    """Raises `ConfigurationError` for what is configured and cannot be."""
    declared = {one.name: one for one in relation.columns}
    _require_known(settings, declared)
    columns = [_column(settings, one) for one in relation.columns if _is_wanted(settings, one.name)]
    _require_names([each.name for each in columns])
    cursor = _cursor(settings, columns, declared)
    fallback = _fallback(settings, cursor, declared)
    statements = Statements(relation.sql, columns, cursor, fallback, settings.where)
    if fallback is not None:
        columns = [
            replace(each, expression=statements.placed) if each.name == settings.cursor else each
            for each in columns
        ]
        statements = replace(statements, columns=columns)
    key = settings.key or _own_key(settings, relation, columns)
    contract = Contract(pa.schema([each.field for each in columns]), settings.cursor, key)
    if missing := contract.missing(key):
        raise _wrong("key", f"there is no column '{missing[0]}'; there are {', '.join(contract.schema.names)}")
    return Chosen(contract, columns, statements)


def _is_wanted(settings: MysqlSettings, name: str) -> bool:
    chosen = settings.columns
    return _fits(name, chosen.include) and not _fits(name, chosen.exclude)


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)


def _require_known(settings: MysqlSettings, declared: Iterable[str]) -> None:
    """Raise for a setting that names a column which the relation does not have."""
    names = set(declared)
    given = settings.columns
    for setting in ("rename", "types", "hash", "mask"):
        for name in getattr(given, setting):
            if name not in names:
                raise _wrong(f"columns.{setting}", f"there is no column '{name}'; there are {_listed(names)}")
    for name in (*given.include, *given.exclude):
        if not any(_fits(one, [name]) for one in names):
            raise _wrong("columns", f"no column is like '{name}'; there are {_listed(names)}")
    called = {given.rename.get(name, name) for name in names}
    for name in given.on_bad_value:
        if name not in called:
            raise _wrong("columns.on_bad_value", f"there is no column '{name}'; there are {_listed(called)}")


def _require_names(names: Sequence[str]) -> None:
    if not names:
        raise _wrong("columns", "no column is left to read")
    for name, times in Counter(names).items():
        if times > 1:
            raise _wrong("columns.rename", f"{times} columns would be called '{name}'")
        if name.startswith(RESERVED_PREFIX):
            raise _wrong("columns.rename", f"column '{name}' has a name that is kept for this program")


def _column(settings: MysqlSettings, declared: Declared) -> Column:
    given, source = settings.columns, declared.name
    name = given.rename.get(source, source)
    if source in given.hash or source in given.mask:
        return Column(source, name, Kind.TEXT, pa.string(), _hidden(settings, declared))
    return column(declared, name, given.types.get(source), given.on_bad_value.get(name, "error"))


def _hidden(settings: MysqlSettings, declared: Declared) -> str:
    """What is asked for in place of the value. Text is hashed as UTF-8, whatever it is stored in; bytes as they
    are."""
    family, name = FAMILY.get(declared.data_type), quoted(declared.name)
    if declared.name in settings.columns.mask:
        text = settings.columns.mask[declared.name].encode().hex()
        return f"IF({name} IS NULL, NULL, CONVERT(X'{text}' USING utf8mb4))"
    if family in ("bytes", "geometry"):
        return f"SHA2({column(declared, declared.name, 'binary').expression}, 256)"
    return f"SHA2(CONVERT({column(declared, declared.name, 'string').expression} USING utf8mb4), 256)"


def _cursor(settings: MysqlSettings, columns: Sequence[Column], declared: dict[str, Declared]) -> Place | None:
    if settings.cursor is None:
        return None
    found = next((each for each in columns if each.name == settings.cursor), None)
    if found is None:
        names = ", ".join(each.name for each in columns)
        raise _wrong("cursor", f"there is no column '{settings.cursor}'; there are {names}")
    place = declared[found.source]
    if found.kind not in (Kind.DATE, Kind.DATETIME) or found.type == pa.string():
        raise _wrong("cursor", f"column '{settings.cursor}' is {place.column_type}, and no timestamp or date")
    return Place(place)


def _fallback(settings: MysqlSettings, cursor: Place | None, declared: dict[str, Declared]) -> Place | None:
    """The column that places rows whose cursor is NULL."""
    name = settings.cursor_fallback
    if name is None or cursor is None:
        return None
    if name not in declared:
        raise _wrong("cursor_fallback", f"there is no column '{name}'; there are {_listed(declared)}")
    other = declared[name]
    if other.data_type != cursor.column.data_type or other.datetime_precision != cursor.column.datetime_precision:
        raise _wrong(
            "cursor_fallback", f"column '{name}' is {other.column_type}, the cursor {cursor.column.column_type}"
        )
    if not cursor.column.nullable:
        raise _wrong(
            "cursor_fallback", f"column '{cursor.column.name}' is NOT NULL, so that nothing stands for it"
        )
    return Place(other)


def _own_key(settings: MysqlSettings, relation: Relation, columns: Sequence[Column]) -> tuple[str, ...]:
    """The relation's key under the contract's names; nothing if a part of it is not read as it is."""
    hidden = {*settings.columns.hash, *settings.columns.mask}
    names = {each.source: each.name for each in columns if each.source not in hidden}
    return tuple(names[part] for part in relation.key) if all(part in names for part in relation.key) else ()


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _wrong(setting: str, message: str) -> ConfigurationError:
    path = f"source_system.{setting}"
    return ConfigurationError(message, hint=f"Correct {path}.", code=setting.rpartition(".")[2], path=path)
