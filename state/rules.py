"""What may become of a run, decided inside one transaction. The obligations are those of `state.drive`.

Every function reads rows, decides, and only then writes, so that a refusal leaves nothing behind.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from state.drive import Event, NewRun
from state.errors import AuditMismatch, ConfigurationError, DuplicateWindow, LeaseLost, ReceiptMismatch
from state.model import (
    Claim,
    Failure,
    Manifest,
    Part,
    Phase,
    PhaseRecord,
    PhaseStatus,
    Receipt,
    Run,
    RunId,
    RunKind,
    RunStatus,
    Window,
    run_name,
)
from state.wishes import Again, Wish

if TYPE_CHECKING:
    from state.transactional import Rows

ORDER = {phase: place for place, phase in enumerate(Phase)}
WORKING = (RunStatus.RUNNING, RunStatus.COMPLETED, RunStatus.SKIPPED)
IsDead = Callable[[Run], bool]
"""True if certainly nobody holds a run, whatever its lease says."""


def create(rows: Rows, pipeline: str, new: Sequence[NewRun]) -> list[Run]:
    """Raises `DuplicateWindow`."""
    busy = list(rows.unfinished(pipeline))
    created: list[Run] = []
    for one in new:
        require_free(rows, pipeline, one, busy)
        created.append(rows.put(first(rows, pipeline, one)))
        insort(busy, created[-1], key=by_window)
    return created


def by_window(run: Run) -> Window:
    return run.window


def require_free(rows: Rows, pipeline: str, new: NewRun, busy: Sequence[Run]) -> None:
    """Raise `DuplicateWindow` if `new` overlaps unfinished work, or is no new window of the schedule.

    `busy` is in order of windows and never overlaps itself, so only the neighbours of `new` can overlap it.
    """
    place = bisect_left(busy, new.window, key=by_window)
    other = next((run for run in busy[max(place - 1, 0) : place + 1] if run.window.overlaps(new.window)), None)
    if other is not None:
        raise DuplicateWindow(
            f"{pipeline}: a run over {new.window} would overlap {other.name}, which is not finished",
            hint=f"Let {other.name} finish, or see `sluiceway show {other.name}` for what it waits for.",
            code="unfinished",
        )
    if new.kind is not RunKind.SCHEDULED:
        return
    # Scheduled spans never overlap each other, so the last one that starts before the end is the only candidate.
    span = rows.scheduled_before(pipeline, new.window.end)
    if span is not None and span != new.window and span.overlaps(new.window):
        raise DuplicateWindow(
            f"{pipeline}: the scheduled window {new.window} would overlap the scheduled window {span}",
            hint="The start, width or time zone of the windows was changed; go on from the end of the last one.",
            code="tiling",
        )
    if known := rows.highest_number(pipeline, new.window):
        raise DuplicateWindow(
            f"{pipeline}: the scheduled window {new.window} has run {known} already",
            hint="Nothing to do: another worker was faster. To load it again: sluiceway backfill over its span.",
            code="known",
        )


def first(rows: Rows, pipeline: str, new: NewRun) -> Run:
    """The PENDING run with the next number of its window."""
    number = max(rows.highest_number(pipeline, new.window), new.run_floor) + 1
    tile = new.kind is RunKind.SCHEDULED or rows.scheduled_before(pipeline, new.window.end) == new.window
    return Run(
        RunId(rows.drive_id, pipeline, new.window, number),
        run_name(pipeline, new.window, number, scheduled=tile),
        new.kind,
        new.read_start,
        rows.now(),
    )


def adopt(rows: Rows, pipeline: str, receipts: Sequence[Receipt], token_floor: int, is_dead: IsDead) -> list[Run]:
    """Runs that changed, in the order of the receipts."""
    rows.lift_token(pipeline, token_floor)
    changed = []
    for receipt in receipts:
        if receipt.run.pipeline != pipeline:
            continue
        run = rows.get(receipt.run)
        if run is None:
            changed.append(rows.put(proven_elsewhere(rows, receipt)))
        elif is_behind(run, receipt) and not is_held(run, rows.now(), is_dead):
            changed.append(rows.put(replace(given_up(run), status=RunStatus.COMPLETED, **proof(run, receipt))))
    return changed


def is_behind(run: Run, receipt: Receipt) -> bool:
    """True if this row comes from before the merge, and cannot get to it by going on.

    A run whose manifest is the receipt's finds the receipt by itself, and then its audit and cleaning are done.
    """
    return run.unfinished and run.receipt is None and run.manifest.digest != receipt.manifest_digest


def proven_elsewhere(rows: Rows, receipt: Receipt) -> Run:
    """A run that only the target remembers.

    Its kind is not proven; as SCHEDULED it would forbid every scheduled window that overlaps it, for ever.
    """
    identity = receipt.run
    tile, span = (
        run_name(identity.pipeline, identity.window, identity.number, scheduled=s) for s in (True, False)
    )
    run = Run(
        identity,
        span if rows.has_name(tile) else tile,
        RunKind.BACKFILL,
        identity.window.start,
        receipt.merged_at,
        RunStatus.COMPLETED,
        token=receipt.token,
    )
    return replace(run, **proof(run, receipt))


def proof(run: Run, receipt: Receipt) -> dict[str, object]:
    """The fields that a receipt settles."""
    figures = {**msgspec.structs.asdict(receipt.counts), "receipt_token": receipt.token, "taken_over": True}
    record = PhaseRecord(PhaseStatus.COMPLETED, finished_at=receipt.merged_at, figures=figures)
    phases = {**run.phases, Phase.STAGE_TO_TARGET_TRANSFER: record}
    return {"receipt": receipt, "phases": phases, "failure": None}


def claim(rows: Rows, pipeline: str, wish: Wish, *, owner: str, lease: timedelta, is_dead: IsDead) -> Claim | None:
    """The oldest run that is due and asked for, taken; None if there is none."""
    runs = rows.unfinished(pipeline)
    now = rows.now()  # asked last: a store may have waited for another process before the rows were ours
    for run in runs:
        if wish.names(run) and is_due(run, now, is_dead):
            return taken(rows, run, owner, now + lease)
        if wish.ordered:
            return None
    return None


def is_due(run: Run, now: datetime, is_dead: IsDead) -> bool:
    """True if an unfinished run may be taken now."""
    match run.status:
        case RunStatus.PENDING:
            return True
        case RunStatus.FAILED:
            waits = run.next_attempt_at
            return run.quarantined_at is None and waits is not None and waits <= now
        case _:
            return not is_held(run, now, is_dead)


def is_held(run: Run, now: datetime, is_dead: IsDead) -> bool:
    """True while a worker that may be alive holds the run's lease."""
    if run.status is not RunStatus.RUNNING:
        return False
    return run.lease_expires_at is not None and run.lease_expires_at > now and not is_dead(run)


