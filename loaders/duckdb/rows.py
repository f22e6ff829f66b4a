"""SQL about rows: the newest per key, and which of two is newer. Shared by merge and counts.

`s` is a row of the stage, `t` one of the target. A row's order is `(version NULLS FIRST, _sluiceway_read_at)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from loaders.columns import FILE, ROW, Needs, named
from loaders.duckdb.names import quoted
from loaders.duckdb.types import ZONED
from loaders.row_order import RowOrder
from state.contract import READ_AT

R = quoted(READ_AT)


@dataclass(frozen=True)
class RowRules(RowOrder):
    """In DuckDB."""

    read_at = READ_AT

    @staticmethod
    def quoted(name: str) -> str:
        return quoted(name)

    @property
    def keys(self) -> str:
        return ", ".join(quoted(name) for name in self.key)

    @property
    def compared(self) -> list[str]:
        """The source's columns among `ordering` and `match`, each once."""
        columns = [*self.key, *named(self.version), *named(self.cursor)]
        return list({name.lower(): name for name in columns}.values())

    def newest(self, stage: str, values: Mapping[str, str]) -> str:
        """A query: the stage's newest row per key, as target column → value, with `_sluiceway_read_at`."""
        order = [quoted(READ_AT), quoted(FILE), quoted(ROW)]
        if self.version is not None:
            order.insert(0, quoted(self.version))
        ordered = ", ".join(f"{name} DESC NULLS LAST" for name in order)
        shown = [f"{value} AS {quoted(name)}" for name, value in values.items()]
        return (
            f"SELECT {', '.join([*shown, R])} FROM {stage}"
            f" QUALIFY row_number() OVER (PARTITION BY {self.keys} ORDER BY {ordered}) = 1"
        )


def rules(needs: Needs, *, cursor_immutable: bool) -> RowRules:
    """The rules that the settings ask for."""
    return RowRules(needs.keys, needs.version_column, needs.cursor_column, cursor_immutable)


def within_window(cursor: str, kind: str) -> str:
    """SQL that is true if `cursor`, of type `kind`, lies in a half-open window; two parameters, start and end.

    The window is brought to the column's type and not the other way round: a cast from nanoseconds rounds.
    """
    cursor, bound = comparable(cursor, kind)
    return f"{cursor} >= {bound} AND {cursor} < {bound}"


def earlier(column: str, kind: str) -> str:
    """SQL that is true if `column`, of type `kind`, lies before an instant, its one parameter; a date is over when
    its day is."""
    if kind == "DATE":
        return f"{column} < CAST(CAST(? AS TIMESTAMP) AS DATE)"
    column, bound = comparable(column, kind)
    return f"{column} < {bound}"


def comparable(column: str, kind: str) -> tuple[str, str]:
    """A column of type `kind`, and a parameter that is an instant, so that the two can be compared."""
    if kind == "TIMESTAMP_NS":
        return column, "CAST(CAST(? AS TIMESTAMP) AS TIMESTAMP_NS)"
    if kind == ZONED:
        return column, "?"
    return f"CAST({column} AS TIMESTAMP)", "CAST(? AS TIMESTAMP)"
