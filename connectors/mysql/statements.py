"""The SQL that a source is asked. Names are quoted, instants are literals of the cursor's own type.

A cursor of whole seconds is compared with whole seconds: both edges of a span are rounded up to its unit, which
selects the same rows and keeps the index usable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from connectors.mysql.columns import Column, Declared, quoted
from state.model import Window

LEAST = datetime(1, 1, 1, tzinfo=UTC)
"""What lies before is no day: 0000-00-00 and its kin."""
LAST = datetime.max.replace(tzinfo=UTC)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Place:
    """A column that rows are placed in time by."""

    column: Declared

    @property
    def unit(self) -> timedelta:
        """The finest difference that the column can hold."""
        if self.column.data_type == "date":
            return DAY
        return timedelta(microseconds=10 ** (6 - (self.column.datetime_precision or 0)))

    @property
    def name(self) -> str:
        return quoted(self.column.name)

    def literal(self, at: datetime) -> str:
        """The first value of the column that is not before `at`."""
        try:
            at = LEAST - (LEAST - at) // self.unit * self.unit
        except OverflowError:  # beyond the last value of the column
            return f"TIMESTAMP'{_text(LAST)}'"
        return f"DATE'{at.date().isoformat()}'" if self.unit == DAY else f"TIMESTAMP'{_text(at)}'"

    def within(self, span: Window) -> str:
        """The condition of the rows that `span` holds."""
        return f"({self.name} >= {self.literal(span.start)} AND {self.name} < {self.literal(span.end)})"

    def is_absent(self) -> str:
        """The condition of rows that no span holds."""
        return f"({self.name} IS NULL OR {self.is_zero()})" if self.column.nullable else self.is_zero()

    def is_zero(self) -> str:
        """The condition of values that are no day."""
        return f"{self.name} < {self.literal(LEAST)}"


def _text(at: datetime) -> str:
    return at.replace(tzinfo=None).isoformat(" ", "microseconds")


@dataclass(frozen=True)
class Statements:
    """What one relation is asked. `fallback` places rows whose cursor is NULL; `where` is SQL for each row.

    A span of None is the whole relation; without a cursor there is no other.
    """

    relation: str
    columns: Sequence[Column]
    placed_by: Place | None
    fallback: Place | None = None
    where: str | None = None

    def rows(self, span: Window | None) -> str:
        """The rows of `span`."""
        return f"SELECT {', '.join(column.selected for column in self.columns)} {self._from(self._within(span))}"

    def count(self, span: Window | None) -> str:
        """How many there are."""
        return f"SELECT COUNT(*) {self._from(self._within(span))}"

    def cells(self, span: Window, width: int) -> str:
        """Rows by cell: its number counted from the span's start, each `width` microseconds wide."""
        since = f"TIMESTAMPDIFF(MICROSECOND, TIMESTAMP'{_text(span.start)}', {self.placed}) DIV {width}"
        return f"SELECT {since}, COUNT(*) {self._from(self._within(span))} GROUP BY 1"

    def row_at(self, span: Window, number: int) -> str:
        """The instant of the row of this number, counted from 0 in the order of the cursor's index."""
        order = f"ORDER BY {self.cursor.name} LIMIT 1 OFFSET {number}"
        return f"SELECT {self.cursor.name} {self._from(self._within(span))} {order}"

    def absent(self) -> str:
        """How many rows no span holds."""
        return f"SELECT COUNT(*) {self._from(self._absent())}"

    @property
    def cursor(self) -> Place:
        """The cursor. Raises ValueError if there is none: such a relation is only asked for whole."""
        if self.placed_by is None:
            raise ValueError("without a cursor there are no spans")
        return self.placed_by

    @property
    def placed(self) -> str:
        """The instant of a row; what the cursor's column of the contract is asked as."""
        return self.cursor.name if self.fallback is None else f"COALESCE({self.cursor.name}, {self.fallback.name})"

    def _within(self, span: Window | None) -> str:
        if span is None:
            return ""
        if self.fallback is None:
            return self.cursor.within(span)
        return f"({self.cursor.within(span)} OR ({self.cursor.name} IS NULL AND {self.fallback.within(span)}))"

    def _absent(self) -> str:
        if self.fallback is None:
            return self.cursor.is_absent()
        return f"({self.cursor.is_zero()} OR ({self.cursor.name} IS NULL AND {self.fallback.is_absent()}))"

    def _from(self, condition: str) -> str:
        own = "" if self.where is None else f"(\n{self.where}\n)"  # a comment in it ends with its line
        both = " AND ".join(each for each in (condition, own) if each)
        return f"FROM {self.relation} WHERE {both}" if both else f"FROM {self.relation}"
