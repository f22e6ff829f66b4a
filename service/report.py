"""What the drive table knows of a run, said for an operator: phases, proof, error, cause, next safe action.

One description for `show`, the end of `run`, and error panels; it holds no layout.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from state.errors import AuditMismatch, ReceiptMismatch, UnknownOutcome
from state.model import FINISHED, Failure, Phase, Run, RunStatus, show_instant
from state.summary import Summary


class Advice(msgspec.Struct, frozen=True):
    """Is the data safe, what happens by itself, what to do; `command` is what to type, if anything."""

    safe: str
    happens: str
    do: str = ""
    command: str = ""


class PhaseLine(msgspec.Struct, frozen=True):
    """One phase of a run; `seconds` is None while it is not finished."""

    phase: Phase
    status: str
    seconds: float | None
    figures: Mapping[str, Any]


class RunReport(msgspec.Struct, frozen=True):
    """Everything about one run. `proof` holds the links as the audit (or the failed gate) stored them."""

    pipeline_id: str
    pipeline: str
    status: RunStatus
    window: str
    read_range: str
    token: int
    attempts: int
    owner: str
    phases: tuple[PhaseLine, ...]
    validation_status: str | None
    broken_link: str | None
    proof: tuple[Mapping[str, Any], ...]
    files: tuple[Mapping[str, Any], ...]
    failure: Failure | None
    advice: Advice


def report(run: Run, now: datetime) -> RunReport:
    """Describe `run`; `now` is the drive table's clock."""
    audit = run.phases.get(Phase.AUDIT)
    broken = next((r for r in reversed(list(run.phases.values())) if r.figures.get("broken_link")), None)
    shown = broken or audit
    figures = shown.figures if shown else {}
    return RunReport(
        pipeline_id=run.name,
        pipeline=run.id.pipeline,
        status=run.status,
        window=str(run.window),
        read_range=str(run.read_range),
        token=run.token,
        attempts=run.attempts,
        owner=run.owner,
        phases=tuple(phase_line(run, phase) for phase in Phase),
        validation_status=figures.get("validation_status"),
        broken_link=figures.get("broken_link"),
        proof=tuple(figures.get("proof") or ()),
        files=tuple(msgspec.to_builtins(chunk) for chunk in run.manifest.files),
        failure=run.failure,
        advice=advice(run, now),
    )


def described(run: Run, same_config: str) -> RunReport:
    """The report of a run as it was stored, its command with what it takes to reach the same configuration."""
    told = report(run, run.updated_at or run.created_at)
    command = told.advice.command and told.advice.command + same_config
    return msgspec.structs.replace(told, advice=msgspec.structs.replace(told.advice, command=command))


def phase_line(run: Run, phase: Phase) -> PhaseLine:
    record = run.phases.get(phase)
    failed = run.phase_failed is phase
    if record is None:
        return PhaseLine(phase, "FAILED" if failed else "-", None, {})
    took = record.finished_at - record.started_at if record.finished_at and record.started_at else None
    figures = {key: value for key, value in record.figures.items() if key != "proof"}
    status = "FAILED" if failed else record.status.value
    return PhaseLine(phase, status, took.total_seconds() if took else None, figures)


def safety(run: Run | Summary) -> str:
    """Whether the target can be trusted for this run's window."""
    kind = run.failure.kind if run.failure is not None else ""
    if kind == ReceiptMismatch.kind:
        return "This run wrote nothing: the target holds its receipt for other data, or is another table now."
    if run.merged and kind == AuditMismatch.kind:
        return "The rows were merged, but a count does not hold any more: do not rely on this window yet."
    if run.merged:
        return "The rows are in the target, once; its receipt says so."
    if kind == UnknownOutcome.kind:
        return "It is not known yet whether the merge was committed; nothing can be loaded twice either way."
    if run.status in FINISHED:
        return "The target was not changed by this run."
    return "The target is unchanged: this run has not been merged. What was read and staged is kept."


def advice(run: Run | Summary, now: datetime) -> Advice:
    """The next safe action for `run`."""
    safe = safety(run)
    span = f"--from {show_instant(run.window.start)} --to {show_instant(run.window.end)}"
    if run.superseded_by:
        return Advice(safe, f"Run {run.superseded_by} of the same window does it again.")
    match run.status:
        case RunStatus.COMPLETED:
            return Advice(safe, "Nothing more to do.")
        case RunStatus.SKIPPED:
            if (later := superseded(run)) is not None:
                return Advice(safe, f"The target holds the table as it was later: {later} is loaded.")
            happens = "A user function skipped it: the window stays a gap."
            return Advice(safe, happens, "To load it after all:", f"sluiceway backfill {span}")
        case RunStatus.PENDING:
            return Advice(safe, "The next worker takes it.", "To do it now:", "sluiceway run")
        case RunStatus.RUNNING:
            return running(run, now, safe)
    return failed(run, now, safe)


def superseded(run: Run | Summary) -> str | None:
    """The later window that a run of mode snapshot was skipped for, if it is known."""
    record = run.phases.get(Phase.STALE_PIPELINE_HANDLING) if isinstance(run, Run) else None
    return None if record is None else record.figures.get("superseded_by")


def running(run: Run | Summary, now: datetime, safe: str) -> Advice:
    if run.lease_expires_at is None or run.lease_expires_at > now:
        until = show_instant(run.lease_expires_at) if run.lease_expires_at else "now"
        return Advice(safe, f"A worker is at it ({run.owner}), with a lease until {until}.")
    return Advice(safe, "Its worker is gone; the next one goes on from the last checkpoint.", "", "sluiceway run")


def failed(run: Run | Summary, now: datetime, safe: str) -> Advice:
    hint = run.failure.hint if run.failure else ""
    if run.quarantined_at is not None:
        return Advice(safe, "Nothing by itself: an operator decides.", hint, f"sluiceway retry {run.name}")
    if run.next_attempt_at is None or run.next_attempt_at <= now:
        return Advice(safe, "The next worker tries again.", hint, "sluiceway run")
    return Advice(safe, f"It is tried again at {show_instant(run.next_attempt_at)}.", hint, "sluiceway run")
