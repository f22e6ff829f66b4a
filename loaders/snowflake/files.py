"""The named internal stage: files under their chunk's name, put whole and looked up by LIST.

What a stage can tell of a file is its size and an MD5, of the ciphertext where the client encrypts (every stage
that was not made with SNOWFLAKE_SSE). So a file is known to be its chunk by what was hashed here immediately
before PUT, by its size, and by its MD5 where the stage shows the plain one and this process put the file; its rows
are those of the footer that was hashed with it. COPY counts the rows again.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from loaders.base import Staged
from loaders.snowflake.names import Names
from loaders.snowflake.numbers import Inexact, inexact, refused
from loaders.snowflake.recent import Recent
from loaders.snowflake.sizes import require_sizes
from loaders.spool import UPLOADING, explained
from state.errors import RestartAttempt
from state.model import Chunk, RunId
from state.port import Port
from state.snowflake.session import Session

BLOCK = 16
"""Bytes of a cipher block: a file that the client encrypts is padded to the next one."""


Texts = Callable[[Collection[str]], Awaitable[Collection[str]]]
"""Those of some columns of JSON that the target keeps as text."""


async def none_is_text(_columns: Collection[str]) -> Collection[str]:
    """Where the target is made by us: JSON is a VARIANT."""
    return ()


@dataclass(frozen=True)
class Put:
    """A file that this process put: the MD5 of its bytes, and the columns that its footer tells."""

    md5: str
    columns: pa.Schema


@dataclass(frozen=True)
class Listed:
    """A file as LIST shows it."""

    name: str
    bytes: int
    md5: str
    modified: datetime


class StageFiles:
    """Files of one pipeline in the stage. `large`: values may be as large as Snowflake takes at most."""

    def __init__(self, names: Names, port: Port, *, large: bool) -> None:
        self._names = names
        self._large = large
        self._port = port
        self.known: Recent[Put] = Recent(10_000)

    async def put(self, session: Session, chunk: Chunk, path: Path, texts: Texts = none_is_text) -> Staged:
        """Bring a file to the stage under the chunk's name. Raises `RestartAttempt` if the file is not the chunk,
        or if Snowflake says anything but that it took it whole; `ContractError` for a value that is too large, or
        a number of JSON that it would change. `texts`: which columns it keeps as the text that comes."""
        md5, rows, columns, changed = await asyncio.to_thread(read, chunk, path, large=self._large)
        kept = await texts([found.column for found in changed]) if changed else ()
        for found in changed:
            if found.column not in kept:
                raise refused(found, chunk)
        async with named_as(path, PurePosixPath(chunk.name).name) as source:
            with self._port("loader.put.upload"):
                told = await session.put(source, self._names.location(f"{PurePosixPath(chunk.name).parent}/"))
        if told.get("status") != "UPLOADED" or int(told.get("source_size") or -1) != chunk.bytes:
            raise RestartAttempt(
                f"PUT of {chunk.name} ended as {told.get('status')} with {told.get('source_size')} of"
                f" {chunk.bytes} bytes: {told.get('message') or 'no message'}",
                hint="Its part is read again.",
                code="put_status",
            )
        self.known[chunk.name] = Put(md5, columns)
        return Staged(chunk.name, int(told["source_size"]), rows)

    async def under(self, session: Session, run: RunId) -> dict[str, Listed]:
        """All files of a run by name."""
        return await self._listed(session, self._names.folder(run))

    async def of_pipeline(self, session: Session, pipeline: str) -> dict[str, list[Listed]]:
        """All files of a pipeline by their run's hash, in one statement."""
        found: defaultdict[str, list[Listed]] = defaultdict(list)
        for file in (await self._listed(session, f"{pipeline}/")).values():
            found[file.name.split("/")[1]].append(file)
        return found

    async def _listed(self, session: Session, folder: str) -> dict[str, Listed]:
        found = await session.records(f"LIST {self._names.location(folder)}")
        return {file.name: file for file in (listed(record) for record in found)}

    def found(self, there: Mapping[str, Listed], chunks: Iterable[Chunk]) -> list[Chunk]:
        """Those of `chunks` whose files are there and are what was put."""
        return [chunk for chunk in chunks if chunk.name in there and self._same(there[chunk.name], chunk)]

    def require(self, there: Mapping[str, Listed], chunks: Sequence[Chunk]) -> None:
        """Raises `RestartAttempt` naming the first chunk whose file is gone or is not what was put there."""
        for chunk in chunks:
            if chunk.name not in there:
                raise RestartAttempt(
                    f"the staged file {chunk.name} is gone from {self._names.stage}",
                    hint="Its part is read again.",
                    code="stage_file_missing",
                )
            if not self._same(there[chunk.name], chunk):
                raise RestartAttempt(
                    f"the staged file {chunk.name} in {self._names.stage} is not the one that was put there",
                    hint="Its part is read again.",
                    code="stage_file_changed",
                )

    def _same(self, file: Listed, chunk: Chunk) -> bool:
        if file.bytes == chunk.bytes:
            put = self.known.get(chunk.name)
            return put is None or len(file.md5) != len(put.md5) or file.md5.lower() == put.md5
        return file.bytes == (chunk.bytes // BLOCK + 1) * BLOCK

    async def remove(self, session: Session, names: Collection[str], call: str) -> int:
        """Remove files; returns how many Snowflake says were there."""
        removed = 0
        for name in sorted(names):
            with self._port(f"loader.{call}.file"):
                removed += len(await session.rows(f"REMOVE {self._names.location(name)}"))
            self.known.forget(name)
        return removed

    async def remove_run(self, session: Session, run: RunId, call: str) -> int:
        """Remove everything of a run at once; returns how many files that were."""
        with self._port(f"loader.{call}.files"):
            return len(await session.rows(f"REMOVE {self._names.location(self._names.folder(run))}"))


def listed(record: Mapping[str, object]) -> Listed:
    """A row of LIST; the name begins with the stage's own, which is cut off."""
    name = str(record["name"]).partition("/")[2]
    modified = parsedate_to_datetime(str(record["last_modified"]))
    return Listed(name, int(str(record["size"])), str(record["md5"] or ""), modified.astimezone(UTC))


def read(chunk: Chunk, path: Path, *, large: bool) -> tuple[str, int, pa.Schema, list[Inexact]]:
    """MD5, rows and columns of a chunk's file, and numbers that a VARIANT changes. Raises `RestartAttempt` if its
    bytes are not the chunk's, and `ContractError` for a value that is too large."""
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    with explained(path.parent), path.open("rb") as file:
        while block := file.read(1 << 20):
            sha256.update(block)
            md5.update(block)
            size += len(block)
    if size != chunk.bytes or sha256.hexdigest() != chunk.sha256:
        raise RestartAttempt(
            f"the file of {chunk.name} is not what was written for it: size or SHA-256 differ",
            hint="Its part is read again. If that happens again, look at the disk.",
            code="stage_file_changed",
        )
    with pq.ParquetFile(path) as file:
        require_sizes(file, chunk, large=large)
        return md5.hexdigest(), file.metadata.num_rows, file.schema_arrow, inexact(file)


@asynccontextmanager
async def named_as(path: Path, name: str) -> AsyncIterator[Path]:
    """The file under another last name, because PUT takes over the local one. A hard link: no byte is copied."""
    link = await asyncio.to_thread(linked, path, name)
    try:
        yield link
    finally:
        await asyncio.to_thread(shutil.rmtree, link.parent)


def linked(path: Path, name: str) -> Path:
    """A hard link in a folder of its own, which the spool removes at its next start if nobody does before."""
    with explained(path.parent):
        folder = Path(tempfile.mkdtemp(prefix=UPLOADING, dir=path.parent.absolute()))
        try:
            os.link(path, folder / name)
        except OSError:
            folder.rmdir()
            raise
    return folder / name
