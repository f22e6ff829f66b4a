"""Times as people write them: ISO 8601 instants with a zone, widths, zone names. All raise ValueError."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from state.windows import parse_width

FIRST, LAST = datetime(1700, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
"""Years that are taken for meant; both are inside the range of nanosecond timestamps."""


def instant(value: object) -> datetime:
    """The UTC instant of an ISO 8601 text with a zone, `2025-11-15T10:00:00Z`."""
    if not isinstance(value, str | datetime):
        raise ValueError("an instant is written in ISO 8601 with its zone, as 2025-11-15T10:00:00Z")
    try:
        at = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{value!r} is no ISO 8601 instant, as 2025-11-15T10:00:00Z") from None
    if at.tzinfo is None:
        raise ValueError(f"{at.isoformat()} has no zone: add Z for UTC, or an offset as +01:00")
    try:
        at = at.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{at.isoformat()} is out of range") from None
    if not FIRST <= at <= LAST:
        raise ValueError(f"{at.isoformat()} is not between the years 1700 and 2200")
    return at


def at_most_a_year(width: str) -> str:
    """`width` if it is one that windows can have."""
    parsed = parse_width(width)
    if isinstance(parsed, timedelta) and parsed > timedelta(days=366):
        raise ValueError(f"width {width!r} is longer than a year")
    return width


def retention(text: str) -> timedelta:
    """How long rows stay: a fixed span, at most 200 years."""
    try:
        parsed = parse_width(text)
    except ValueError:
        parsed = None
    if not isinstance(parsed, timedelta):
        raise ValueError(f"{text!r} is not like 90d or 36h")
    if parsed > timedelta(days=200 * 366):
        raise ValueError(f"{text!r} is longer than 200 years")
    return parsed


def is_retention(text: str) -> str:
    """`text` if it is a span that rows can stay."""
    retention(text)
    return text


def zone_name(name: str) -> str:
    """`name` if it is a zone of the IANA database."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{name!r} is no time zone by its IANA name, as UTC or Europe/Berlin") from None
    return name
