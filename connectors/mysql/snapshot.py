"""The rows of a span inside one transaction, or, where an engine has none, as they are passed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
from pymysql.err import MySQLError

from connectors.batches import pieces
from connectors.mysql.choosing import Chosen
from connectors.mysql.decode import Decoded, Decoder
from connectors.mysql.session import GRACE_SECONDS, Session
from connectors.mysql.settings import MysqlSettings
from connectors.mysql.wire import stream
from connectors.policies import Settled, settle
from state.errors import RestartAttempt
from state.model import SnapshotKind, Window
from state.port import Port


@dataclass(frozen=True)
class Opened:
    """What a snapshot showed when it was opened. `absent`: rows that no span holds."""

    kind: SnapshotKind
    count: int | None
    read_at: datetime
    absent: int


class MysqlSnapshot:
    """`connectors.base.Snapshot` over the connection of a session, which the rows have for themselves."""

    def __init__(
        self,
        settings: MysqlSettings,
        session: Session,
        chosen: Chosen,
        span: Window | None,
        *,
        opened: Opened,
        port: Port,
    ) -> None:
        self.kind = opened.kind
        self.count = opened.count
        self.read_at = opened.read_at
        self._settings = settings
        self._session = session
        self._chosen = chosen
        self._span = span
        self._port = port
        self._touched = Counter({str(settings.cursor): opened.absent} if opened.absent else {})
        self._aside: list[pa.RecordBatch] = []

    @property
    def touched(self) -> Mapping[str, int]:
        """See `Snapshot.touched`; rows without a cursor that were left out count for it."""
        return dict(self._touched)

    def quarantined(self) -> pa.RecordBatch | None:
        """See `Snapshot.quarantined`."""
        aside, self._aside = self._aside, []
        return pa.concat_batches(aside) if aside else None

    async def batches(self) -> AsyncGenerator[pa.RecordBatch, None]:
        """See `Snapshot.batches`. Raises `RestartAttempt` if whoever takes them stalls for so long that the server
        would soon give up."""
        sql, decoder = self._chosen.statements.rows(self._span), Decoder(self._chosen.columns)
        silence = self._settings.statement_timeout_seconds + GRACE_SECONDS
        pages = stream(self._session.connection, sql, decoder, silence_seconds=silence)
        async with aclosing(pages):
            while (page := await self._next(pages)) is not None:
                for batch in pieces(await self._settled(page)):
                    with self._hurrying():
                        yield batch

    async def _next(self, pages: AsyncGenerator[Decoded, None]) -> Decoded | None:
        """The next page; None behind the last one."""
        with self._port("source.read"):
            try:
                return await anext(pages, None)
            except (MySQLError, OSError) as error:
                said = self._session.explained(f"reading {self._settings.what}", error)
                self._session.close()
                raise said from error

    async def _settled(self, page: Decoded) -> pa.RecordBatch:
        """The page's rows with the declared policies applied."""
        if not page.bad:
            return page.batch
        settled = await asyncio.to_thread(self._settle, page)
        self._touched.update(settled.touched)
        if settled.quarantined is not None:
            self._aside.append(settled.quarantined)
        return settled.batch

    def _settle(self, page: Decoded) -> Settled:
        policies = self._settings.policies
        where = naming(
            page.batch, self._chosen.contract.key or self._chosen.contract.schema.names[:1], self._settings.what
        )
        return settle(page.batch, page.bad, policies, where, page.text, cursor=self._settings.cursor)

    @contextmanager
    def _hurrying(self) -> Iterator[None]:
        """Close the connection if the one who has a batch comes back too late for the server's patience."""
        seconds = self._settings.write_timeout_seconds / 2
        given_up: list[bool] = []

        def give_up() -> None:
            given_up.append(True)
            self._session.close()

        timer = asyncio.get_running_loop().call_later(seconds, give_up)
        try:
            yield
        finally:
            timer.cancel()
        if given_up:
            raise RestartAttempt(
                f"{self._settings.what}: nothing was taken from the connection for {seconds:g} seconds",
                hint="The part is read again. Look at what holds up the stage; source_system.write_timeout_seconds"
                " is twice the patience.",
                code="stalled",
            )


def naming(batch: pa.RecordBatch, key: Sequence[str], what: str) -> Callable[[int], str]:
    """How an operator finds a row of the batch."""

    def where(row: int) -> str:
        values = ", ".join(f"{name}={batch.column(name)[row].as_py()}" for name in key)
        return f"the row with {values} of {what}"

    return where