def taken(rows: Rows, run: Run, owner: str, expires_at: datetime) -> Claim:
    """The run in `owner`'s hands under a new token."""
    token = rows.token(run.id.pipeline) + 1
    rows.lift_token(run.id.pipeline, token)
    run = rows.put(
        replace(
            run,
            status=RunStatus.RUNNING,
            token=token,
            owner=owner,
            attempts=run.attempts + 1,
            lease_expires_at=expires_at,
            next_attempt_at=None,
        )
    )
    return Claim(run, token, owner, expires_at)


def renew(rows: Rows, claims: Sequence[Claim], lease: timedelta) -> list[Claim]:
    """The claims that still hold, with their new expiry."""
    expires_at = rows.now() + lease
    return [replace(claim, expires_at=expires_at) for claim in claims if rows.extend(claim, expires_at)]


def checkpoint(rows: Rows, claim: Claim, run: Run) -> Claim:
    """Raises `LeaseLost`."""
    if run.status not in WORKING:
        raise ValueError(f"a checkpoint stores work or its end, not {run.status}")
    row = replace(progressed(rows, claim, run), status=run.status, failure=run.failure)
    if row.status is not RunStatus.RUNNING:
        row = given_up(row)
    return replace(claim, run=rows.put(row))


def fail(rows: Rows, claim: Claim, run: Run, failure: Failure, retry_in: timedelta | None) -> Run:
    """Raises `LeaseLost`."""
    row, now = progressed(rows, claim, run), rows.now()
    same = row.failure is not None and row.failure.kind == failure.kind
    return rows.put(
        replace(
            given_up(row),
            status=RunStatus.FAILED,
            failure=failure,
            strikes=row.strikes + 1 if same else 1,
            next_attempt_at=None if retry_in is None else now + retry_in,
            quarantined_at=now if retry_in is None else None,
        )
    )


