"""The demo's look from outside: what two tables have in common, whatever the order of their rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from service.demo.fingerprint import fingerprint
from service.demo.tables import HardValue

AT = datetime(2013, 1, 1, 10, tzinfo=UTC)


def table(**changed) -> pa.Table:
    columns = {
        "id": pa.array(["a", "b", "c"]),
        "late": pa.array([1, None, -3], pa.int64()),
        "tail": pa.array(["N1", "", None]),
        "at": pa.array([AT, AT, AT + timedelta(microseconds=1)], pa.timestamp("us", "UTC")),
    }
    return pa.table({**columns, **changed})


def test_the_order_of_rows_and_their_batches_mean_nothing():
    backwards = pa.concat_tables([table().slice(2, 1), table().slice(0, 2)])
    assert fingerprint(backwards, "id") == fingerprint(table(), "id")


def test_the_width_of_numbers_and_the_unit_of_instants_mean_nothing():
    narrow = table(
        late=pa.array([1, None, -3], pa.int32()),
        at=pa.array([AT, AT, AT + timedelta(microseconds=1)], pa.timestamp("ns", "UTC")),
    )
    assert fingerprint(narrow, "id").checksum == fingerprint(table(), "id").checksum


@pytest.mark.parametrize(
    "other",
    [
        table(late=pa.array([1, 0, -3], pa.int64())),
        table(tail=pa.array(["N1", None, None])),
        table(tail=pa.array(["N1", None, ""])),
        table(at=pa.array([AT, AT, AT], pa.timestamp("us", "UTC"))),
        table(id=pa.array(["a", "b", "d"])),
        table().slice(0, 2),
    ],
    ids=["null is not zero", "null is not empty", "values change places", "a microsecond", "a key", "a row less"],
)
def test_any_other_value_changes_the_checksum(other):
    assert fingerprint(other, "id").checksum != fingerprint(table(), "id").checksum


def test_a_row_that_is_there_twice_counts_twice_and_its_key_once():
    twice = fingerprint(pa.concat_tables([table(), table().slice(0, 1), table().slice(0, 1)]), "id")
    assert (twice.rows, twice.keys) == (5, 3)
    assert twice.checksum != fingerprint(table(), "id").checksum


def test_a_value_that_slips_into_its_neighbour_changes_the_checksum():
    one = pa.table({"id": ["ab"], "x": ["c"]})
    other = pa.table({"id": ["a"], "x": ["bc"]})
    assert fingerprint(one, "id").checksum != fingerprint(other, "id").checksum


@pytest.mark.parametrize(
    ("printed", "held", "settled", "right"),
    [
        ("🦅", "🦅", False, True),
        ("🦅", "?", False, False),
        ("🦅", None, False, False),
        ("0000-00-00", None, True, True),
        ("0000-00-00", "1970-01-01", True, False),
    ],
)
def test_a_value_is_right_if_it_is_the_same_or_null_by_its_policy(printed, held, settled, right):
    assert HardValue("c", printed, held, settled).is_right is right
