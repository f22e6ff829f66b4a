"""Staged files into the archive before they are removed: within Snowflake by COPY FILES, or downloaded and
kept."""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from loaders.archive import Archive
from loaders.archive_settings import SETTING, ArchivePlace
from loaders.snowflake.copying import MOST_FILES
from loaders.snowflake.files import Listed
from loaders.snowflake.names import Names
from state.errors import ConfigurationError, PermanentError
from state.model import Chunk
from state.port import Port
from state.snowflake.names import parse, text
from state.snowflake.session import Session


async def archive(
    session: Session,
    names: Names,
    place: ArchivePlace,
    chunks: Sequence[Chunk],
    *,
    there: dict[str, Listed],
    port: Port,
) -> None:
    """Have every chunk in the archive. Raises `PermanentError` for one that is neither there nor staged."""
    if place.stage is not None:
        await archive_in_stage(session, names, place.stage, chunks, there=there, port=port)
        return
    shelf = Archive(place, port)
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="sluiceway-archive-"))
    try:
        for chunk in chunks:
            local = folder / PurePosixPath(chunk.name).name
            if chunk.name in there:
                with port("loader.archive.get"):
                    await session.rows(f"GET {names.location(chunk.name)} {text(f'file://{folder}/')}")
            await shelf.keep(chunk, local)
            await asyncio.to_thread(local.unlink, missing_ok=True)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder)


async def archive_in_stage(
    session: Session, names: Names, place: str, chunks: Sequence[Chunk], *, there: dict[str, Listed], port: Port
) -> None:
    """COPY FILES into another stage, then look at what arrived; Snowflake moves the bytes itself."""
    into = stage_location(place)
    require_elsewhere(into, names)
    found = await archived(session, into, chunks)
    missing = [chunk for chunk in chunks if chunk.name not in found]
    for chunk in missing:
        if chunk.name not in there:
            raise PermanentError(
                f"the file {chunk.name} is gone from the stage and is not in the archive {place}",
                hint="What else is staged of this run is kept; the source may still have the rows.",
                code="archive_missing",
            )
    for first in range(0, len(missing), MOST_FILES):
        named = ", ".join(text(chunk.name) for chunk in missing[first : first + MOST_FILES])
        with port("loader.archive.copy"):
            await session.records(f"COPY FILES INTO {into} FROM {names.location()} FILES = ({named})", long=True)
    found = await archived(session, into, chunks)
    for chunk in chunks:
        if chunk.name not in found:
            raise PermanentError(
                f"{chunk.name} was copied to {place}, and is not there when it is looked for",
                hint="Look at who removes files from the archive; the stage is kept.",
                code="archive_vanished",
            )


async def archived(session: Session, into: str, chunks: Sequence[Chunk]) -> set[str]:
    """Names of the chunks that the archive holds in their size. Raises `PermanentError` for one of another
    size."""
    found: dict[str, int] = {}
    for folder in sorted({str(PurePosixPath(chunk.name).parent) for chunk in chunks}):
        for record in await session.records(f"LIST {into}{folder}/"):
            found[f"{folder}/{PurePosixPath(str(record['name'])).name}"] = int(str(record["size"]))
    for chunk in chunks:
        size = found.get(chunk.name, chunk.bytes)
        if size not in (chunk.bytes, (chunk.bytes // 16 + 1) * 16):
            raise PermanentError(
                f"the archive holds {chunk.name} with {size} bytes, the chunk has {chunk.bytes}",
                hint="Find out who wrote it and move it away; it is never replaced, and the stage is kept.",
                code="archive_differs",
            )
    return set(found) & {chunk.name for chunk in chunks}


def require_elsewhere(into: str, names: Names) -> None:
    """What is removed from the stage must not be the archive itself. Raises `ConfigurationError`."""
    if into == names.location():
        raise ConfigurationError(
            f"{SETTING} is the stage that is cleaned, {names.stage}: nothing would be kept",
            hint=f"Name another stage, or a folder of this one: @{names.stage}/archive.",
            code="archive_place",
            path=SETTING,
        )


PART = re.compile(r"[A-Za-z0-9_.=-]+")
"""A folder of an archive: a place in a stage cannot be bound or quoted, so nothing else may stand in it (X-5)."""


def stage_location(place: str) -> str:
    """`@DB.SCHEMA.STAGE/path` in a statement, ending in a slash. Raises `ConfigurationError`."""
    stage, _, path = place.removeprefix("@").partition("/")
    parts = path.removesuffix("/").split("/") if path else []
    if not all(PART.fullmatch(part) and part not in (".", "..") for part in parts):
        raise ConfigurationError(
            f"{SETTING}: the path in {place!r} has a part that is empty, . or .., or has other characters than"
            " letters, digits and _ . = -",
            hint="Write @DB.SCHEMA.STAGE or @DB.SCHEMA.STAGE/path.",
            code="archive_place",
            path=SETTING,
        )
    folder = f"{path.strip('/')}/" if path else ""
    return f"@{parse(stage, path=SETTING).sql}/{folder}"
