"""Memory that comes near its limit: fewer runs at a time, before the kernel ends the process (K-6; case 48)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from service.events import Emit, MemoryEased, MemoryShort

EVERY_SECONDS = 1.0
SHORT_AT, EASED_AT = 0.85, 0.75
"""Shares of the limit: from the one on runs walk one at a time, below the other as many as ever."""

LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux tells a container its limit, in version 2 and 1 of control groups."""
UNLIMITED = 1 << 60
"""Version 1 says that there is none with a number near the largest there is."""


class Headroom:
    """`used()`: bytes that this process has now; `narrow(True)`: from now on runs walk one at a time."""

    def __init__(self, limit: int, used: Callable[[], int], narrow: Callable[[bool], None], emit: Emit) -> None:
        self._limit = limit
        self._used = used
        self._narrow = narrow
        self._emit = emit
        self.is_short = False

    def look(self) -> None:
        """Compare once, and say so if it has changed."""
        used = self._used()
        short = used >= self._limit * (EASED_AT if self.is_short else SHORT_AT)
        if short == self.is_short:
            return
        self.is_short = short
        self._narrow(short)
        self._emit(MemoryShort(used, self._limit) if short else MemoryEased(used, self._limit))

    async def keep(self) -> NoReturn:
        """Look for ever; run it as a task of its own."""
        while True:
            self.look()
            await asyncio.sleep(EVERY_SECONDS)


def container_limit(places: Sequence[str] = LIMITS) -> int | None:
    """Bytes that the container of this process may have; None if nobody limits it."""
    for place in places:
        try:
            text = Path(place).read_text().strip()
        except OSError:
            continue
        return int(text) if text.isdigit() and int(text) < UNLIMITED else None
    return None
