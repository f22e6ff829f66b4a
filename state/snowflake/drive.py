"""`DriveTable` in Snowflake: few statements, one at a time, and no statement while nothing happens.

Progress of a claimed run is ONE conditional UPDATE. Steps that decide (create, claim, adopt, reopen) look first,
in one statement, decide by `state.rules` in memory, and then write in a transaction whose every write is
conditional on what the look saw. Why that is right whatever comes between:
docs/decisions/0014-drive-table-in-snowflake.md.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from msgspec.structs import replace

from state import rules
from state.answers import Unheard, repeatable
from state.drive import Event, NewRun
from state.errors import LeaseLost, TransientError, UnknownOutcome
from state.model import Claim, Failure, Phase, Receipt, Run, RunId, RunStatus, Window
from state.owner import owner_is_dead
from state.port import Port, direct
from state.snowflake import drive_reading, drive_schema, drive_write
from state.snowflake.drive_clock import DriveClock
from state.snowflake.drive_queue import CHANGED, Queue
from state.snowflake.drive_renewals import Renewals
from state.snowflake.drive_rows import (
    OVERLAPS,
    UNFINISHED,
    Seen,
    Tables,
    Wanted,
    event_of,
    identity,
    identity_sql,
    run_in,
    span_in,
    summary_of_row,
)
from state.snowflake.names import parse
from state.snowflake.session import Account, Session
from state.snowflake.tag import Tag
from state.summary import Summary
from state.wishes import Again, Wish

T = TypeVar("T")
PHASE = "drive_table"
"""`phase` in the query tag of the drive table's own statements."""


