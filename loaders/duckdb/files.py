"""The stage directory: files under their chunk's name, each there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from loaders.disk import copied, disk_errors, is_chunk, make_folder
from loaders.parquet import footer_rows
from state.errors import RestartAttempt
from state.model import Chunk
from state.port import Port


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

    def runs(self) -> set[str]:
        """Hashes of the runs of this pipeline that have a file here."""
        root = self.directory / self._pipeline
        names = [path.name for path in root.iterdir()] if root.is_dir() else []
        return {name for name in names if self.under(name)}

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


def rows_told(path: Path) -> int:
    """Rows by the footer; none if there is no footer."""
    try:
        return footer_rows(path)
    except (pa.ArrowException, FileNotFoundError):
        return 0


def columns_told(path: Path) -> pa.Schema:
    """The Arrow schema of a Parquet file."""
    return pq.read_schema(path)
