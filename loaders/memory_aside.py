"""Rows that are set aside, in the twin: their stage table and the quarantine table."""

from __future__ import annotations

from datetime import datetime

from loaders.aside import PIPELINE, READ_END, READ_START, SIDE, TABLE, read_by, require_aside
from loaders.memory_files import MemoryFiles
from loaders.memory_rows import MemoryTable, Row, inside
from loaders.swap import fenced_span
from state.contract import LOADED_AT, QUARANTINED, READ_AT, RUN
from state.model import Attempt, Manifest, Window


class MemoryAside(MemoryFiles):
    """The quarantine table of a target."""

    def _stage_aside(self, stage: str, rows: list[Row], made_at: datetime) -> None:
        with self._port("loader.copy.load"):
            columns = {field.name: field for field in QUARANTINED}
            self.target.tables[stage + SIDE] = MemoryTable(made_at, columns, rows)

    def _quarantine(self, attempt: Attempt, manifest: Manifest, stage: str, at: datetime) -> int:
        """Side rows into the quarantine table, in the place of those of the span that was read; how many came."""
        name = self._table + TABLE
        if not manifest.side_chunks and name not in self.target.tables:
            return 0
        staged = self._side_rows(manifest, stage)
        self._require_side(attempt, manifest, staged)
        read = read_by(attempt, manifest)
        span = fenced_span(self._mode, read)
        stamp = {
            PIPELINE: attempt.run.pipeline,
            READ_START: read.start,
            READ_END: read.end,
            RUN: attempt.name,
            LOADED_AT: at,
        }
        come = [{**{name: row[name] for name in (*QUARANTINED.names, READ_AT)}, **stamp} for row in staged or ()]
        with self._port("loader.merge.quarantine"):
            table = self.target.tables.setdefault(name, MemoryTable(at))
            table.rows = [row for row in table.rows if not self._is_read_again(row, attempt, span)] + come
        return len(come)

    def _require_side(self, attempt: Attempt, manifest: Manifest, staged: list[Row] | None) -> None:
        require_aside(attempt, manifest, None if staged is None else len(staged))

    def _side_rows(self, manifest: Manifest, stage: str | None) -> list[Row] | None:
        """Side rows of a stage table; none of a run that set none aside, None if their table is gone."""
        if not manifest.side_chunks:
            return []
        found = self.target.tables.get(f"{stage}{SIDE}")
        return None if found is None else found.rows

    def _is_read_again(self, row: Row, attempt: Attempt, span: Window) -> bool:
        """True for a row that a run over `span` tells anew."""
        if row[PIPELINE] != attempt.run.pipeline:
            return False
        if row["row_cursor"] is None:
            return bool(span.start <= row[READ_START] and row[READ_END] <= span.end)
        return inside(span, row["row_cursor"])

    def _quarantined_by(self, attempt: Attempt) -> int:
        table = self.target.tables.get(self._table + TABLE)
        return sum(row[RUN] == attempt.name for row in table.rows) if table else 0

    def _merged_since(self, attempt: Attempt) -> bool:
        """Whether another run of the pipeline has merged after this one."""
        runs = [receipt.run for _, receipt in self.target.receipts if receipt.run.pipeline == attempt.run.pipeline]
        return attempt.run in runs and runs[-1] != attempt.run
