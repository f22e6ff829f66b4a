"""A way to a server of this machine that can be shut."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

BACKLOG = 100


class Door:
    """On 127.0.0.1:`port`, to `upstream` there. Shut, connections are refused, and those that were open are cut.

    The system itself refuses, as for a server that is away. An async context manager; it begins open.
    """

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind(("127.0.0.1", 0))
        self.port: int = self._held.getsockname()[1]
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task] = set()

    async def __aenter__(self) -> Door:
        await self.open()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.shut()
        self._held.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._connected, sock=self._held, backlog=BACKLOG)

    async def shut(self) -> None:
        if self._server is None:
            return
        self._server.close()
        self._server = None
        for end in self._ends:
            end.transport.abort()
        self._held = socket.socket()  # bound and not listening: nobody else gets the port meanwhile
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind(("127.0.0.1", self.port))

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        inside, out = await asyncio.open_connection("127.0.0.1", self._upstream)
        ends = {writer, out}
        self._ends |= ends
        try:
            await asyncio.gather(_pump(reader, out), _pump(inside, writer))
        finally:
            for end in ends:
                end.close()
            self._ends -= ends
            self._tasks.discard(task)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    with suppress(OSError):
        writer.write_eof()
