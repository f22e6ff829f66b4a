"""The merge's transaction in Snowflake against a scripted session: what is sent, in which order."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from loaders.base import Mode
from loaders.columns import Needs
from loaders.snowflake.merge import Merge, answered
from loaders.snowflake.names import names
from loaders.snowflake.rows import rules
from loaders.snowflake.settings import NameRule, SnowflakeStage, SnowflakeTarget
from loaders.snowflake.work import Work
from state.contract import Contract
from state.errors import LeaseLost, RestartAttempt, TransientError, UnknownOutcome
from state.model import Attempt, Manifest, RunId, Window
from state.port import direct

TARGET = SnowflakeTarget(type="snowflake", table="db.s.events", key=("id",))
NAMES = names(TARGET, SnowflakeStage(stage="db.s.landing"))
MADE = datetime(2025, 1, 1, tzinfo=UTC)
IDENTITY = MADE.isoformat(timespec="microseconds")
RUN = RunId("d", "p", Window(datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 1, 2, tzinfo=UTC)), 1)
CONTRACT = Contract(pa.schema([("id", pa.string()), ("at", pa.timestamp("us", "UTC"))]), "at", ("id",))
COLUMNS = {
    "ID": ("TEXT", None),
    "AT": ("TIMESTAMP_LTZ", 9),
    "_SLUICEWAY_RUN": ("TEXT", None),
    "_SLUICEWAY_READ_AT": ("TIMESTAMP_LTZ", 9),
    "_SLUICEWAY_LOADED_AT": ("TIMESTAMP_LTZ", 9),
}


class Scripted:
    """Answers as Snowflake does where one new row is staged, and keeps what it was sent. `replies`: others."""

    def __init__(self, **replies):
        self.sent = []
        told = {"claim": None, "receipt": 1, "fence": 1, "merged": (1, 0), "commit": None, "stored": 1}
        self.replies = {**told, **replies}

    async def rows(self, sql, *_values):
        self.sent.append(sql.split("(")[0].split()[0])
        if sql.startswith("SELECT (SELECT MAX(TOKEN)"):
            return [(self.replies["claim"], None)]
        if "INFORMATION_SCHEMA" in sql:
            table = [
                ("BASE TABLE", MADE, name, kind, None, None, digits, place)
                for place, (name, (kind, digits)) in enumerate(COLUMNS.items())
            ]
            return [*table, ("other 0", *[None] * 7)]
        if " LEFT JOIN " in sql:
            return [(1, 0, 0, 0, 0, 0)]
        if sql.startswith("SELECT (SELECT COUNT(*)"):
            return [(1, 1, 1, 0, 0)]
        if sql == "COMMIT" and self.replies["commit"]:
            raise self.replies["commit"]
        return []

    async def count(self, sql, *_values):
        self.sent.append(sql.split()[0])
        return self.replies[{"UPDATE": "fence", "INSERT": "receipt", "SELECT": "stored"}[sql.split()[0]]]

    async def records(self, sql, *_values):
        self.sent.append(sql.split()[0])
        inserted, updated = self.replies["merged"]
        return [{"number of rows inserted": inserted, "number of rows updated": updated}]


def merge(session):
    """One merge of a staged row in that session."""
    needs = Needs(Mode.MERGE, ("id",), "read_at", "at")
    work = Work(session, TARGET, NAMES, rules(needs, NameRule.UPPER, cursor_immutable=False), "p", direct)
    attempt = Attempt(RUN, "p_run1", 3)
    return asyncio.run(Merge(work, attempt, Manifest(), CONTRACT, NAMES.stage_of(attempt), IDENTITY).receipt())


def test_the_lock_is_taken_first_and_the_receipt_goes_last_g3():
    session = Scripted()
    receipt = merge(session)
    assert session.sent == ["BEGIN", "UPDATE", *["SELECT"] * 4, "MERGE", "INSERT", "COMMIT", "SELECT"]
    assert (receipt.token, receipt.counts.inserted, receipt.target_identity) == (3, 1, IDENTITY)


@pytest.mark.parametrize(
    ("replies", "error", "last"),
    [
        ({"claim": 4}, LeaseLost, "SELECT"),
        ({"fence": 0}, RestartAttempt, "UPDATE"),
        ({"merged": (0, 1)}, RestartAttempt, "MERGE"),
        ({"merged": (1, 1)}, RestartAttempt, "MERGE"),
        ({"receipt": 0}, RestartAttempt, "INSERT"),
    ],
)
def test_nothing_is_committed_that_may_not_be(replies, error, last):
    """A higher token, no fence, a MERGE that did other than was counted, and a target that is another one when the
    receipt is written (F-22)."""
    session = Scripted(**replies)
    with pytest.raises(error):
        merge(session)
    assert session.sent[-1] == last


def test_whatever_hides_the_answer_to_commit_leaves_it_unknown_g4():
    session = Scripted(commit=TransientError("the connection was cut", code="x"))
    with pytest.raises(UnknownOutcome, match="the connection was cut"):
        merge(session)


def test_a_commit_that_committed_nothing_is_told_so_and_nothing_is_taken_for_merged_g2():
    session = Scripted(stored=0)
    with pytest.raises(TransientError, match="ended the transaction"):
        merge(session)
    assert session.sent[-2:] == ["COMMIT", "SELECT"]


async def test_what_never_was_sent_is_not_unknown():
    def port(_name):
        raise TransientError("before it was sent")

    with pytest.raises(TransientError, match="before it was sent"):
        async with answered(port, "loader.merge.commit"):
            raise AssertionError("not reached")
