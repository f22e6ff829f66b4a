"""The connections of one connector: one for questions, and as many as the budget has for parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from connectors.mysql.session import Session
from connectors.mysql.settings import MysqlSettings


class Pool:
    """Lends sessions. One that was given back in order is lent again while the server keeps it."""

    def __init__(self, settings: MysqlSettings) -> None:
        self._settings = settings
        self._asking = asyncio.Lock()
        self._budget = asyncio.Semaphore(settings.max_connections - 1)
        self._questions: list[Session] = []
        self._idle: list[Session] = []
        self._lent: set[Session] = set()

    @asynccontextmanager
    async def questions(self) -> AsyncIterator[Session]:
        """The session for questions about the source as it is now; one asks at a time."""
        async with self._asking, self._lend(self._questions) as session:
            yield session

    @asynccontextmanager
    async def parts(self) -> AsyncIterator[Session]:
        """A session for a snapshot, when the budget has one."""
        async with self._budget, self._lend(self._idle) as session:
            yield session

    async def aclose(self) -> None:
        """Close every connection, those that are lent at once."""
        for session in self._lent:
            session.close()
        while kept := [*self._idle, *self._questions]:
            self._idle, self._questions = [], []
            for session in kept:
                await session.aclose()

    @asynccontextmanager
    async def _lend(self, kept: list[Session]) -> AsyncIterator[Session]:
        session = kept.pop() if kept else Session(self._settings)
        self._lent.add(session)
        try:
            if not session.is_fresh:
                await session.aclose()
                await session.open()
            yield session
        except BaseException:
            session.close()
            raise
        finally:
            self._lent.discard(session)
            if session.is_fresh:
                kept.append(session)
