"""Files as a source: Parquet, CSV or NDJSON under a path or pattern, with a cursor column.

A snapshot is the list of files as it was opened. Each file is looked at before and after it is read, and one that
changed in between makes the reader start again. A file that holds nothing of a range is read once, to learn that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime

import pyarrow as pa

from connectors.cursor import is_time
from connectors.cutting import cut, first_width, next_width
from connectors.files.checking import cursor_check, failed, files_check, null_hint
from connectors.files.csv import CsvFormat
from connectors.files.formats import Format, require_same
from connectors.files.listing import SourceFile, list_files, reading
from connectors.files.ndjson import NdjsonFormat
from connectors.files.parquet import ParquetFormat
from connectors.files.scan import Counting, Scanner, Tally
from connectors.files.settings import FilesSettings
from connectors.files.snapshot import FilesSnapshot, exhaust, rows_of
from state.checks import Check
from state.contract import RESERVED_PREFIX, Contract
from state.errors import ConfigurationError, ContractError, SluicewayError
from state.model import Window
from state.port import Port, direct

FORMATS: Mapping[str, Callable[[FilesSettings], Format]] = {
    "parquet": ParquetFormat,
    "csv": CsvFormat,
    "ndjson": NdjsonFormat,
}
"""Format → what reads it."""


class FilesConnector:
    """`connectors.base.Connector` over files. The source's clock is this machine's."""

    def __init__(self, settings: FilesSettings, port: Port = direct) -> None:
        self._settings = settings
        self._port = port
        self._format = FORMATS[settings.format](settings)
        self._scanner = Scanner(self._format, self._require_agreement)
        self._contract: Contract | None = None
        self._planned: dict[Window, tuple[Sequence[SourceFile], int]] = {}
        self._snapshots: set[FilesSnapshot] = set()

    async def check(self) -> Sequence[Check]:
        """See `Connector.check`. Every value of the cursor is looked at once."""
        found: list[Check] = []
        try:
            files = await self._list()
            found.append(files_check(self._settings, files))
            await self.contract()
            with self._port("source.count"):
                await exhaust(self._scanner.all_of(files))
        except SluicewayError as error:
            return [*found, failed("source columns" if found else "source files", error)]
        return [*found, cursor_check(self._settings, self._scanner.extents(files))]

    async def contract(self) -> Contract:
        """See `Connector.contract`. Asked once; later files must agree with it."""
        if self._contract is None:
            files = await self._list()
            with self._port("source.contract"):
                self._contract = await asyncio.to_thread(declared, self._settings, self._format, files)
        return self._contract

    async def plan(self, span: Window, rows_per_part: int) -> Sequence[Window]:
        """See `Connector.plan`. The files are passed over once, and again where an instant is crowded."""
        await self.contract()
        files = await self._list()
        cells: dict[int, int] = {}
        over: set[int] | None = None
        above = width = first_width(span)
        while over is None or over:
            tally = Tally(span, width, over, above)
            with self._port("source.plan"):
                await exhaust(tally.steps(self._scanner.passing(files, span)))
            self._require_cursors(files)
            over = {cell for cell, rows in tally.rows.items() if width > 1 and rows > rows_per_part}
            cells |= {cell * width: rows for cell, rows in tally.rows.items() if cell not in over}
            above, width = width, next_width(width)
        parts = cut(span, cells, rows_per_part)
        self._planned |= {part: (files, rows) for part, rows in parts.items()}
        return list(parts)

    def open(self, span: Window | None) -> AbstractAsyncContextManager[FilesSnapshot]:
        """See `Connector.open`. Raises `ContractError` for rows without a cursor, unless they are left out."""
        return self._open(span)

    async def count(self, span: Window | None) -> int:
        """See `Connector.count`."""
        await self.contract()
        return await self._count(await self._list(), span)

    async def now(self) -> datetime:
        """This machine's clock."""
        return datetime.now(UTC)

    async def readable_until(self, now: datetime) -> datetime:
        """This machine's clock: nobody tells which files are still to come."""
        return now

    async def aclose(self) -> None:
        """See `Connector.aclose`: files that are still being read are closed."""
        for snapshot in list(self._snapshots):
            await snapshot.aclose()

    @asynccontextmanager
    async def _open(self, span: Window | None) -> AsyncIterator[FilesSnapshot]:
        contract = await self.contract()
        read_at = await self.now()
        files = await self._list()
        count = await self._count(files, span)
        of_span = [file for file in files if self._scanner.may_hold(file, span)]
        left_out = 0 if span is None else self._scanner.nulls(files)
        snapshot = FilesSnapshot(
            lambda aside: rows_of(self._format, of_span, contract.schema, span, aside),
            count,
            read_at,
            {str(contract.cursor): left_out} if left_out else {},
            self._port,
        )
        self._snapshots.add(snapshot)
        try:
            yield snapshot
        finally:
            await snapshot.aclose()
            self._snapshots.discard(snapshot)

    async def _list(self) -> list[SourceFile]:
        with self._port("source.list"):
            return await asyncio.to_thread(list_files, self._settings)

    async def _count(self, files: Sequence[SourceFile], span: Window | None) -> int:
        """Rows of `span` in exactly these files. A part that was planned over the same ones is counted already."""
        if span is None:
            with self._port("source.count"):
                await exhaust(self._scanner.all_of(files))
            return self._scanner.rows(files)
        counted, rows = self._planned.get(span, ((), 0))
        if counted == files:
            return rows
        counting = Counting(span)
        with self._port("source.count"):
            await exhaust(counting.steps(self._scanner.passing(files, span)))
        self._require_cursors(files)
        return counting.rows

    def _require_agreement(self, file: SourceFile) -> None:
        """Raise `ContractError` if a file that came later has other columns than the contract."""
        assert self._contract is not None
        require_same(self._format.columns(file), file.path, self._contract.schema, "the contract")

    def _require_cursors(self, files: Sequence[SourceFile]) -> None:
        nulls = self._scanner.nulls(files)
        if nulls and self._settings.null_cursor == "error":
            raise ContractError(
                f"{nulls} rows at {self._settings.path} have no value in their cursor '{self._settings.cursor}'",
                hint=null_hint(self._settings),
                code="null_cursor",
            )


def declared(settings: FilesSettings, format_: Format, files: Sequence[SourceFile]) -> Contract:
    """The contract that all files declare; it blocks. See `Connector.contract`."""
    schema: pa.Schema = None
    for file in files:
        with reading(file):
            found = format_.columns(file)
            schema = found if schema is None else schema
            require_same(found, file.path, schema, files[0].path)
    return agreed(settings, schema)


def agreed(settings: FilesSettings, schema: pa.Schema) -> Contract:
    """The contract of these columns, if they have what is configured."""
    contract = Contract(schema, settings.cursor, settings.key)
    cursors = [] if settings.cursor is None else [settings.cursor]
    for setting, columns in (("cursor", cursors), ("key", settings.key)):
        if missing := contract.missing(columns):
            raise _wrong(setting, f"there is no column '{missing[0]}'; there are {', '.join(schema.names)}")
    if cursors and not is_time(type_ := schema.field(settings.cursor).type):
        raise _wrong("cursor", f"column '{settings.cursor}' is {type_}, and no timestamp or date")
    if ours := [name for name in schema.names if name.startswith(RESERVED_PREFIX)]:
        raise _wrong(
            "exclude", f"column '{ours[0]}' has a name that is kept for this program; rename or exclude it"
        )
    return contract


def _wrong(setting: str, message: str) -> ConfigurationError:
    path = f"source_system.{setting}"
    return ConfigurationError(message, hint=f"Correct {path}.", code=setting, path=path)
