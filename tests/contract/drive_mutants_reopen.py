"""Drive tables that are wrong about what an operator may do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from state import rules
from state.model import Phase, RunKind, RunStatus
from tests.contract.drive_broken import wrapped
from tests.contract.drive_desk import Make


def again(change: Callable[[Any], Any]) -> Make:
    """The twin that changes what an operator asks for."""
    return wrapped("reopen", lambda faithful, rows, wish, *more: faithful(rows, change(wish), *more))


def open_to(when: Callable[[Any], bool]) -> Make:
    """The twin that also reopens what `when` says."""

    def lenient(faithful, rows, identity, dead):
        run = rows.get(identity)
        return run if run is not None and when(run) else faithful(rows, identity, dead)

    return wrapped("require_open", lenient)


def invents(faithful, rows, identity, dead):
    if rows.get(identity) is None:
        return rules.first(
            rows, identity.pipeline, rules.NewRun(identity.window, RunKind.REPAIR, identity.window.start)
        )
    return faithful(rows, identity, dead)


def silent(faithful, rows, wish, event, dead):
    run = faithful(rows, wish, event, dead)
    rows.actions.pop()
    return run


def forgets_one_less(faithful, run, phase):
    done = faithful(run, phase)
    kept = {p: record for p, record in run.phases.items() if p in done.phases or p is phase}
    return replace(done, phases=kept)


def never_held_again(faithful, rows, identity, dead):
    run = faithful(rows, identity, dead)
    if run.status is RunStatus.RUNNING:
        raise rules.ConfigurationError("it is running", hint="wait")
    return run


def waits_on(faithful, rows, wish, event, dead):
    before = rows.get(wish.run)
    run = faithful(rows, wish, event, dead)
    waits = before is not None and before.next_attempt_at is not None and run.id == before.id
    return rows.put(replace(before, quarantined_at=None)) if waits else run


def as_scheduled(rows, run):
    return rows.put(replace(run, kind=RunKind.SCHEDULED))


def merged_before(faithful, run, phase):
    return run.phase_failed is not Phase.AUDIT and faithful(run, phase)


def merges_again(faithful, run, phase):
    return faithful(run, phase) and run.phase_failed is not Phase.STAGE_CLEANING


def never_back(faithful, run, phase):
    cleaned = run.phase_failed is Phase.STAGE_CLEANING and phase is not None
    return faithful(run, phase) or (cleaned and run.receipt is not None)


def any_failed_audit(faithful, run, phase):
    return faithful(run, phase) or (run.phase_failed is Phase.AUDIT and phase is None)


def audited_once(faithful, run, phase):
    mismatch = run.failure is not None and run.failure.kind == "audit_mismatch"
    return faithful(run, phase) or (mismatch and phase is Phase.AUDIT)


def meets_the_receipt_again(faithful, run, phase):
    mismatch = run.failure is not None and run.failure.kind == "receipt_mismatch"
    return faithful(run, phase) and not mismatch


REOPEN: dict[str, Make] = {
    "reopens with the strikes": wrapped(
        "reopen",
        lambda faithful, rows, *more: rows.put(replace(faithful(rows, *more), strikes=3 if rows.table else 0)),
    ),
    "lets a reopened run wait on": wrapped("reopen", waits_on),
    "reopens no run whose worker is gone": wrapped("require_open", never_held_again),
    "forgets from the phase after": wrapped("without", forgets_one_less),
    "keeps what was read": wrapped(
        "without", lambda faithful, run, phase: replace(faithful(run, phase), manifest=run.manifest)
    ),
    "audits a failed audit again": wrapped("must_be_done_anew", merged_before),
    "does a backfill anew as a scheduled window": wrapped(
        "superseded", lambda faithful, rows, run, floor: as_scheduled(rows, faithful(rows, run, floor))
    ),
    "merges a merged run again": wrapped("must_be_done_anew", merges_again),
    "never goes back behind a merge": wrapped("must_be_done_anew", never_back),
    "does any failed audit anew": wrapped("must_be_done_anew", any_failed_audit),
    "asks no audit twice": wrapped("must_be_done_anew", audited_once),
    "meets the receipt again": wrapped("must_be_done_anew", meets_the_receipt_again),
    "numbers without the target when reopening": again(lambda wish: replace(wish, run_floor=0)),
    "keeps no account of a reopening": wrapped("reopen", silent),
    "invents the run that is asked for": wrapped("require_open", invents),
    "reopens a finished run": open_to(lambda run: run.status in (RunStatus.COMPLETED, RunStatus.SKIPPED)),
    "reopens a superseded run": open_to(lambda run: bool(run.superseded_by)),
    "reopens a run out of a live worker's hands": open_to(lambda run: run.status is RunStatus.RUNNING),
}
