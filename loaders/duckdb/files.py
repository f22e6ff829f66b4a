"""The stage directory: files under their chunk's name, each there whole or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from loaders.disk import disk_errors, make_folder
from loaders.parquet import footer_rows, sync_folder
from state.errors import PermanentError, RestartAttempt
from state.model import Chunk
from state.port import Port

UNFINISHED = ".part"
"""Ending of a file that is still being written."""


class StageFiles:
    """Files of one pipeline below `directory`. Everything blocks."""

    def __init__(self, directory: Path, pipeline: str, port: Port) -> None:
        self.directory = directory
        self._pipeline = pipeline
        self._port = port

    def prepare(self) -> None:
        """Make the directory, for its owner only."""
        with disk_errors(self.directory, "stage_system.directory"):
            make_folder(self.directory)

    def path(self, name: str) -> Path:
        """Where a chunk lies."""
        return self.directory / name

    def put(self, chunk: Chunk, source: Path) -> tuple[int, int]:
        """Bring a file here under the chunk's name; returns its bytes and rows as they are here."""
        with disk_errors(self.directory, "stage_system.directory"):
            path = self.path(chunk.name)
            copied(source, path, chunk, self._port, "loader.put")
            return path.stat().st_size, footer_rows(path)

    def require(self, chunk: Chunk) -> Path:
        """The staged file of a chunk. Raises `RestartAttempt` if it is gone or is not what was put there."""
        path = self.path(chunk.name)
        with disk_errors(self.directory, "stage_system.directory"):
            if not path.is_file():
                raise RestartAttempt(
                    f"the staged file {chunk.name} is gone from {self.directory}",
                    hint="Its part is read again.",
                    code="stage_file_missing",
                )
            if not is_chunk(path, chunk):
                raise RestartAttempt(
                    f"the staged file {chunk.name} in {self.directory} is not the one that was put there",
                    hint="Its part is read again.",
                    code="stage_file_changed",
                )
        return path

    def found(self, chunks: Iterable[Chunk]) -> tuple[int, int] | None:
        """Files of these chunks that are here, and the rows that their footers tell; None without a directory."""
        if not self.directory.is_dir():
            return None
        paths = [path for chunk in chunks if (path := self.path(chunk.name)).is_file()]
        return len(paths), sum(rows_told(path) for path in paths)

    def archive(self, chunks: Iterable[Chunk], archive: Path) -> None:
        """Copy what is here to another directory, verified; what is not here any more was archived before."""
        with disk_errors(archive, "phases.stage_cleaning.archive"):
            for chunk in chunks:
                path = self.path(chunk.name)
                if path.is_file() and not is_chunk(archive / chunk.name, chunk):
                    try:
                        copied(path, archive / chunk.name, chunk, self._port, "loader.archive")
                    except RestartAttempt as error:  # nothing is read again for the sake of an archive
                        raise PermanentError(
                            f"the staged file {chunk.name} was changed, it is neither archived nor removed",
                            hint="Look at who writes to the stage directory; the target is not touched by this.",
                            code=error.code,
                        ) from error

    def remove(self, names: Iterable[str]) -> int:
        """Remove files and the folders that get empty; returns how many were here."""
        removed = 0
        with disk_errors(self.directory, "stage_system.directory"):
            for name in sorted(names):
                path = self.path(name)
                if path.is_file():
                    with self._port("loader.clean.file"):
                        path.unlink(missing_ok=True)
                    removed += 1
                self._remove_empty(path.parent)
        return removed

    def _remove_empty(self, folder: Path) -> None:
        while folder != self.directory and folder.is_relative_to(self.directory):
            try:
                folder.rmdir()
            except OSError:  # somebody else's files, or gone already
                return
            folder = folder.parent

    def under(self, run_hash: str) -> list[str]:
        """Names of all files of a run of this pipeline, unfinished ones too.

        The run may be at work elsewhere and clean up meanwhile: a folder that is gone holds nothing.
        """
        root = self.directory / self._pipeline / run_hash
        paths = (Path(folder) / name for folder, _, names in os.walk(root) for name in names)
        return [path.relative_to(self.directory).as_posix() for path in paths]

    def older(self, names: Iterable[str], seconds: float) -> list[str]:
        """Those that were last written before `seconds` since 1970."""
        found = []
        for name in names:
            try:
                changed = self.path(name).stat().st_mtime
            except FileNotFoundError:
                continue
            if changed < seconds:
                found.append(name)
        return found


def copied(source: Path, path: Path, chunk: Chunk, port: Port, call: str) -> None:
    """Copy a chunk's file to `path`: temporary name, sync, verify, rename. Raises `RestartAttempt` if the bytes
    that arrived are not the chunk's."""
    make_folder(path.parent)
    unfinished = path.with_name(path.name + UNFINISHED)
    with port(f"{call}.write"):
        write(source, unfinished)
    if not is_chunk(unfinished, chunk):
        unfinished.unlink(missing_ok=True)
        raise RestartAttempt(
            f"the file of {chunk.name} is not what was written for it: size or SHA-256 differ",
            hint="Its part is read again. If that happens again, look at the disk.",
            code="stage_file_changed",
        )
    with port(f"{call}.rename"):
        unfinished.rename(path)
        sync_folder(path.parent)


def write(source: Path, target: Path) -> None:
    """Copy bytes into a new file of mode 0600, and sync it."""
    handle = os.open(target, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as writer, source.open("rb") as reader:
        while block := reader.read(1 << 20):
            writer.write(block)
        writer.flush()
        os.fsync(writer.fileno())


def is_chunk(path: Path, chunk: Chunk) -> bool:
    """True if the file is there and its bytes are the chunk's."""
    try:
        with path.open("rb") as file:
            same_size = os.fstat(file.fileno()).st_size == chunk.bytes
            return same_size and hashlib.file_digest(file, "sha256").hexdigest() == chunk.sha256
    except FileNotFoundError:
        return False


def rows_told(path: Path) -> int:
    """Rows by the footer; none if there is no footer."""
    try:
        return footer_rows(path)
    except (pa.ArrowException, FileNotFoundError):
        return 0


def columns_told(path: Path) -> pa.Schema:
    """The Arrow schema of a Parquet file."""
    return pq.read_schema(path)
