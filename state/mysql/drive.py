"""`DriveTable` in MySQL or MariaDB. Rules run in a thread, statements in the event loop, over one connection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, TypeVar

from state import rules
from state.answers import repeatable
from state.bridge import Bridge
from state.errors import SluicewayError, TransientError, UnknownOutcome
from state.model import Claim
from state.mysql import schema
from state.mysql.errors import BY_ITSELF
from state.mysql.rows import MysqlRows
from state.mysql.session import Session
from state.mysql.settings import MysqlDriveSettings
from state.owner import owner_is_dead
from state.port import Port, direct
from state.transactional import Rows, TransactionalDrive

T = TypeVar("T")


class MysqlDrive(TransactionalDrive):
    """Made by `open`; every write is one transaction, exclusive among those of its pipelines.

    A connection that is lost before COMMIT was sent is a `TransientError`. After it, another one is asked whether
    the transaction was committed: if so the call has its answer, if not it is a `TransientError`. If that has no
    answer either, a write that may be asked for again is a `TransientError`, any other an `UnknownOutcome`.
    """

    def __init__(
        self,
        session: Session,
        drive_id: str,
        *,
        port: Port = direct,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        super().__init__(drive_id, owner_is_dead)
        self._session = session
        self._bridge = Bridge("drive")
        self._port = port
        self._clock = clock

    @classmethod
    async def open(
        cls, settings: MysqlDriveSettings, *, port: Port = direct, clock: Callable[[], datetime] | None = None
    ) -> MysqlDrive:
        """The drive table in the database. Raises `ConfigurationError` if there is none, or not of this version.

        `clock` replaces the database's clock, for tests.
        """
        session = Session(settings)
        try:
            await session.open()
            await schema.require_current(session, settings)
            return cls(session, await schema.id_of(session), port=port, clock=clock)
        except BaseException:
            await session.aclose()
            raise

    @staticmethod
    async def init(settings: MysqlDriveSettings) -> str:
        """Make the drive table, or upgrade the one that is there; returns its id. Repeatable."""
        async with opened(settings) as session:
            return await schema.upgrade(session, settings, fresh=True)

    @staticmethod
    async def upgrade(settings: MysqlDriveSettings) -> str:
        """Bring the drive table to this version. Raises `ConfigurationError` if there is none or it is newer."""
        async with opened(settings) as session:
            return await schema.upgrade(session, settings, fresh=False)

    async def renew(self, claims: Sequence[Claim], lease: timedelta) -> list[Claim]:
        def step(rows: MysqlRows) -> list[Claim]:
            rows.lock(*(claim.run.id.pipeline for claim in claims))
            return rules.renew(rows, claims, lease)

        with repeatable():
            return await self._transact("drive.renew", step)

    async def _write(self, effect: str, step: Callable[[Rows], T]) -> T:
        return await self._transact(effect, step)

    async def _read(self, step: Callable[[Rows], T]) -> T:
        rows = self._rows(writes=False)
        return await self._bridge.transact(Transaction(self._session, rows), lambda: step(rows))

    async def _transact(self, effect: str, step: Callable[[MysqlRows], T]) -> T:
        rows = self._rows(writes=True)
        with self._port(effect):
            return await self._bridge.transact(Transaction(self._session, rows), lambda: step(rows))

    def _rows(self, *, writes: bool) -> MysqlRows:
        return MysqlRows(Statements(self._bridge, self._session), self.id, self._clock, writes=writes)

    async def aclose(self) -> None:
        await self._bridge.aclose()  # a step under way ends first
        await self._session.aclose()


class Transaction:
    """Of a session, for the bridge. One that changed nothing is not committed: that would cost a disk write."""

    def __init__(self, session: Session, rows: MysqlRows) -> None:
        self._session = session
        self._rows = rows

    async def begin(self) -> None:
        await self._session.begin()

    async def commit(self) -> None:
        if not self._rows.changed:
            await self._session.rollback()
            return
        try:
            await self._session.commit()
        except UnknownOutcome as lost:
            await self._settle(lost)

    async def rollback(self) -> None:
        await self._session.rollback()

    async def _settle(self, lost: UnknownOutcome) -> None:
        """Raises `TransientError` if the transaction was rolled back, and `lost` if that has no answer either."""
        try:
            await self._session.open()
            committed = await self._session.rows(*self._rows.was_committed())
        except SluicewayError as error:
            raise lost from error
        if not committed:
            raise TransientError(f"{lost.message}; it was rolled back", hint=BY_ITSELF, code=lost.code) from lost


class Statements:
    """The statements of a step, put to the session across the bridge."""

    def __init__(self, bridge: Bridge, session: Session) -> None:
        self._bridge = bridge
        self._session = session

    def rows(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        return self._bridge.ask(self._session.rows, sql, *values)

    def execute(self, sql: str, *values: Any) -> int:
        return self._bridge.ask(self._session.execute, sql, *values)


@asynccontextmanager
async def opened(settings: MysqlDriveSettings) -> AsyncIterator[Session]:
    """A session with its connection open, for a change of the schema, which may take long."""
    session = Session(settings, answer_seconds=schema.STATEMENT_SECONDS)
    try:
        await session.open()
        yield session
    finally:
        await session.aclose()
