"""Columns that need a decision: types beyond what a target holds, JSON that is declared as text, zero dates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.mysql.catalog import Relation
from connectors.mysql.columns import FAMILY, Declared, column, quoted
from connectors.mysql.session import Session
from connectors.mysql.settings import MysqlSettings
from connectors.proposals import Setting
from state.errors import ConfigurationError

SAMPLE_ROWS = 10_000
"""Rows that are looked at for zero dates."""

CHECKS = """SELECT table_name, check_clause FROM information_schema.check_constraints
WHERE constraint_schema = %s AND table_name = %s"""


@dataclass(frozen=True)
class Decided:
    """`settings`: changes of `source_system.columns`. `shown`: the same as it is written, with reasons."""

    settings: Mapping[str, Any]
    shown: tuple[Setting, ...]
    notes: tuple[str, ...]


async def decided(session: Session, settings: MysqlSettings, relation: Relation, *, skip: str) -> Decided:
    """What to do with the columns of a table; `skip`: its cursor, which zero dates are no matter of here."""
    types, reasons = _types(relation, await _json(session, settings, relation))
    zero = await _zero_dates(session, relation, skip)
    policies = dict.fromkeys(zero, "null")
    for name, rows in zero.items():
        reasons.append(
            f"{name} has zero dates, {rows:,} of the first {SAMPLE_ROWS:,} rows: NULL, and counted (or text,"
            " quarantine, error)."
        )
    changed = {"types": types, "on_bad_value": policies}
    changed = {key: value for key, value in changed.items() if value}
    shown = (Setting("columns", changed, " ".join(reasons)),) if changed else ()
    return Decided(changed, shown, tuple(_notes(relation.columns)))


def _types(relation: Relation, json: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    types, reasons = {}, []
    for one in relation.columns:
        if one.name in json:
            types[one.name] = "json"
            reasons.append(f"{one.name} is declared as JSON, which is a checked text here.")
            continue
        try:
            column(one, one.name)
        except ConfigurationError as error:
            types[one.name] = "string"
            reasons.append(f"{error.message}: read as text.")
    return types, reasons


async def _json(session: Session, settings: MysqlSettings, relation: Relation) -> list[str]:
    """Columns that MariaDB was told are JSON: texts with a check."""
    if not session.is_mariadb:
        return []
    found = await session.rows("reading the checks of", CHECKS, settings.database, relation.name)
    clauses = {clause.strip().lower() for of, clause in found if of == relation.name}
    return [one.name for one in relation.columns if f"json_valid({quoted(one.name)})".lower() in clauses]


async def _zero_dates(session: Session, relation: Relation, skip: str) -> dict[str, int]:
    """Columns with days that are none in the first rows, and in how many."""
    dates = [one.name for one in relation.columns if FAMILY.get(one.data_type) in ("date", "datetime")]
    dates = [name for name in dates if name != skip and name not in relation.key]
    if not dates:
        return {}
    sums = ", ".join(f"COALESCE(SUM(MONTH({name}) = 0 OR DAY({name}) = 0), 0)" for name in map(quoted, dates))
    listed = ", ".join(map(quoted, dates))
    ask = f"SELECT {sums} FROM (SELECT {listed} FROM {relation.sql} LIMIT {SAMPLE_ROWS}) AS sample"
    [counts] = await session.rows("looking at dates of", ask)
    return {name: int(count) for name, count in zip(dates, counts, strict=True) if int(count)}


def _notes(columns: Sequence[Declared]) -> list[str]:
    """What may surprise, by kind of column."""
    unsigned = [one for one in columns if one.data_type == "bigint" and "unsigned" in one.column_type.lower()]
    kinds = {
        "TIME as text, as the server writes it (types: time, int64)": _of(columns, "time"),
        "BIGINT UNSIGNED as decimal(20,0)": [one.name for one in unsigned],
        "BIT as a number (types: boolean, binary)": _of(columns, "bit"),
        "Geometry as WKB (types: string)": _of(columns, "geometry"),
    }
    return [f"{what}: {', '.join(names)}." for what, names in kinds.items() if names]


def _of(columns: Sequence[Declared], family: str) -> list[str]:
    return [one.name for one in columns if FAMILY.get(one.data_type) == family]
