"""How numbers, spans of time and marks are written on the page."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from service.ledger import Fate
from state.model import show_instant

UNITS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


class Mark(msgspec.Struct, frozen=True):
    """How a window looks: never by its colour alone. `sign` is seen, `says` explains it in the legend."""

    sign: str
    says: str


MARKS: Mapping[Fate, Mark] = {
    Fate.LOADED: Mark("", "loaded; darker: more"),
    Fate.RUNNING: Mark("▸", "under way"),
    Fate.PENDING: Mark("·", "waits for its turn"),
    Fate.FAILED: Mark("!", "failed, is tried again"),
    Fate.QUARANTINED: Mark("Q", "quarantined: an operator decides"),
    Fate.SKIPPED: Mark("–", "skipped by a user function"),
    Fate.MISSING: Mark("", "no run yet"),
}
UNPROVEN_SIGN = "~"
"""On a loaded window whose proof is not `PASSED`."""


def instant(at: datetime | None) -> str:
    """To the second, as everywhere else."""
    return "-" if at is None else show_instant(at.replace(microsecond=0))


def duration(span: timedelta | float | None) -> str:
    """In the two largest units: `2 d 4 h`, `3 min 20 s`, `0.4 s`."""
    if span is None:
        return "-"
    seconds = span.total_seconds() if isinstance(span, timedelta) else span
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s".replace(".0 ", " ")
    rest, parts = round(seconds), list[str]()
    for size, unit in UNITS:
        if rest >= size and len(parts) < 2:
            parts.append(f"{rest // size} {unit}")
        elif parts:  # the second unit is the next smaller one or none
            break
        rest %= size
    return " ".join(parts)


def counted(number: int, one: str, many: str = "") -> str:
    """`1 window`, `2 windows`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def size(number: int) -> str:
    """Bytes in the largest unit that leaves a whole number before the point."""
    value, units = float(number), ["bytes", "KiB", "MiB", "GiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return f"{value:,.0f} {units[0]}" if units[0] == "bytes" else f"{value:,.1f} {units[0]}"


def plain(name: str) -> str:
    """A name of the code as people read it: `rows_read` as `rows read`."""
    return name.replace("_", " ")
