"""Rows that value policies set aside in phase 3: how many a run may, and what is told of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from service.figures import touched
from service.settings import SourceToStage
from state.errors import PermanentError
from state.model import Manifest, Run

SETTINGS = "phases.source_to_stage_transfer"


class TooManySetAside(PermanentError):
    """More rows do not fit their columns than may be set aside: rather the source has changed."""


class Allowance:
    """Counts what a run sets aside while its parts are read; a part that is read again is counted anew."""

    def __init__(self, settings: SourceToStage, run: Run) -> None:
        self._settings = settings
        self._name = run.name
        self._rows = {number: part.quarantined for number, part in enumerate(run.manifest.parts)}
        self._example = ""

    def begin(self, number: int) -> None:
        """Part `number` is read from its start."""
        self._rows[number] = 0

    def add(self, number: int, rows: pa.RecordBatch) -> None:
        """Rows of part `number` are set aside. Raises `TooManySetAside`."""
        self._rows[number] += rows.num_rows
        first = rows.slice(0, 1).to_pylist()[0]
        self._example = f"; one of them for {first['bad_column']}: {first['reason']}"
        most = self._settings.max_quarantined_rows
        if (found := sum(self._rows.values())) > most:
            raise self._refusal(f"{found:,} rows", f"{most:,} rows", "max_quarantined_rows")

    def require(self, manifest: Manifest) -> None:
        """Everything is read. Raises `TooManySetAside`."""
        most, read = self._settings.max_quarantined_percent, sum(part.rows_read for part in manifest.parts)
        if manifest.quarantined * 100 > most * read:
            found = f"{manifest.quarantined:,} of {read:,} rows"
            raise self._refusal(found, f"{most:g} percent", "max_quarantined_percent")

    def _refusal(self, found: str, most: str, setting: str) -> TooManySetAside:
        return TooManySetAside(
            f"{found} of {self._name} do not fit their columns, and {most} may be set aside{self._example}",
            hint="Nothing was merged. Look whether the source has changed; mend it, or the columns' types, or"
            f" raise {SETTINGS}.{setting}. A retry reads everything again.",
            code="quarantined_rows",
        )


def policy_figures(manifest: Manifest) -> Mapping[str, Any]:
    """What policies did, for a phase's column; nothing where they did nothing."""
    changed = touched(manifest)
    return {
        **({"touched": changed} if changed else {}),
        **({"quarantined": manifest.quarantined} if manifest.quarantined else {}),
    }
