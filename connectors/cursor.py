"""Arithmetic on cursor columns: which values a span holds, exactly, in any unit of time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from state.model import Window, show_instant

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
LEAST, MOST = -(2**63), 2**63 - 1

PER_UNIT: Mapping[str, tuple[int, int]] = {
    "s": (1_000_000, 1),
    "ms": (1_000, 1),
    "us": (1, 1),
    "ns": (1, 1_000),
}
"""Unit → microseconds as a fraction: one second is 1,000,000 / 1 of them, one nanosecond 1 / 1,000."""
DAY = (86_400_000_000, 1)


def is_time(type_: pa.DataType) -> bool:
    """True for a type that windows can be cut by."""
    return bool(pa.types.is_timestamp(type_) or pa.types.is_date32(type_))


def micros(at: datetime) -> int:
    """Microseconds since 1970."""
    return (at - EPOCH) // MICROSECOND


def counts_of(values: pa.Array) -> pa.Array:
    """A cursor column as int64 counts of its unit since 1970; NULL stays NULL."""
    return values.cast(pa.int32()).cast(pa.int64()) if pa.types.is_date32(values.type) else values.cast(pa.int64())


def instants(values: pa.Array) -> pa.Array:
    """A cursor column as UTC timestamps of microseconds, rounded down; NULL stays NULL. The values are those of a
    span, so that each is an instant that a timestamp has."""
    up, down = _scale(values.type)
    counts = counts_of(values)
    whole = pc.multiply(counts, up) if down == 1 else _floored(counts, down)
    return whole.cast(pa.timestamp("us", "UTC"))


def bounds(type_: pa.DataType, span: Window) -> tuple[int, int]:
    """`span` in the column's own unit: it holds the counts with `first <= count < beyond`."""
    up, down = _scale(type_)
    first, beyond = (-(-micros(edge) * down // up) for edge in (span.start, span.end))
    return _clamped(first), _clamped(beyond)


def held(type_: pa.DataType, counts: pa.Array, span: Window) -> pa.Array:
    """A mask of the counts that `span` holds; NULL where the cursor is."""
    first, beyond = bounds(type_, span)
    return pc.and_(pc.greater_equal(counts, first), pc.less(counts, beyond))


def offsets(type_: pa.DataType, counts: pa.Array, span: Window) -> pa.Array:
    """For the counts that `span` holds: whole microseconds since its start."""
    inside = counts.filter(held(type_, counts, span))
    up, down = _scale(type_)
    whole = pc.multiply(inside, up) if down == 1 else _floored(inside, down)
    return pc.subtract(whole, micros(span.start))


def _floored(counts: pa.Array, down: int) -> pa.Array:
    """Counts divided, rounded down also before 1970."""
    cut = pc.divide(counts, down)
    return pc.subtract(cut, pc.greater(pc.multiply(cut, down), counts).cast(pa.int64()))


def _scale(type_: pa.DataType) -> tuple[int, int]:
    return DAY if pa.types.is_date32(type_) else PER_UNIT[type_.unit]


def _clamped(count: int) -> int:
    return max(LEAST, min(MOST, count))


@dataclass(frozen=True)
class Extent:
    """What a file's cursor column holds: rows, NULLs, first and last count (None without a value)."""

    type: pa.DataType
    rows: int = 0
    nulls: int = 0
    first: int | None = None
    last: int | None = None

    def with_counts(self, counts: pa.Array) -> Extent:
        """This extent and more of the column."""
        low, high = (pc.min_max(counts)[end].as_py() for end in ("min", "max"))
        firsts = [count for count in (self.first, low) if count is not None]
        lasts = [count for count in (self.last, high) if count is not None]
        return Extent(
            self.type,
            self.rows + len(counts),
            self.nulls + counts.null_count,
            min(firsts, default=None),
            max(lasts, default=None),
        )

    def meets(self, span: Window) -> bool:
        """True if a value may lie in `span`."""
        first, beyond = bounds(self.type, span)
        return self.first is not None and self.last is not None and self.first < beyond and first <= self.last

    def edges(self) -> list[str]:
        """The first and the last value as ISO 8601 text in UTC, to the microsecond; none if there is no value."""
        return [show_count(self.type, count) for count in (self.first, self.last) if count is not None]


def show_count(type_: pa.DataType, count: int) -> str:
    """A cursor value as text; years that a calendar of four digits does not have are given as a count."""
    up, down = _scale(type_)
    try:
        return show_instant(EPOCH + count * up // down * MICROSECOND)
    except OverflowError:
        return f"{count} {type_} since 1970"
