"""Values on their way to and from Snowflake, exact in both directions.

The driver computes a bound timestamp with a float, which loses microseconds from the year 2242 on, and gives back
its own classes of time zone and `bytearray`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

EPOCH = datetime(1970, 1, 1)
MICROSECOND = timedelta(microseconds=1)


def bound(value: Any) -> Any:
    """`value` as the driver is to bind it.

    A `datetime` becomes a timestamp without zone, an aware one of its UTC time: the session's zone is UTC.
    """
    if isinstance(value, datetime):
        naive = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        return ("TIMESTAMP_NTZ", str((naive - EPOCH) // MICROSECOND * 1_000))
    if isinstance(value, Decimal) and value.is_finite():
        return ("FIXED", f"{value:f}")
    return value


def read(value: Any) -> Any:
    """A value of the driver as a plain one of Python: aware timestamps in UTC, `bytes`."""
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC)
    if isinstance(value, bytearray):
        return bytes(value)
    return value
