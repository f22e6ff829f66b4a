"""Values from files through whole runs into Snowflake: exact, or refused by name; which version wins (F-10, G-15).

Row 40 of reliability §12.1 is here, and the values that are lost elsewhere: 2^53+1, NaN, `\\N`, year 1 and 9999.
"""

from __future__ import annotations

import json
import math
import random
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from state.model import RunStatus, Window
from tests.lifecycle.snowflake_world import SnowflakeWorld, world_at
from tests.lifecycle.world import HOUR, START
from tests.snowflake.running import Place

NINES = Decimal("9" * 38)
FIRST, LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)

COLUMNS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "whole": (pa.int64(), [2**53 + 1, -(2**63), 2**63 - 1, 0, None]),
    "real": (pa.float64(), [math.nan, math.inf, -math.inf, 5e-324, None]),
    "text": (pa.string(), ["\\N", "", "NULL", "a\x00b\n\"'\\ Zo\u00eb \U0001f600", None]),
    "digits": (pa.decimal128(38, 0), [NINES, NINES.copy_negate(), Decimal(1), Decimal(0), None]),
    "fraction": (
        pa.decimal128(38, 37),
        [Decimal("0." + "1" * 37), Decimal("-9." + "9" * 37), Decimal(0), None, None],
    ),
    "instant": (pa.timestamp("us", tz="UTC"), [FIRST, LAST, START, datetime(1969, 12, 31, tzinfo=UTC), None]),
    "local": (pa.timestamp("us"), [FIRST.replace(tzinfo=None), LAST.replace(tzinfo=None), None, None, None]),
    "day": (pa.date32(), [date(1, 1, 1), date(9999, 12, 31), date(2024, 2, 29), None, None]),
    "flag": (pa.bool_(), [True, False, None, None, None]),
    "bytes": (pa.binary(), [b"\x00\xff", b"", b"\\N", None, None]),
}


def test_every_value_arrives_exact(place: Place, tmp_path: Path):
    world = world_at(place, tmp_path)
    keys = [f"k{n}" for n in range(5)]
    table = {"id": pa.array(keys), "at": pa.array([START] * 5, pa.timestamp("us", tz="UTC"))}
    table |= {"version": pa.array([1] * 5, pa.int64())}
    world.write(
        "day", pa.table(table | {name: pa.array(values, kind) for name, (kind, values) in COLUMNS.items()})
    )
    assert {run.status for run in world.run()} == {RunStatus.COMPLETED}
    names = ", ".join(f'"{name.upper()}"' for name in COLUMNS)
    found = world.query(f"SELECT {names} FROM events ORDER BY id")
    for place_of, (name, (_, values)) in enumerate(COLUMNS.items()):
        assert [shown(row[place_of]) for row in found] == [shown(value) for value in values], name


def shown(value: Any) -> Any:
    """A value for comparison: NaN equals itself, an instant is one in UTC, bytes are bytes."""
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC)
    return bytes(value) if isinstance(value, bytearray) else value


# JSON, from NDJSON: what is declared `json` is VARIANT in Snowflake.

JSON = {
    '{"a": 9007199254740993}': ("doc:a::NUMBER(38,0)", 2**53 + 1),
    '{"a": {"b": ["x", "\\\\N"]}}': ("doc:a:b[1]::VARCHAR", "\\N"),
    '{"a": ""}': ("doc:a::VARCHAR", ""),
    '{"a": null}': ("IS_NULL_VALUE(doc:a)", True),
    "[1, 2.5]": ("doc[1]::FLOAT", 2.5),
    '"text"': ("doc::VARCHAR", "text"),
    "12345678901234567890123456789012345678": ("doc::NUMBER(38,0)", 12345678901234567890123456789012345678),
}


def ndjson(world: SnowflakeWorld, values: list[str]) -> None:
    lines = [f'{{"id": "k{n}", "at": "{START.isoformat()}", "doc": {value}}}\n' for n, value in enumerate(values)]
    (world.root / "source").mkdir(exist_ok=True)
    (world.root / "source" / "day.ndjson").write_text("".join(lines))


def json_world(place: Place, root: Path) -> SnowflakeWorld:
    source = {
        "path": f"{root}/source/*.ndjson",
        "format": "ndjson",
        "types": {"id": "string", "at": "timestamp", "doc": "json"},
    }
    return world_at(place, root, {"source_system": source, "target_system": {"version": "read_at"}})


