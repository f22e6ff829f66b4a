"""A run as one row of `pipeline_execution_drive`, in the columns that operators query.

Timestamps are UTC text `2013-01-01 00:00:00.000000`: readable, and sorted as text they are sorted in time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from state.model import (
    Failure,
    Manifest,
    Phase,
    PhaseRecord,
    PhaseStatus,
    Receipt,
    Run,
    RunId,
    RunKind,
    RunStatus,
    Window,
)
from state.summary import Summary, count_in, seconds_in, verdict_in

Row = Mapping[str, Any]

PHASES = tuple(f"{phase.value}_phase" for phase in Phase)
SUMMARY = (
    "pipeline_id",
    "pipeline_name",
    "pipeline_status",
    "created_at",
    "updated_at",
    "query_window_start_timestamp",
    "query_window_end_timestamp",
    "run_kind",
    "run_number",
    *PHASES,
    "failure",
    "attempts",
    "owner",
    "lease_expires_at",
    "next_attempt_at",
    "quarantined_at",
    "superseded_by",
    "drive_id",
)
"""What `summary_in` reads, with `MERGED` beside it: neither the manifest nor the receipt itself."""
MERGED = "receipt IS NOT NULL AS is_merged"


def row_of(run: Run) -> dict[str, Any]:
    """Column → value; every column is there."""
    return {
        "pipeline_id": run.name,
        "pipeline_name": run.id.pipeline,
        "pipeline_status": run.status.value,
        "phase_failed": run.phase_failed and run.phase_failed.value,
        "created_at": text_of(run.created_at),
        "updated_at": text_of(run.updated_at),
        "query_window_start_timestamp": text_of(run.window.start),
        "query_window_end_timestamp": text_of(run.window.end),
        "read_start_timestamp": text_of(run.read_start),
        "run_kind": run.kind.value,
        "run_number": run.id.number,
        **{f"{phase.value}_phase": _phase_json(run.phases.get(phase)) for phase in Phase},
        "manifest": _json(run.manifest),
        "receipt": run.receipt and _json(run.receipt),
        "failure": run.failure and _json(run.failure),
        "token": run.token,
        "attempts": run.attempts,
        "strikes": run.strikes,
        "owner": run.owner,
        "lease_expires_at": text_of(run.lease_expires_at),
        "next_attempt_at": text_of(run.next_attempt_at),
        "quarantined_at": text_of(run.quarantined_at),
        "superseded_by": run.superseded_by,
        "drive_id": run.id.drive_id,
    }


def run_of(row: Row) -> Run:
    """The run that `row_of` wrote."""
    window = Window(_instant(row["query_window_start_timestamp"]), _instant(row["query_window_end_timestamp"]))
    return Run(
        id=RunId(row["drive_id"], row["pipeline_name"], window, row["run_number"]),
        name=row["pipeline_id"],
        kind=RunKind(row["run_kind"]),
        read_start=_instant(row["read_start_timestamp"]),
        created_at=_instant(row["created_at"]),
        status=RunStatus(row["pipeline_status"]),
        phases={phase: _phase(text) for phase in Phase if (text := row[f"{phase.value}_phase"])},
        manifest=msgspec.json.decode(row["manifest"], type=Manifest),
        receipt=msgspec.json.decode(row["receipt"], type=Receipt) if row["receipt"] else None,
        failure=msgspec.json.decode(row["failure"], type=Failure) if row["failure"] else None,
        token=row["token"],
        attempts=row["attempts"],
        strikes=row["strikes"],
        owner=row["owner"],
        lease_expires_at=instant_of(row["lease_expires_at"]),
        next_attempt_at=instant_of(row["next_attempt_at"]),
        quarantined_at=instant_of(row["quarantined_at"]),
        superseded_by=row["superseded_by"],
        updated_at=instant_of(row["updated_at"]),
    )


def summary_in(row: Row) -> Summary:
    """The run that `row_of` wrote, in short; equal to its `summary_of`."""
    window = Window(_instant(row["query_window_start_timestamp"]), _instant(row["query_window_end_timestamp"]))
    told = {name: msgspec.json.decode(text, type=_Told) for name in PHASES if (text := row[name])}
    read, audit = told.get(f"{Phase.SOURCE_TO_STAGE_TRANSFER}_phase"), told.get(f"{Phase.AUDIT}_phase")
    return Summary(
        id=RunId(row["drive_id"], row["pipeline_name"], window, row["run_number"]),
        name=row["pipeline_id"],
        kind=RunKind(row["run_kind"]),
        status=RunStatus(row["pipeline_status"]),
        created_at=_instant(row["created_at"]),
        failure=msgspec.json.decode(row["failure"], type=Failure) if row["failure"] else None,
        attempts=row["attempts"],
        owner=row["owner"],
        lease_expires_at=instant_of(row["lease_expires_at"]),
        next_attempt_at=instant_of(row["next_attempt_at"]),
        quarantined_at=instant_of(row["quarantined_at"]),
        superseded_by=row["superseded_by"],
        updated_at=instant_of(row["updated_at"]),
        merged=bool(row["is_merged"]),
        rows=count_in(read and read.rows),
        proof=verdict_in(audit and audit.validation_status),
        seconds=seconds_in((one.started_at, one.finished_at) for one in told.values()),
    )


class _Told(msgspec.Struct, frozen=True):
    """Of a phase's column what a summary says; the decoder passes over the rest."""

    started_at: datetime | None = None
    finished_at: datetime | None = None
    rows: Any = None
    validation_status: Any = None


def text_of(at: datetime | None) -> str | None:
    """The column form of a UTC instant; years before 1000 keep their four digits."""
    if at is None:
        return None
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def instant_of(text: str | None) -> datetime | None:
    """The instant in a column, None for NULL."""
    return None if text is None else _instant(text)


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _json(value: msgspec.Struct) -> str:
    return msgspec.json.encode(value).decode()


def _phase_json(record: PhaseRecord | None) -> str | None:
    if record is None:
        return None
    named = {"status": record.status.value, "started_at": record.started_at, "finished_at": record.finished_at}
    return msgspec.json.encode({**named, **record.figures, **named}).decode()  # a figure never hides the status


def _phase(text: str) -> PhaseRecord:
    figures = json.loads(text)
    status, started, finished = (figures.pop(name) for name in ("status", "started_at", "finished_at"))
    return PhaseRecord(
        PhaseStatus(status),
        started and datetime.fromisoformat(started),
        finished and datetime.fromisoformat(finished),
        figures,
    )
