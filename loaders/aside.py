"""Rows that a policy set aside: where they go, the same for every loader.

Beside the target there is the quarantine table: one row for each source row, with why and for which value it was
set aside, and the row itself as text. It is made when the first one comes. Whoever mends the source and loads the
span again finds the row in the target, and there no longer.
"""

from __future__ import annotations

from state.errors import RestartAttempt
from state.model import Attempt, Manifest, Window

TABLE = "__SLUICEWAY_QUARANTINE"
"""What the name of a target's quarantine table ends with."""

SIDE = "_Q"
"""What the name of a stage table of side chunks ends with, after the name of the attempt's own."""

PIPELINE, READ_START, READ_END = "pipeline", "read_start", "read_end"
"""The run's pipeline and what it read, in each row of the quarantine table."""


def read_by(attempt: Attempt, manifest: Manifest) -> Window:
    """What the run has read: what the quarantine table holds of that is told anew, and in mode snapshot all."""
    return manifest.span or attempt.run.window


def require_aside(attempt: Attempt, manifest: Manifest, found: int | None) -> None:
    """The gate counted in a session of its own. Raises `RestartAttempt` if side rows came or went since. `found`:
    None where their stage table is gone."""
    if found != manifest.quarantined:
        raise RestartAttempt(
            f"{manifest.quarantined} rows of {attempt.name} are set aside, and their stage table"
            f" {'is gone' if found is None else f'has {found}'}",
            hint="Nothing was written; the rows are staged again, in a table of the next attempt.",
            code="stage_rows",
        )
