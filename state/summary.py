"""A run in short, as lists and maps of windows tell it: what costs little to read of a thousand runs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from state.model import FINISHED, Failure, Phase, Run, RunId, RunKind, RunStatus, Window


class Summary(msgspec.Struct, frozen=True):
    """A run without what grows with its data: manifest, receipt and most figures of its phases.

    `merged`: it holds a receipt. `rows`: all that were read, None before the phase that reads is done. `proof`:
    the verdict of its audit, empty before that. `seconds`: time spent in finished phases.
    """

    id: RunId
    name: str
    kind: RunKind
    status: RunStatus
    created_at: datetime
    failure: Failure | None
    attempts: int
    owner: str
    lease_expires_at: datetime | None
    next_attempt_at: datetime | None
    quarantined_at: datetime | None
    superseded_by: int
    updated_at: datetime | None
    merged: bool
    rows: int | None
    proof: str
    seconds: float

    @property
    def window(self) -> Window:
        return self.id.window

    @property
    def unfinished(self) -> bool:
        return self.status not in FINISHED and not self.superseded_by

    @property
    def phase_failed(self) -> Phase | None:
        return self.failure.phase if self.failure and self.status is RunStatus.FAILED else None


def summary_of(run: Run) -> Summary:
    """The same run in short."""
    read, audit = run.phases.get(Phase.SOURCE_TO_STAGE_TRANSFER), run.phases.get(Phase.AUDIT)
    return Summary(
        id=run.id,
        name=run.name,
        kind=run.kind,
        status=run.status,
        created_at=run.created_at,
        failure=run.failure,
        attempts=run.attempts,
        owner=run.owner,
        lease_expires_at=run.lease_expires_at,
        next_attempt_at=run.next_attempt_at,
        quarantined_at=run.quarantined_at,
        superseded_by=run.superseded_by,
        updated_at=run.updated_at,
        merged=run.merged,
        rows=count_in(read.figures.get("rows") if read else None),
        proof=verdict_in(audit.figures.get("validation_status") if audit else None),
        seconds=seconds_in((record.started_at, record.finished_at) for record in run.phases.values()),
    )


def count_in(figure: Any) -> int | None:
    """A count as a phase tells it; a user function may tell anything."""
    return figure if type(figure) is int else None


def verdict_in(figure: Any) -> str:
    """A verdict as an audit tells it; empty if there is none."""
    return str(figure) if isinstance(figure, str) else ""


def seconds_in(times: Iterable[tuple[datetime | None, datetime | None]]) -> float:
    """Seconds between the starts and ends of phases, where both are known."""
    return sum((end - start for start, end in times if start and end), timedelta()).total_seconds()
