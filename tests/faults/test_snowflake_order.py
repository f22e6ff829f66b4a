"""Of rows of one key, one version and one look the same is taken each time (§12.1, 39; F-15), by the very SQL.

The stage table is filled a hundred times with the same rows in another order; what the merge's query takes of them
is compared. A column that is left out of its ORDER BY is noticed.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

import pytest
import snowflake.connector

from loaders.base import Mode
from loaders.columns import Needs
from loaders.snowflake.rows import rules
from loaders.snowflake.settings import NameRule
from tests.snowflake.running import Place

RESOLUTIONS = 100
COLUMNS = '("ID", "VERSION", "VALUE", "_SLUICEWAY_READ_AT", "_SLUICEWAY_FILE", "_SLUICEWAY_ROW")'
KINDS = (
    '("ID" VARCHAR, "VERSION" NUMBER(38,0), "VALUE" NUMBER(38,0), "_SLUICEWAY_READ_AT" TIMESTAMP_LTZ,'
    ' "_SLUICEWAY_FILE" VARCHAR, "_SLUICEWAY_ROW" NUMBER(38,0))'
)
LOOKS = ("2025-11-15 10:00:00+00:00", "2025-11-15 11:00:00+00:00")

Row = tuple[str, int | None, int, str, str, int]

NEWEST = rules(Needs(Mode.MERGE, ("id",), "version", "at"), NameRule.UPPER, cursor_immutable=False).newest(
    "S", {"ID": 'r."ID"', "VALUE": 'r."VALUE"'}
)
ORDER = {
    "version": 'r."VERSION" DESC NULLS LAST, ',
    "look": 'r."_SLUICEWAY_READ_AT" DESC NULLS LAST, ',
    "file": 'r."_SLUICEWAY_FILE" DESC NULLS LAST, ',
    "row": ', r."_SLUICEWAY_ROW" DESC NULLS LAST',
}
"""What the query sorts by, as it stands there."""


def staged() -> list[Row]:
    """Of each key rows that differ in one more thing: row, file, look, version. The last of all is to be taken."""
    found: list[Row] = []
    for key in range(3):
        versions = (None, 1, 2)[: key + 1]
        each = list(itertools.product(versions, LOOKS, "ab", (1, 2)))
        found += [(f"k{key}", version, n, look, file, row) for n, (version, look, file, row) in enumerate(each)]
    return found


EXPECTED = sorted({key: value for key, _, value, *_ in staged()}.items())


@pytest.fixture
def cursor(place: Place) -> Iterator[Any]:
    parameters = {"TIMEZONE": "UTC"}
    with (
        snowflake.connector.connect(**place.connection, session_parameters=parameters) as connection,
        connection.cursor() as made,
    ):
        yield made


def resolutions(cursor: Any, query: str) -> Iterator[list[tuple[str, int]]]:
    """What the query takes of the staged rows, in a hundred orders of theirs."""
    dice = random.Random(39)
    for _ in range(RESOLUTIONS):
        rows = staged()
        dice.shuffle(rows)
        values = ", ".join(str(row).replace("None", "NULL") for row in rows)
        cursor.execute(f"CREATE OR REPLACE TRANSIENT TABLE S {KINDS}")
        cursor.execute(f"INSERT INTO S {COLUMNS} VALUES {values}")
        cursor.execute(f'SELECT "ID", "VALUE" FROM ({query}) ORDER BY 1')
        yield cursor.fetchall()


def test_39_equal_versions_resolve_the_same_way_a_hundred_times_f15(cursor: Any):
    assert list(resolutions(cursor, NEWEST)) == [EXPECTED] * RESOLUTIONS


@pytest.mark.parametrize("left_out", ORDER)
def test_39_a_query_that_sorts_by_less_is_noticed_f15(cursor: Any, left_out: str):
    mutant = NEWEST.replace(ORDER[left_out], "")
    assert mutant != NEWEST
    assert any(found != EXPECTED for found in resolutions(cursor, mutant))
