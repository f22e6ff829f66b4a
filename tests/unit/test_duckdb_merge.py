"""The one transaction of a merge in DuckDB: what is said in it, what breaks it, and what COMMIT may answer."""

from __future__ import annotations

import re

import duckdb
import pytest

from loaders.duckdb.file import Session
from loaders.duckdb.ledger import commit
from state.errors import ContractError, LeaseLost, RestartAttempt, TransientError, UnknownOutcome
from state.port import direct
from tests.contract.loader_desk import APPEND, HOUR, MINUTE, NEXT, SEEN, START, attempt, breaking, desk, rows
from tests.contract.loader_worlds import DuckDBPlace

DDL = re.compile(r"^\s*(CREATE|ALTER|DROP|TRUNCATE|COMMENT)\b", re.IGNORECASE)


@pytest.fixture
def said(monkeypatch) -> list[tuple[int, str]]:
    """Every statement that a loader sends, with the number of its session."""
    sessions, statements = [], []
    plain = {name: getattr(Session, name) for name in ("rows", "value")}

    def recording(name):
        def record(self, sql, *values):
            if not any(self is session for session in sessions):
                sessions.append(self)
            number = next(n for n, session in enumerate(sessions) if session is self)
            statements.append((number, sql))
            return plain[name](self, sql, *values)

        return record

    for name in plain:
        monkeypatch.setattr(Session, name, recording(name))
    return statements


@pytest.mark.parametrize("settings", [{}, APPEND])
async def test_no_ddl_in_a_transaction_and_one_session_for_a_merge_g3_g7(said, settings):
    async with desk(DuckDBPlace) as d:
        loader = d.loader(**settings)
        await d.load(loader, attempt(1), rows(("a", 1, 1)))
        await d.load(loader, attempt(2, number=2), rows(("a", 2, 2)))
        await loader.clean(attempt(2, number=2), (await d.put(loader, attempt(2, number=2))), None)
    inside, sessions, transactions = False, set(), 0
    for session, sql in said:
        if sql == "BEGIN":
            inside, sessions, transactions = True, set(), transactions + 1
        if inside:
            sessions.add(session)
            assert not DDL.match(sql), sql
        if sql in ("COMMIT", "ROLLBACK"):
            inside = False
            assert len(sessions) == 1
    assert transactions == 6  # two claims, two copies, two merges


async def test_the_fence_is_touched_before_anything_is_looked_up(said):
    async with desk(DuckDBPlace) as d:
        staged = await d.stage(d.loader(), attempt(1), rows(("a", 1, 1)))
        said.clear()
        await staged.merge()
    statements = [sql for _, sql in said]
    begin = statements.index("BEGIN")
    assert "__SLUICEWAY_FENCE" in statements[begin + 1]
    assert statements[-1] == "COMMIT"
    assert "INSERT INTO" in statements[-2]
    assert "SLUICEWAY_LOADS" in statements[-2]


async def test_a_key_that_the_target_holds_twice_is_refused():
    async with desk(DuckDBPlace) as d:
        staged = await d.stage(d.loader(), attempt(1), rows(("a", 2, 2), ("b", 1, 1)))
        for value in (1, 7):
            d.place.add_row({"id": "a", "at": START, "version": 1, "value": value})
        with pytest.raises(ContractError, match="1 keys") as caught:
            await staged.merge()
        assert caught.value.code == "duplicate_key"
        assert len(d.place.rows()) == 2


async def test_a_stage_table_that_is_gone_is_staged_again():
    async with desk(DuckDBPlace) as d:
        staged = await d.stage(d.loader(), attempt(1), rows(("a", 1, 1)))
        d.place.query(f'DROP TABLE "{staged.table}"')
        with pytest.raises(RestartAttempt):
            await staged.merge()
        await d.loader().raise_fence(attempt(2))
        with pytest.raises(LeaseLost):
            await staged.merge()


async def test_a_column_that_was_dropped_by_hand_is_named():
    async with desk(DuckDBPlace) as d:
        staged = await d.stage(d.loader(), attempt(1), rows(("a", 1, 1)))
        d.place.query("ALTER TABLE events DROP value")
        with pytest.raises(ContractError, match="value"):
            await staged.merge()


async def test_an_immutable_cursor_is_part_of_the_match():
    """Then DuckDB may skip what lies at other times; a wrong promise gives duplicates, as the setting says."""
    async with desk(DuckDBPlace) as d:
        loader = d.loader(cursor_immutable=True)
        await d.load(loader, attempt(1), rows(("a", 1, 1), ("b", 1, 1)))
        moved = rows(("a", 2, 2), ("b", 2, 2, START + HOUR))
        receipt = await d.load(loader, attempt(2, NEXT), (moved, SEEN + MINUTE))
        assert (receipt.counts.updated, receipt.counts.inserted) == (1, 1)
        assert sorted((row["id"], row["value"]) for row in d.place.rows()) == [("a", 2), ("b", 1), ("b", 2)]


async def test_a_composite_key_tells_rows_apart():
    async with desk(DuckDBPlace) as d:
        loader = d.loader(key=("id", "at"))
        both = rows(("a", 1, 1, START), ("a", 1, 2, START + MINUTE))
        assert (await d.load(loader, attempt(1), both)).counts.inserted == 2
        again = (rows(("a", 1, 3, START)), SEEN + MINUTE)
        assert (await d.load(loader, attempt(2, number=2), again)).counts.updated == 1


async def test_a_merge_beside_another_one_in_this_process_fails_at_once_and_is_tried_again():
    """The fence is one row: two transactions that touch it never both commit."""
    async with desk(DuckDBPlace) as d:
        mine, theirs = d.loader(), d.loader(pipeline="q")
        staged = await d.stage(mine, attempt(1), rows(("a", 1, 1)))
        other = await d.stage(theirs, attempt(1, pipeline="q"), rows(("b", 1, 1)))
        with theirs._database.opened("test") as session:
            session.rows("BEGIN")
            theirs._work(session).ledger.touch_fence()
            with pytest.raises(TransientError) as caught:
                await staged.merge()
            assert caught.value.code == "conflict"
            session.rows("ROLLBACK")
        await staged.merge()
        await other.merge()
        assert d.values() == {"a": 1, "b": 1}


def session_that_says(error: Exception) -> Session:
    """A session whose COMMIT fails."""
    session = object.__new__(Session)

    def rows(sql, *values):
        raise error

    session.rows = rows
    return session


@pytest.mark.parametrize(
    ("error", "becomes"),
    [
        (duckdb.IOException("IO Error: write failed"), UnknownOutcome),
        (duckdb.FatalException("FATAL Error: failed"), UnknownOutcome),
        (duckdb.TransactionException("TransactionContext Error: Conflict"), duckdb.TransactionException),
    ],
)
def test_after_commit_was_sent_only_a_conflict_is_a_clear_no(error, becomes):
    with pytest.raises(becomes):
        commit(session_that_says(error), "merge", direct)


def test_a_commit_that_was_never_sent_is_no_unknown_outcome():
    with pytest.raises(TransientError):
        commit(session_that_says(AssertionError("sent")), "merge", breaking("loader.merge.commit"))
