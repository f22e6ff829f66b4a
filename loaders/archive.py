"""Keeps chunks before the stage is cleaned: each file is in the archive whole or not at all, and is read back.

A file that is there with the chunk's bytes is not written again; one with other bytes is nobody's to replace.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from pathlib import Path
from typing import Protocol

from loaders.archive_settings import PROBE, SETTING, ArchivePlace, probe_name
from loaders.archive_store import ObjectStore
from loaders.disk import copied, directory_check, disk_errors, is_chunk
from state.checks import Check
from state.errors import ConfigurationError, PermanentError, RestartAttempt
from state.model import Chunk
from state.port import Port


class Shelf(Protocol):
    """A place that holds files under their chunks' names. Everything blocks; errors are classified."""

    def where(self, name: str) -> str:
        """The place of a file, for people."""

    def same(self, chunk: Chunk) -> bool | None:
        """Whether the file there is the chunk, by size and SHA-256 of what is read back; None if there is none."""

    def write(self, chunk: Chunk, source: Path) -> None:
        """Bring the file there, whole or not at all. Raises `RestartAttempt` if `source` is not the chunk."""

    def check(self, probe: str) -> Check:
        """Look as `doctor` does: a file called `probe` is written, read back and removed again."""


class Archive:
    """One archive, in a thread of its own for each file. Raises `ConfigurationError` for a place that only the
    warehouse itself can reach, or for access that cannot be read."""

    def __init__(self, place: ArchivePlace, port: Port) -> None:
        self._place = place
        self._port = port
        self._shelf: Shelf | None = None

    async def keep(self, chunk: Chunk, source: Path) -> bool:
        """Have a chunk in the archive; True if it was written now. `source`: its staged file, on a local disk; one
        that is not there any more must be in the archive already.

        Repeatable. Raises `PermanentError` if the archive holds other bytes under its name, or if the staged file
        was changed or is in neither place; `ConfigurationError`, `TransientError` as the place answers.
        """
        return await asyncio.to_thread(self._keep, chunk, source)

    async def check(self, pipeline: str) -> Check:
        """Whether the archive can be written to: `doctor` writes a small file there and removes it again. Raises
        `ConfigurationError`, `TransientError` as the place answers."""
        return await asyncio.to_thread(lambda: self._opened().check(probe_name(pipeline)))

    def _keep(self, chunk: Chunk, source: Path) -> bool:
        shelf = self._opened()
        if self._place.store is None and one_file(Path(shelf.where(chunk.name)), source):
            raise ConfigurationError(
                f"the archive {self._place.url} is the stage that is cleaned: nothing would be kept",
                hint=f"Give {SETTING} another folder; what is staged is still there.",
                code="archive_place",
                path=SETTING,
            )
        if self._held(shelf, chunk):
            return False
        if not source.is_file():
            raise PermanentError(
                f"the file {chunk.name} is gone from the stage and is not in the archive {self._place.url}",
                hint="What else is staged of this run is kept; the source may still have the rows.",
                code="archive_missing",
            )
        try:
            shelf.write(chunk, source)
        except RestartAttempt as error:  # nothing is read again for the sake of an archive
            raise PermanentError(
                f"the staged file {chunk.name} was changed, it is neither archived nor removed",
                hint="Look at who writes to the stage; the target is not touched by this.",
                code=error.code,
            ) from error
        if not self._held(shelf, chunk):
            raise PermanentError(
                f"{shelf.where(chunk.name)} was written, and is not there when it is looked for",
                hint="Look at who removes files from the archive; the stage is kept.",
                code="archive_vanished",
            )
        return True

    def _held(self, shelf: Shelf, chunk: Chunk) -> bool:
        same = shelf.same(chunk)
        if same is False:
            raise PermanentError(
                f"{shelf.where(chunk.name)} holds other bytes than the chunk of that name",
                hint="Find out who wrote it and move it away; it is never replaced, and the stage is kept.",
                code="archive_differs",
            )
        return bool(same)

    def _opened(self) -> Shelf:
        if self._shelf is None:
            self._shelf = shelf_of(self._place, self._port)
        return self._shelf


def one_file(path: Path, other: Path) -> bool:
    """Whether two paths are one file, which is there."""
    return path.exists() and other.exists() and path.samefile(other)


class Folder:
    """A folder on a local disk or a mounted one."""

    def __init__(self, root: Path, port: Port) -> None:
        self._root = root
        self._port = port

    def where(self, name: str) -> str:
        return str(self._root / name)

    def same(self, chunk: Chunk) -> bool | None:
        path = self._root / chunk.name
        with disk_errors(self._root, SETTING):
            return is_chunk(path, chunk) if path.exists() else None

    def write(self, chunk: Chunk, source: Path) -> None:
        with disk_errors(self._root, SETTING):
            copied(source, self._root / chunk.name, chunk, self._port, "loader.archive")

    def check(self, probe: str) -> Check:
        """A folder that is not there yet is not made: the one that it will be made in is tried."""
        looked = directory_check(SETTING, self._root)
        if looked.ok:
            there = nearest(self._root.absolute())
            with disk_errors(there, SETTING), self._port("loader.archive.probe"):
                try_out(there / f".{probe}-{uuid.uuid4().hex[:12]}")
        return looked


def nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return folder if folder.is_dir() else nearest(folder.parent)


def try_out(path: Path) -> None:
    """Write a new file and remove it."""
    try:
        with path.open("xb") as file:
            file.write(PROBE)
            file.flush()
            os.fsync(file.fileno())
    finally:
        path.unlink(missing_ok=True)


def shelf_of(place: ArchivePlace, port: Port) -> Shelf:
    """The shelf of a place. Raises `ConfigurationError` for a stage of a warehouse."""
    if place.store is not None:
        return ObjectStore(*place.store, place.access, port)
    if place.stage is not None:
        raise ConfigurationError(
            f"the archive {place.url} is a stage of a warehouse that this target does not write to",
            hint=f"Give {SETTING} a folder, s3://bucket/prefix or gs://bucket/prefix.",
            code="archive_place",
            path=SETTING,
        )
    return Folder(Path(place.url), port)