def test_json_is_a_variant_whose_paths_answer_exactly(place: Place, tmp_path: Path):
    world = json_world(place, tmp_path)
    ndjson(world, list(JSON))
    assert {run.status for run in world.run()} == {RunStatus.COMPLETED}
    for n, (asked, expected) in enumerate(JSON.values()):
        assert world.query(f"SELECT {asked} FROM events WHERE id = 'k{n}'") == [(expected,)], asked
    whole = [text for (text,) in world.query("SELECT TO_JSON(doc) FROM events ORDER BY id")]
    assert [json.loads(text) for text in whole] == [json.loads(value) for value in JSON]


@pytest.mark.parametrize("value", [r'{"a": "\ud83d"}', r'"\udc00"'])
def test_half_of_a_surrogate_pair_in_json_is_refused_and_named(place: Place, tmp_path: Path, value: str):
    world = json_world(place, tmp_path)
    ndjson(world, ['{"a": 1}', value])
    first, *_ = world.run()
    assert (first.status, first.failure.kind) == (RunStatus.FAILED, "contract")
    assert "surrogate" in first.failure.message
    assert "doc" in first.failure.message
    assert world.query("SELECT COUNT(*) FROM information_schema.tables WHERE table_name = 'EVENTS'") == [(1,)]


# Which version wins.


def rows(key: str, version: int | None, *values: float, at: datetime = START) -> pa.Table:
    """Rows of one key and version, in this order."""
    count = len(values)
    return pa.table(
        {
            "id": pa.array([key] * count),
            "at": pa.array([at] * count, pa.timestamp("us", tz="UTC")),
            "version": pa.array([version] * count, pa.int64()),
            "value": pa.array(values, pa.float64()),
        }
    )


def test_40_a_backfill_after_newer_loads_leaves_newer_rows_as_they_are_g15(place: Place, tmp_path: Path):
    world = world_at(place, tmp_path)
    later = START + HOUR
    world.write("1", pa.concat_tables([rows("a", 1, 1.0), rows("b", 1, 1.0), rows("c", None, 1.0)]))
    world.write("2", pa.concat_tables([rows("a", 2, 2.0, at=later), rows("c", 1, 2.0, at=later)]))
    world.run()
    world.write("1", pa.concat_tables([rows("a", 1, 9.0), rows("b", 2, 9.0), rows("c", None, 9.0)]))
    [run] = world.backfill(Window(START, START + HOUR))
    assert run.status is RunStatus.COMPLETED, run.failure
    assert world.query("SELECT id, version, value FROM events ORDER BY id") == [
        ("a", 2, 2.0),
        ("b", 2, 9.0),
        ("c", 1, 2.0),
    ]
    counts = run.receipt.counts
    assert (counts.inserted, counts.updated, counts.older) == (0, 1, 2)


@pytest.mark.parametrize("seed", [1, 2])
def test_equal_versions_resolve_the_same_way_a_hundred_times(place: Place, tmp_path: Path, seed: int):
    """A hundred keys, each four times in one version and one look: the last in the file wins, over all chunks."""
    order = [(f"k{key:02d}", float(copy)) for key in range(100) for copy in range(4)]
    random.Random(seed).shuffle(order)
    world = world_at(place, tmp_path, {"windows": {"width": "2h"}})
    world.write("day", pa.concat_tables([rows(key, 1, value) for key, value in order]))
    [run] = world.run()
    assert run.status is RunStatus.COMPLETED, run.failure
    assert len(run.manifest.chunks) >= 16
    assert dict(world.query("SELECT id, value FROM events")) == dict(order)
    assert (run.receipt.counts.duplicates, run.receipt.counts.inserted) == (300, 100)
    [again] = world.backfill()
    assert again.receipt.counts.unchanged == 100
    assert dict(world.query("SELECT id, value FROM events")) == dict(order)


def test_a_null_cursor_is_refused_by_name(place: Place, tmp_path: Path):
    world = world_at(place, tmp_path)
    world.write("day", rows("a", 1, 1.0).set_column(1, "at", pa.array([None], pa.timestamp("us", tz="UTC"))))
    runs = world.run()
    assert {run.status for run in runs} == {RunStatus.FAILED}
    assert "at" in runs[0].failure.message
