"""What becomes of values that their columns cannot hold, by the policy of each column (M-14)."""

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from connectors.policies import QUARANTINED, BadValue, settle
from state.errors import ContractError

AT = datetime(2013, 1, 1, tzinfo=UTC)
BATCH = pa.record_batch(
    {
        "id": pa.array([7, 8, 9], pa.int64()),
        "at": pa.array([AT, AT, None], pa.timestamp("us", "UTC")),
        "day": pa.array([None, None, None], pa.date32()),
        "note": pa.array(["a", "0000", "c"], pa.string()),
    }
)
ZERO = BadValue(1, "day", "0000-00-00", "no such day")


def settled(bad, cursor="at", batch=BATCH, **policies):
    def where(row):
        return f"the row with id={row + 7}"

    return settle(batch, bad, policies, where, lambda row: f'{{"id":{row + 7}}}', cursor=cursor)


def test_nothing_bad_leaves_the_batch_as_it_is():
    got = settled([])
    assert got.batch is BATCH
    assert (got.touched, got.quarantined) == ({}, None)


@pytest.mark.parametrize("policies", [{}, {"day": "error"}, {"note": "null"}])
def test_by_default_a_value_that_does_not_fit_is_an_error_that_names_row_column_value_and_remedy(policies):
    with pytest.raises(ContractError) as caught:
        settled([ZERO], **policies)
    assert caught.value.message == (
        "the row with id=8: column 'day' (date32[day]) cannot hold 0000-00-00: no such day"
    )
    assert "`on_bad_value`" in caught.value.hint
    assert caught.value.code == "bad_value"


def test_the_first_row_is_named_and_a_long_value_is_shown_bounded():
    with pytest.raises(ContractError) as caught:
        settled([ZERO, BadValue(0, "day", "x" * 200, "no date")])
    assert caught.value.message.startswith("the row with id=7: ")
    assert "x" * 80 + "… (200 characters): no date" in caught.value.message


def test_null_and_text_stay_in_the_batch_and_are_counted_by_column():
    bad = [ZERO, BadValue(2, "day", "31.2.", "no such day"), BadValue(1, "note", "0000", "no year")]
    got = settled(bad, day="null", note="text")
    assert got.batch.equals(BATCH)
    assert (got.touched, got.quarantined) == ({"day": 2, "note": 1}, None)


def test_a_row_with_a_value_to_quarantine_leaves_the_batch_with_its_reason_and_is_counted_nowhere_else():
    bad = [BadValue(1, "note", "0000", "no year"), ZERO, BadValue(2, "note", "c", "no year")]
    got = settled(bad, day="quarantine", note="null")
    assert got.batch.column("id").to_pylist() == [7, 9]
    assert got.touched == {"note": 1}
    assert got.quarantined.schema.equals(QUARANTINED, check_metadata=True)
    assert got.quarantined.to_pylist() == [
        {
            "bad_column": "day; note",
            "reason": "no such day; no year",
            "bad_value": "0000-00-00; 0000",
            "row_text": '{"id":8}',
            "row_cursor": AT,
        }
    ]


def test_an_error_goes_before_a_quarantine_of_the_same_row():
    with pytest.raises(ContractError, match="column 'note'"):
        settled([ZERO, BadValue(1, "note", "0000", "no year")], day="quarantine")


def test_a_cursor_that_is_bad_itself_is_null_and_text_that_utf8_cannot_carry_is_escaped():
    got = settled([BadValue(2, "at", "\udcff", "no date")], at="quarantine")
    [row] = got.quarantined.to_pylist()
    assert (row["row_cursor"], row["bad_value"]) == (None, "\\udcff")


@pytest.mark.parametrize(
    ("type_", "count", "expected"),
    [
        (pa.timestamp("ns", "UTC"), -1, datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
        (pa.timestamp("ms"), 1500, datetime(1970, 1, 1, 0, 0, 1, 500000, tzinfo=UTC)),
        (pa.date32(), 1, datetime(1970, 1, 2, tzinfo=UTC)),
    ],
)
def test_the_cursor_of_a_row_is_kept_to_the_microsecond_below_in_any_unit(type_, count, expected):
    cursor = pa.array([count], pa.int32() if pa.types.is_date32(type_) else pa.int64()).cast(type_)
    batch = pa.record_batch({"at": cursor, "n": pa.array([None], pa.int64())})
    got = settled([BadValue(0, "n", "x", "no number")], batch=batch, n="quarantine")
    assert got.quarantined["row_cursor"].to_pylist() == [expected]
