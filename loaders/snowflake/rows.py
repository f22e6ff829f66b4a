"""SQL about rows: the newest per key, and which of two is newer. Shared by merge and counts.

`s` is a row of the stage, `t` one of the target, `r` one of the stage table as it is. A row's order is
`(version NULLS FIRST, _sluiceway_read_at)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from loaders.columns import Needs, named
from loaders.row_order import RowOrder
from loaders.snowflake.names import FILE, ROW, R, spelled
from loaders.snowflake.settings import NameRule
from state.contract import READ_AT
from state.model import Window
from state.snowflake.names import quoted


@dataclass(frozen=True)
class RowRules(RowOrder):
    """In Snowflake."""

    read_at = READ_AT.upper()

    @staticmethod
    def quoted(name: str) -> str:
        return quoted(name)

    @property
    def keys(self) -> str:
        """The key's columns of the stage table."""
        return ", ".join(f"r.{quoted(name)}" for name in self.key)

    @property
    def compared(self) -> list[str]:
        """The source's columns among `ordering` and `match`, each once."""
        return list(dict.fromkeys([*self.key, *named(self.version), *named(self.cursor)]))

    def newest(self, stage: str, values: Mapping[str, str], *, distinct: bool = False) -> str:
        """A query: the newest row per key of `stage`, as target column → value over `r`, with
        `_sluiceway_read_at`. Total order: the same rows give the same one each time (F-15). `distinct`: no key is
        there twice, so that nothing has to be sorted."""
        order = [f"r.{R}", f"r.{FILE}", f"r.{ROW}"]
        if self.version is not None:
            order.insert(0, f"r.{quoted(self.version)}")
        ordered = ", ".join(f"{name} DESC NULLS LAST" for name in order)
        shown = [f"{value} AS {quoted(name)}" for name, value in values.items()]
        rows = f"SELECT {', '.join([*shown, f'r.{R} AS {R}'])} FROM {stage} r"
        if distinct:
            return rows
        return f"{rows} QUALIFY ROW_NUMBER() OVER (PARTITION BY {self.keys} ORDER BY {ordered}) = 1"


def rules(needs: Needs, rule: NameRule, *, cursor_immutable: bool) -> RowRules:
    """The rules that the settings ask for."""
    version, cursor = needs.version_column, needs.cursor_column
    return RowRules(
        tuple(spelled(name, rule) for name in needs.keys),
        None if version is None else spelled(version, rule),
        None if cursor is None else spelled(cursor, rule),
        cursor_immutable,
    )


def within_window(cursor: str, kind: str) -> str:
    """SQL that is true if `cursor`, of type `kind`, lies in a half-open window; two parameters, `instant` of
    each."""
    cursor, bound = comparable(cursor, kind)
    return f"{cursor} >= {bound} AND {cursor} < {bound}"


def in_window_of(cursor: str | None, kinds: Mapping[str, str], row: str = "") -> str:
    """SQL that is true for a row of a window, over a table with columns of these kinds; every row lies in it where
    there is no cursor. `row`: what comes before the column's name. Its parameters: `bounds_of`."""
    return "TRUE" if cursor is None else within_window(f"{row}{quoted(cursor)}", kinds[cursor])


def bounds_of(cursor: str | None, window: Window) -> tuple[str, ...]:
    """The parameters of `in_window_of`."""
    return () if cursor is None else (instant(window.start), instant(window.end))


def earlier(column: str, kind: str) -> str:
    """SQL that is true if `column`, of type `kind`, lies wholly before an instant, its one parameter; a date is
    over when its day is."""
    if kind == "DATE":
        return f"{column} < CAST({UTC_WALL} AS DATE)"
    column, bound = comparable(column, kind)
    return f"{column} < {bound}"


INSTANT = "CAST(? AS TIMESTAMP_LTZ)"
"""A parameter that `instant` made, as an instant."""
UTC_WALL = f"CAST({INSTANT} AS TIMESTAMP_NTZ)"
"""The same as a time without a zone: our sessions are in UTC."""


def comparable(column: str, kind: str) -> tuple[str, str]:
    """A column of type `kind`, and a parameter that is an instant, so that the two can be compared."""
    if kind.startswith(("TIMESTAMP_LTZ", "TIMESTAMP_TZ")):
        return column, INSTANT
    return f"CAST({column} AS TIMESTAMP_NTZ)", UTC_WALL


def instant(at: datetime) -> str:
    """An instant as a parameter: text with its offset, the same to every session and driver."""
    return at.astimezone(UTC).isoformat(" ", "microseconds")
