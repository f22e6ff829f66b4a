"""Values bound to `?`: text on the wire, Python values for DuckDB."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from tests.snowflake.server.model import SnowflakeError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def values(bindings: dict[str, Any]) -> tuple[tuple[Any, ...], list[tuple[Any, ...]] | None]:
    """The values of one execution, or the rows of them that `executemany` sent."""
    ordered = [bindings[str(place)] for place in range(1, len(bindings) + 1)]
    if any(isinstance(one["value"], list) for one in ordered):
        columns = [[value(one["type"], each) for each in one["value"]] for one in ordered]
        return (), list(zip(*columns, strict=True))
    return tuple(value(one["type"], one["value"]) for one in ordered), None


def value(kind: str, text: str | None) -> Any:
    return None if text is None else READ.get(kind, str)(text)


def _number(text: str) -> int | Decimal:
    return int(text) if text.lstrip("+-").isdigit() else Decimal(text)


def _date(text: str) -> date:
    return (EPOCH + timedelta(milliseconds=int(text))).date()


def _time(text: str) -> time:
    return (EPOCH + timedelta(microseconds=int(text) // 1000)).time()


def _instant(text: str) -> datetime:
    """Nanoseconds since 1970; an offset behind (minutes plus 1440) does not change the instant."""
    try:
        return EPOCH + timedelta(microseconds=int(text.split(maxsplit=1)[0]) // 1000)
    except OverflowError as error:
        raise SnowflakeError("100040", "22007", f"Timestamp '{text}' is out of range") from error


READ: dict[str, Callable[[str], Any]] = {
    "FIXED": _number,
    "REAL": float,
    "BOOLEAN": lambda text: text.lower() in ("true", "1"),
    "BINARY": bytes.fromhex,
    "DATE": _date,
    "TIME": _time,
    "TIMESTAMP_NTZ": lambda text: _instant(text).replace(tzinfo=None),
    "TIMESTAMP_LTZ": _instant,
    "TIMESTAMP_TZ": _instant,
}