class SnowflakeDrive:
    """Made by `open`. Shared by all tasks of a process; several processes may have one each.

    Returned rows carry the database's clock as this process knows it; leases are counted by the database itself.
    """

    def __init__(self, drive_id: str, tables: Tables, queue: Queue, clock: DriveClock, port: Port) -> None:
        self._id = drive_id
        self._tables = tables
        self._queue = queue
        self._clock = clock
        self._port = port
        self._renewals = Renewals(tables, queue, clock)
        self._unheard = Unheard(owner_is_dead)

    @classmethod
    async def open(
        cls,
        account: Account,
        database_schema: str,
        *,
        queue: Queue | None = None,
        port: Port = direct,
        clock: Callable[[], datetime] | None = None,
    ) -> SnowflakeDrive:
        """The drive table in `database_schema` (`DB.SCHEMA`). Raises `ConfigurationError` if there is none.

        `queue`: the process's one queue, if several drive tables share it; `aclose` ends it, not the account.
        `clock` replaces the database's clock, for tests.
        """
        tables, queue = Tables(parse(database_schema, parts=2)), queue or Queue(account)
        known = DriveClock(clock)

        async def opened(session: Session) -> str:
            found = await drive_schema.require_current(session, tables)
            await known.ask(session)
            return found

        try:
            drive_id = await queue.run(Tag(phase=PHASE), opened)
        except BaseException:
            await queue.aclose()
            raise
        return cls(drive_id, tables, queue, known, port)

    @staticmethod
    async def init(account: Account, database_schema: str) -> str:
        """Make the drive table, or upgrade the one that is there; its id. Repeatable."""
        tables = Tables(parse(database_schema, parts=2))
        async with account.session(Tag(phase=PHASE)) as session:
            return await drive_schema.upgrade(session, tables)

    @staticmethod
    async def upgrade(account: Account, database_schema: str) -> str:
        """Bring the drive table to this version. Raises `ConfigurationError` if there is none or it is newer."""
        tables = Tables(parse(database_schema, parts=2))
        async with account.session(Tag(phase=PHASE)) as session:
            await drive_schema.require_made(session, tables)
            return await drive_schema.upgrade(session, tables)

    @property
    def id(self) -> str:
        return self._id

    async def now(self) -> datetime:
        return await self._queue.run(Tag(phase=PHASE), self._clock.ask)

    async def create(self, pipeline: str, owner: str, runs: Sequence[NewRun]) -> list[Run]:  # noqa: ARG002
        if not runs:
            return []
        span = max(new.window.end for new in runs), min(new.window.start for new in runs)
        wanted = Wanted(f"({UNFINISHED}) OR ({OVERLAPS})", span, wide=False)
        with self._port("drive.create"), repeatable():
            return await self._step(pipeline, wanted, lambda seen: rules.create(seen, pipeline, runs))

    async def adopt(self, pipeline: str, receipts: Sequence[Receipt], token_floor: int) -> list[Run]:
        def step(seen: Seen) -> list[Run]:
            return rules.adopt(seen, pipeline, receipts, token_floor, self._unheard.nobody_holds)

        with self._port("drive.adopt"), repeatable():
            return await self._step(pipeline, Wanted(UNFINISHED, finished=bool(receipts)), step)

    async def claim(
        self,
        pipeline: str,
        owner: str,
        lease: timedelta,
        *,
        run: RunId | None = None,
        within: Window | None = None,
        ordered: bool = False,
    ) -> Claim | None:
        wish, made, is_dead = Wish(run, within, ordered), list[Claim](), self._unheard.nobody_holds

        def step(seen: Seen) -> Claim | None:
            claim = rules.claim(seen, pipeline, wish, owner=owner, lease=lease, is_dead=is_dead)
            made[:] = [] if claim is None else [claim]
            return claim

        wanted = Wanted(UNFINISHED)
        if run is not None and not ordered:
            wanted = Wanted(f"{UNFINISHED} AND {identity_sql('d.')}", identity(run))
        with self._port("drive.claim"), self._unheard.listening(made):
            return await self._step(pipeline, wanted, step)

    async def renew(self, claims: Sequence[Claim], lease: timedelta) -> list[Claim]:
        if not claims:
            return []
        with self._port("drive.renew"), repeatable():
            return await self._renewals.renew(claims, lease)

    async def checkpoint(self, claim: Claim, run: Run) -> Claim:
        with self._port("drive.checkpoint"):
            stored = await self._hold(claim, lambda rows: rules.checkpoint(rows, claim, run).run)
        return replace(claim, run=stored)

    async def fail(
        self, claim: Claim, run: Run, failure: Failure, *, retry_in: timedelta | None, quarantine: bool
    ) -> Run:
        if quarantine == (retry_in is not None):
            raise ValueError("a failed run either goes on by itself or waits for an operator")
        with self._port("drive.fail"):
            return await self._hold(claim, lambda rows: rules.fail(rows, claim, run, failure, retry_in))

    async def release(self, claim: Claim, run: Run) -> Run:
        with self._port("drive.release"):
            return await self._hold(claim, lambda rows: rules.release(rows, claim, run))

    async def reopen(self, run: RunId, *, from_phase: Phase | None, run_floor: int, event: Event) -> Run:
        wish = Again(run, from_phase, run_floor)
        wanted = Wanted(OVERLAPS, (run.window.end, run.window.start))
        with self._port("drive.reopen"):
            return await self._step(
                run.pipeline, wanted, lambda seen: rules.reopen(seen, wish, event, self._unheard.nobody_holds)
            )

    async def record(self, event: Event) -> None:
        tag, key = Tag(pipeline=event.pipeline, phase=PHASE), uuid.uuid4().hex

        async def work(session: Session) -> None:
            try:
                await drive_write.record(session, self._tables, event, key)
            except UnknownOutcome as lost:
                await self._queue.settled(
                    tag, lambda fresh: drive_write.record_once(fresh, self._tables, event, key), lost
                )

        with self._port("drive.record"):
            await self._queue.run(tag, work)

    async def events(self, pipeline: str, limit: int = 100) -> list[Event]:
        sql, values = drive_reading.events(self._tables, pipeline, limit)
        return [event_of(row) for row in await self._rows(pipeline, sql, values)]

    async def runs(
        self,
        pipeline: str | None = None,
        *,
        statuses: Sequence[RunStatus] = (),
        within: Window | None = None,
        name: str | None = None,
        limit: int | None = None,
    ) -> list[Run]:
        sql, values = drive_reading.runs(self._tables, pipeline, statuses, within, name=name, limit=limit)
        return await in_a_thread(run_in, await self._rows(pipeline, sql, values))

    async def summaries(self, pipeline: str, *, within: Window | None = None) -> list[Summary]:
        sql, values = drive_reading.summaries(self._tables, pipeline, within)
        return await in_a_thread(summary_of_row, await self._rows(pipeline, sql, values))

    async def windows(self, pipeline: str, *, unfinished: bool = False) -> list[Window]:
        sql, values = drive_reading.windows(self._tables, pipeline, unfinished)
        return await in_a_thread(span_in, await self._rows(pipeline, sql, values))

    async def aclose(self) -> None:
        await self._queue.aclose()

    async def _rows(self, pipeline: str | None, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        return await self._queue.run(
            Tag(pipeline=pipeline, phase=PHASE), lambda session: session.rows(sql, *values)
        )

    async def _step(self, pipeline: str, wanted: Wanted, step: Callable[[Seen], T]) -> T:
        """Look, decide, write what was decided. Tried again by the queue if anything changed in between."""
        tag = Tag(pipeline=pipeline, phase=PHASE)

        async def work(session: Session) -> T:
            seen = await self._look(session, pipeline, wanted)
            answer = step(seen)
            if not seen.wants_a_write:
                return answer
            if seen.steps is None:
                await drive_write.make_known(session, self._tables, pipeline)
                seen = await self._look(session, pipeline, wanted)
                answer = step(seen)
            await self._written(session, tag, seen)
            return answer

        return await self._queue.run(tag, work)

    async def _written(self, session: Session, tag: Tag, seen: Seen) -> None:
        """Write what a step changed. Raises `UnknownOutcome` if even asking anew gave no answer."""
        key = uuid.uuid4().hex
        try:
            await drive_write.write(session, self._tables, seen, key)
        except UnknownOutcome as lost:
            done = await self._queue.settled(
                tag, lambda fresh: drive_write.was_written(fresh, self._tables, seen.pipeline, key), lost
            )
            if not done:
                raise TransientError(
                    f"{lost.message}; it was rolled back", hint="It is tried again by itself.", code=CHANGED
                ) from lost

    async def _look(self, session: Session, pipeline: str, wanted: Wanted) -> Seen:
        here = self._tables, self._id, self._clock
        return await drive_reading.look(session, *here, pipeline=pipeline, wanted=wanted)

    async def _hold(self, claim: Claim, rule: Callable[[Seen], Run]) -> Run:
        """Write for a claimed run in one statement, which holds or does not; the run as it is stored."""
        identity, tag = claim.run.id, Tag(pipeline=claim.run.id.pipeline, run=claim.run.name, phase=PHASE)
        known = Seen(self._id, self._clock.now, identity.pipeline)
        known.saw(claim.run, 0)
        stored, key = rule(known), uuid.uuid4().hex

        async def work(session: Session) -> int:
            try:
                return await drive_write.hold(session, self._tables, stored, claim.token, key)
            except UnknownOutcome as lost:
                return await self._queue.settled(
                    tag, lambda fresh: drive_write.hold_again(fresh, self._tables, stored, claim.token, key), lost
                )

        if await self._queue.run(tag, work):
            return stored
        return await self._lost(claim, rule)

    async def _lost(self, claim: Claim, rule: Callable[[Seen], Run]) -> Run:
        """Raises `LeaseLost` with what became of the run, or the reason why nothing is there any more."""
        run = claim.run.id
        seen = await self._queue.run(
            Tag(pipeline=run.pipeline, phase=PHASE),
            lambda session: self._look(session, run.pipeline, Wanted(identity_sql("d."), identity(run))),
        )
        rule(seen)
        raise LeaseLost(f"{claim.run.name}: the attempt with token {claim.token} is over")


async def in_a_thread(decode: Callable[[Sequence[Any]], T], rows: Sequence[Sequence[Any]]) -> list[T]:
    """Rows as what they hold; the loop does not stand still for a long history."""
    return await asyncio.to_thread(lambda: list(map(decode, rows)))