def release(rows: Rows, claim: Claim, run: Run) -> Run:
    """Raises `LeaseLost`."""
    return rows.put(replace(given_up(progressed(rows, claim, run)), status=RunStatus.PENDING))


def progressed(rows: Rows, claim: Claim, run: Run) -> Run:
    """The row as it stands, with the progress of `run`; what the drive table keeps is not the worker's to say."""
    if run.id != claim.run.id:
        raise ValueError(f"the claim is for {claim.run.name}, not for {run.name}")
    row = rows.get(run.id)
    if row is None or row.token != claim.token or row.status is not RunStatus.RUNNING:
        raise LeaseLost(
            f"{claim.run.name}: the attempt with token {claim.token} is over; {state_of(row)}",
            hint="Nothing to do: this worker stops writing, and the drive table says who goes on.",
        )
    return replace(row, phases=run.phases, manifest=run.manifest, receipt=run.receipt)


def state_of(row: Run | None) -> str:
    if row is None:
        return "the run is not in the drive table any more"
    return f"the run is {row.status} with token {row.token}"


def given_up(run: Run) -> Run:
    """`run` in nobody's hands."""
    return replace(run, owner="", lease_expires_at=None, next_attempt_at=None)


def reopen(rows: Rows, wish: Again, event: Event, is_dead: IsDead) -> Run:
    """Raises `ConfigurationError`."""
    run = require_open(rows, wish.run, is_dead)
    rows.add(event)
    if must_be_done_anew(run, wish.from_phase):
        return superseded(rows, run, wish.run_floor)
    run = replace(given_up(run), status=RunStatus.PENDING, quarantined_at=None, strikes=0)
    return rows.put(run if wish.from_phase is None else without(run, wish.from_phase))


def require_open(rows: Rows, identity: RunId, is_dead: IsDead) -> Run:
    """The run, if an operator may do something with it now."""
    run = rows.get(identity)
    if run is None:
        raise ConfigurationError(
            f"this drive table knows no run {identity.number} of {identity.pipeline} over {identity.window}",
            hint="`sluiceway windows` lists the runs it knows.",
            code="unknown_run",
        )
    if run.superseded_by:
        raise ConfigurationError(
            f"{run.name} is superseded by run {run.superseded_by} of the same window",
            hint=f"Look at run {run.superseded_by} instead.",
            code="superseded",
        )
    if not run.unfinished:
        raise ConfigurationError(
            f"{run.name} is {run.status} already",
            hint="To load its window again as a new run: sluiceway backfill over its span.",
            code="finished",
        )
    if is_held(run, rows.now(), is_dead):
        raise ConfigurationError(
            f"{run.name} is in the hands of {run.owner} until {run.lease_expires_at}",
            hint="Wait until that worker is done or its lease expires, or stop that worker.",
            code="held",
        )
    return run


def must_be_done_anew(run: Run, from_phase: Phase | None) -> bool:
    """True if going on would merge a run that is merged, or would meet again what has spoken: audit or receipt.

    An audit that could not count has not spoken, and one that has may be asked again by name.
    """
    kind = run.failure.kind if run.failure is not None and run.status is RunStatus.FAILED else ""
    if kind == ReceiptMismatch.kind:
        return True
    if from_phase is None:
        return run.phase_failed is Phase.AUDIT and kind == AuditMismatch.kind
    return run.receipt is not None and ORDER[from_phase] <= ORDER[Phase.STAGE_TO_TARGET_TRANSFER]


def superseded(rows: Rows, run: Run, run_floor: int) -> Run:
    """The next run of the same window; `run` stays as it ended."""
    following = first(rows, run.id.pipeline, NewRun(run.window, run.kind, run.read_start, run_floor))
    rows.put(replace(given_up(run), status=RunStatus.FAILED, superseded_by=following.id.number))
    return rows.put(following)


def without(run: Run, phase: Phase) -> Run:
    """`run` before `phase`: its record and later ones are gone, and what was read, if it is read again."""
    kept = {done: record for done, record in run.phases.items() if ORDER[done] < ORDER[phase]}
    manifest = run.manifest
    if ORDER[phase] <= ORDER[Phase.PRE_VALIDATION]:
        manifest = Manifest()
    elif phase is Phase.SOURCE_TO_STAGE_TRANSFER:  # the cut stays, as pre-validation made it
        manifest = replace(manifest, parts=tuple(Part(part.range) for part in manifest.parts))
    return replace(run, phases=kept, manifest=manifest)
