"""The local folder that chunks are written in before they are staged: one owner, a byte quota, no orphans."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from state.errors import ConfigurationError, SluicewayError, TransientError
from state.port import Port, direct

FINISHED, UNFINISHED = ".parquet", ".parquet.part"
"""Endings of the files here; what ends otherwise is not ours."""
UPLOADING = ".put-"
"""What the folders here begin with that hold a file under another name while it is uploaded."""


class OpenChunk(Protocol):
    """A writer's chunk that is still growing."""

    @property
    def held(self) -> int:
        """Bytes of the quota that it takes now."""

    async def close_early(self) -> None:
        """Finish the chunk as it is, so that it can be delivered and its bytes come back."""


class Quota:
    """Bytes that may be held at the same time, within those of a `parent` that others share."""

    def __init__(self, size: int, parent: Quota | None = None) -> None:
        self.bytes = size
        self.used = 0
        self._parent = parent
        self._growing: set[OpenChunk] = set()
        self._changed = asyncio.Event()

    @property
    def _levels(self) -> list[Quota]:
        return [self, *(self._parent._levels if self._parent else [])]

    def register(self, chunk: OpenChunk) -> None:
        """`chunk` may be asked to close early from now on."""
        for level in self._levels:
            level._growing.add(chunk)

    def forget(self, chunk: OpenChunk) -> None:
        """`chunk` is not asked any more."""
        for level in self._levels:
            level._growing.discard(chunk)

    async def room(self, size: int) -> None:
        """Take `size` bytes; while there is no room, the largest chunk that grows there is closed early.

        What is larger than the quota still passes, alone.
        """
        while full := next((level for level in self._levels if level._is_full(size)), None):
            await full._free()
        for level in self._levels:
            level.used += size

    def settle(self, change: int) -> None:
        """Bytes that turned out more (or, negative, fewer) than was taken; wakes those that wait for room."""
        for level in self._levels:
            level.used += change
            level._changed.set()

    def _is_full(self, size: int) -> bool:
        return bool(self.used) and self.used + size > self.bytes

    async def _free(self) -> None:
        largest = max(self._growing, key=lambda chunk: chunk.held, default=None)
        if largest is not None and largest.held:
            await largest.close_early()
        else:
            self._changed.clear()
            await self._changed.wait()


class Spool:
    """`directory` belongs to one process at a time, and to one event loop in it.

    `quota_bytes` bounds what lies here: closed chunks, and open ones with what they have in memory. `shared`: what
    all spools of a process may hold together.
    """

    def __init__(
        self, directory: Path, quota_bytes: int, port: Port = direct, *, shared: Quota | None = None
    ) -> None:
        self.directory = directory
        self.quota = Quota(quota_bytes, shared)
        self.port = port
        self._lock: int | None = None

    def open(self) -> None:
        """Take the folder and remove what a dead process left in it.

        Raises `TransientError` if another process has it, `ConfigurationError` if it cannot be written.
        """
        with explained(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.directory.chmod(0o700)
            self._lock = self._locked()
            for file in self.directory.iterdir():
                if file.name.endswith((FINISHED, UNFINISHED)):
                    file.unlink()
                elif file.name.startswith(UPLOADING):
                    shutil.rmtree(file)

    def _locked(self) -> int:
        file = os.open(self.directory / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise TransientError(
                f"another process uses the spool folder {self.directory}",
                hint="Try again when it has ended, or give this one a limits.spool_directory of its own.",
                code="spool_in_use",
            ) from None
        return file

    def close(self) -> None:
        """Give the folder up; harmless when repeated."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Errors of the local disk as the tree of `state.errors`."""
    try:
        yield
    except OSError as error:
        raise disk_error(path, error) from error


def disk_error(path: Path, error: OSError) -> SluicewayError:
    """A full disk may have room later; a folder that may not be written needs an operator."""
    why = (error.strerror or "error").lower()
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE):
        return TransientError(
            f"cannot write to {path}: {why}",
            hint="Free space there, or lower limits.spool_quota_bytes; the unfinished file is removed and its part"
            " is read again.",
            code="disk_full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "disk",
        )
    return ConfigurationError(
        f"cannot write to {path}: {why}",
        hint="Give limits.spool_directory a folder that this user may write to.",
        code="spool",
        path="limits.spool_directory",
    )
