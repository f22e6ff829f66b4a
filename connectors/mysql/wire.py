"""The answer to a query, read from a driver's open connection in large pieces instead of packet by packet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pymysql.constants import CLIENT, COMMAND, CR
from pymysql.err import MySQLError, OperationalError

from connectors.mysql.decode import Decoded, Decoder
from connectors.mysql.pages import Packets, Page, malformed

AHEAD_BYTES = 8 * 1024 * 1024
"""Bytes of columns that wait for the caller: what is read while a group of rows is compressed."""


async def stream(
    connection: Any, sql: str, decoder: Decoder, *, silence_seconds: float | None = None
) -> AsyncGenerator[Decoded, None]:
    """The rows of the query, once each, in the server's order; complete or an error.

    `connection`: an aiomysql connection that is open and waits for a query. It is so again at the end, and after
    an error that the server sent; in any other case, cancellation too, it is closed. While the caller works on one
    batch, the next `AHEAD_BYTES` are decoded in a thread, and another page is read; then the server has to wait.

    Raises pymysql's errors with the server's numbers; OperationalError 2013 for an answer without an end, or of
    which nothing came for `silence_seconds`; 2027 for one that is no result of the decoder's columns.
    """
    async with _receiving(connection, sql, decoder, silence_seconds) as receiver:
        ahead = _Ahead()
        reading = asyncio.create_task(_read(receiver, decoder, ahead), name="mysql-decode")
        try:
            while (decoded := await ahead.get()) is not None:
                yield decoded
            await reading
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def _read(receiver: _Receiver, decoder: Decoder, ahead: _Ahead) -> None:
    """Decode all pages, one after the other."""
    try:
        while (decoded := await _decoded(receiver, decoder)) is not None:
            await ahead.put(decoded)
    finally:
        ahead.end()


async def _decoded(receiver: _Receiver, decoder: Decoder) -> Decoded | None:
    """The next page; None at the end."""
    page = await receiver.page()
    if receiver.names != [column.source for column in decoder.columns]:
        raise malformed(f"the columns of the answer are {receiver.names}")
    return await asyncio.to_thread(decoder.decode, page) if len(page) else None


class _Ahead:
    """Pages that are decoded before they are asked for: of `AHEAD_BYTES` and a page at most."""

    def __init__(self) -> None:
        self._pages = asyncio.Queue[Decoded | None]()
        self._bytes = 0
        self._has_room = asyncio.Event()

    async def put(self, page: Decoded) -> None:
        """Add a page; returns when another may be made."""
        self._pages.put_nowait(page)
        self._bytes += page.batch.nbytes
        while self._bytes >= AHEAD_BYTES:
            self._has_room.clear()
            await self._has_room.wait()

    def end(self) -> None:
        """No more pages come."""
        self._pages.put_nowait(None)

    async def get(self) -> Decoded | None:
        """The next page; None behind the last one."""
        page = await self._pages.get()
        if page is not None:
            self._bytes -= page.batch.nbytes
            self._has_room.set()
        return page


@asynccontextmanager
async def _receiving(
    connection: Any, sql: str, decoder: Decoder, silence_seconds: float | None
) -> AsyncIterator[_Receiver]:
    """Send the query and read what the server answers, until its end or until this context is left."""
    connection._ensure_alive()
    transport = connection._writer.transport
    if transport.is_closing() or connection._reader.at_eof():
        raise _lost()
    ends_with_ok = bool(connection.client_flag & connection.server_capabilities & CLIENT.DEPRECATE_EOF)
    packets = Packets(ends_with_ok=ends_with_ok, page_rows=decoder.page_rows)
    receiver = _Receiver(transport, packets, silence_seconds)
    transport.set_protocol(receiver)
    try:
        await connection._execute_command(COMMAND.COM_QUERY, sql)
        yield receiver
    finally:
        receiver.leave()
        if not receiver.is_ended:
            connection.close()


class _Receiver(asyncio.BufferedProtocol):
    """Reads into pages, in place of the transport's usual protocol; lets the server wait when a page is full."""

    def __init__(self, transport: Any, packets: Packets, silence_seconds: float | None) -> None:
        self._transport = transport
        self._usual = transport.get_protocol()
        self._packets = packets
        self._silence_seconds = silence_seconds
        self._news = asyncio.Event()
        self._came = 0
        self._error: MySQLError | None = None
        self._is_paused = False

    @property
    def names(self) -> list[str] | None:
        """The columns of the answer."""
        return self._packets.names

    @property
    def is_ended(self) -> bool:
        """The server said all that it had to say."""
        return self._packets.is_ended

    async def page(self) -> Page:
        """The next rows, as many as a page holds; none at the end. Raises as `stream`."""
        while not (self._packets.is_full or self._error):
            await self._wait()
        if self._error:
            raise self._error
        page = self._packets.take()
        if not self.is_ended:
            self._resume()
        return page

    async def _wait(self) -> None:
        self._news.clear()
        came = self._came
        try:
            async with asyncio.timeout(self._silence_seconds):
                await self._news.wait()
        except TimeoutError:
            if came == self._came:
                raise _lost(f"nothing came for {self._silence_seconds:g} s") from None

    def leave(self) -> None:
        """Give the transport back."""
        self._transport.set_protocol(self._usual)
        self._resume()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  asyncio's signature
        return self._packets.room()

    def buffer_updated(self, nbytes: int) -> None:
        self._came += nbytes
        try:
            self._packets.arrived(nbytes)
        except MySQLError as error:
            self._error = error
        if self._error or self._packets.is_full:
            self._pause()
            self._news.set()

    def eof_received(self) -> bool | None:
        self._fail()
        return bool(self._usual.eof_received())

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(str(exc or ""))
        self._usual.connection_lost(exc)

    def pause_writing(self) -> None:
        self._usual.pause_writing()

    def resume_writing(self) -> None:
        self._usual.resume_writing()

    def _fail(self, why: str = "") -> None:
        if not self.is_ended and self._error is None:
            self._error = _lost(why)
        self._news.set()

    def _pause(self) -> None:
        if not self._is_paused and not self._transport.is_closing():
            self._transport.pause_reading()
            self._is_paused = True

    def _resume(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()


def _lost(why: str = "") -> OperationalError:
    text = "Lost connection to MySQL server during query"
    return OperationalError(CR.CR_SERVER_LOST, f"{text} ({why})" if why else text)
