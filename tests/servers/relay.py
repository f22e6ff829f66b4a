"""A relay before a MySQL server that loses what is said, keeps silent, or takes TLS out of its greeting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress


class HangUp(Exception):
    """What `Relay.spoil` raises to end both connections; `reset`: the client hears of an error, not of an end."""

    def __init__(self, *, reset: bool) -> None:
        self.reset = reset


class Relay:
    """Of 127.0.0.1:`port`; clients connect to its own `port` on `host`. `heard`: all that they sent, as it came.

    `lose_answer_to`: once such bytes were passed on, the answer is awaited, thrown away, and the client hung up.
    `lose`: such bytes are not passed on, and both sides hung up. `delay`: the client is hung up, and they are
    passed on when `go_on` is set. Each once; `refuses_then`: no connection is taken after it while `refuses`.
    `silent`: answers are kept back. `without_tls`: the greeting does not offer TLS. `spoil`: what the server sent
    → what the client gets in its place, until it raises `HangUp`.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._upstream = port
        self._host = host
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task] = set()
        self._ends: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.heard = b""
        self.connections = 0
        self.lose_answer_to: bytes | None = None
        self.lose: bytes | None = None
        self.delay: bytes | None = None
        self.go_on = asyncio.Event()
        self.refuses_then = self.refuses = False
        self.silent = False
        self.without_tls = False
        self.spoil: Callable[[bytes], bytes] | None = None

    async def __aenter__(self) -> Relay:
        self._server = await asyncio.start_server(self._connected, self._host, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._server.close()
        await asyncio.sleep(0.01)  # a connection just taken gets its task
        for end in self._ends:
            end.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.current_task())
        self._ends.add(writer)
        self.connections += 1
        if self.refuses:
            writer.transport.abort()
            return
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self._upstream)
        self._ends.add(upstream)
        lost = asyncio.Event()
        try:
            writer.write(self._greeting(await upstream_reader.read(4096)))
            pumps = {
                asyncio.create_task(self._from_client(reader, writer, upstream, lost)),
                asyncio.create_task(self._from_server(upstream_reader, writer, lost)),
            }
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            for end in (writer, upstream):
                end.close()
            for end in (writer, upstream):
                with suppress(OSError):
                    await end.wait_closed()

    async def _from_client(self, reader, writer, upstream, lost) -> None:
        while data := await reader.read(1 << 16):
            self.heard += data
            if self._is_now("lose_answer_to", data):
                lost.set()
            if self._is_now("lose", data):
                return
            if self._is_now("delay", data):
                writer.transport.abort()
                await self.go_on.wait()
            upstream.write(data)

    def _is_now(self, fault: str, data: bytes) -> bool:
        """True if the bytes of a fault have come; it is over then."""
        wanted = getattr(self, fault)
        if wanted is None or wanted not in data:
            return False
        setattr(self, fault, None)
        self.refuses = self.refuses_then
        return True

    async def _from_server(self, reader, writer, lost) -> None:
        while data := await reader.read(1 << 16):
            if lost.is_set():
                return
            try:
                kept = self.spoil(data) if self.spoil else data
            except HangUp as how:
                self.spoil = None
                if how.reset:
                    writer.transport.abort()
                return
            if not self.silent:
                writer.write(kept)
                await writer.drain()

    def _greeting(self, data: bytes) -> bytes:
        """The greeting, without the flag CLIENT_SSL (0x0800) if so asked.

        Header of 4 bytes, protocol, version text and a zero, thread id (4), salt (8) and a zero, the flags (2).
        """
        if not self.without_tls:
            return data
        place = data.index(b"\0", 5) + 1 + 4 + 9 + 1  # the second byte of the flags
        return data[:place] + bytes([data[place] & ~0x08]) + data[place + 1 :]
