"""Drive tables that are wrong about who may write."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from state import rules
from state.memory import MemoryRows
from state.model import RunStatus
from tests.contract.drive_broken import answer, row, wrapped
from tests.contract.drive_desk import HOUR, SECOND, Make


def as_created(self, pipeline):
    return [run for run in self.table.values() if run.unfinished and run.id.pipeline == pipeline]


def gives_back(faithful, rows, claim, run):
    done = faithful(rows, claim, run)
    rows.tokens[run.id.pipeline] -= done.run.status is RunStatus.COMPLETED
    return done


def helps_out(faithful, rows, pipeline, wish, **more):
    others = sorted({run.id.pipeline for run in rows.table.values()} - {pipeline})
    found = (faithful(rows, name, wish, **more) for name in (pipeline, *others))
    return next((claim for claim in found if claim), None)


class Overlapping(rules.Wish, frozen=True):
    def names(self, run):
        return (self.run in (None, run.id)) and (self.within is None or self.within.overlaps(run.window))


class AnyDrive(rules.Wish, frozen=True):
    def names(self, run):
        wanted = self.run and replace(self.run, drive_id=run.id.drive_id)
        return wanted in (None, run.id) and (self.within is None or self.within.covers(run.window))


def of_kind(kind: type[rules.Wish]) -> Callable[[rules.Wish], rules.Wish]:
    return lambda wish: kind(wish.run, wish.within, wish.ordered)


def claims(change: Callable[..., Any]) -> Make:
    """The twin that changes what a worker wishes for."""
    return wrapped(
        "claim", lambda faithful, rows, pipeline, wish, **more: faithful(rows, pipeline, change(wish), **more)
    )


def due(when: Callable[[Any, datetime], bool]) -> Make:
    """The twin for which a run is due also if `when` says so."""
    return wrapped("is_due", lambda faithful, run, now, dead: faithful(run, now, dead) or when(run, now))


def not_due(when: Callable[[Any, datetime], bool]) -> Make:
    return wrapped("is_due", lambda faithful, run, now, dead: faithful(run, now, dead) and not when(run, now))


def by_status(self, pipeline):
    done = (RunStatus.COMPLETED, RunStatus.SKIPPED)
    return [run for run in self.runs(pipeline, (), None, None) if run.status not in done]


def renews_one(faithful, rows, claims, lease):
    before = {claim.run.id: rows.get(claim.run.id) for claim in claims}
    kept = faithful(rows, claims, lease)
    for claim in kept[1:]:
        rows.put(before[claim.run.id])
    return kept


def extends_all(self, claim, expires_at):
    return MemoryRows.extend(self, claim, expires_at) or claim.run.id in self.table


def extends_in_time(self, claim, expires_at):
    run = self.table[claim.run.id]
    late = run.lease_expires_at is not None and run.lease_expires_at <= self.now()
    return not late and MemoryRows.extend(self, claim, expires_at)


def by_now(run, claim):
    """The claim as if it were the row's, for a write that does not look at the token."""
    return claim if run is None else replace(claim, token=run.token)


def tokenless(name: str) -> Make:
    return wrapped(
        name, lambda faithful, rows, claim, *more: faithful(rows, by_now(rows.get(claim.run.id), claim), *more)
    )


def after_the_end(faithful, rows, claim, run):
    row = rows.get(run.id)
    if row and row.token == claim.token:
        return replace(row, phases=run.phases, manifest=run.manifest, receipt=run.receipt)
    return faithful(rows, claim, run)


def forgets(name: str, **fields: Any) -> Make:
    """The twin where the rule `name` leaves `fields` of the run with these values."""
    return wrapped(name, lambda faithful, rows, *more: rows.put(replace(faithful(rows, *more), **fields)))


def sets_back(faithful, rows, claim, run):
    done = faithful(rows, claim, run)
    if done.run.status is not RunStatus.RUNNING:
        return done
    return replace(done, run=rows.put(replace(done.run, lease_expires_at=claim.expires_at)))


def keeps_lease(faithful, rows, claim, run):
    done = faithful(rows, claim, run)
    return replace(done, run=rows.put(replace(done.run, owner=claim.owner)))


def keeps_first_message(faithful, rows, claim, run, *more):
    before = rows.get(run.id)
    failed = faithful(rows, claim, run, *more)
    known = before.failure if before and before.failure else failed.failure
    return rows.put(replace(failed, failure=replace(failed.failure, message=known.message)))


def fails(change: Callable[[Any], Any]) -> Make:
    return wrapped("fail", lambda faithful, rows, *more: rows.put(change(faithful(rows, *more))))


def all_strikes(faithful, rows, claim, run, *more):
    before = rows.get(run.id)
    failed = faithful(rows, claim, run, *more)
    return rows.put(replace(failed, strikes=before.strikes + 1)) if before else failed


LEASES: dict[str, Make] = {
    "claims in the order of creation": row(unfinished=as_created),
    "answers another lease than it stores": answer(
        "taken", lambda claim: replace(claim, expires_at=claim.expires_at + SECOND)
    ),
    "counts no attempts": wrapped(
        "taken", lambda faithful, rows, run, *more: faithful(rows, replace(run, attempts=0), *more)
    ),
    "helps other pipelines out": wrapped("claim", helps_out),
    "gives the token of a finished run back": wrapped("checkpoint", gives_back),
    "claims runs of another drive table": claims(of_kind(AnyDrive)),
    "claims what overlaps the span": claims(of_kind(Overlapping)),
    "knows no order": claims(lambda wish: replace(wish, ordered=False)),
    "keeps a lease an instant too long": not_due(
        lambda run, now: run.status is RunStatus.RUNNING and run.lease_expires_at == now
    ),
    "waits for the dead": wrapped(
        "claim", lambda faithful, *args, **more: faithful(*args, **{**more, "is_dead": lambda owner: False})
    ),
    "does not wait for the next attempt": due(lambda run, now: run.next_attempt_at is not None),
    "ends quarantine after a while": due(
        lambda run, now: run.quarantined_at is not None and now - run.quarantined_at > 1000 * HOUR
    ),
    "takes a superseded run for unfinished": row(unfinished=by_status),
    "stores the first renewal only": wrapped("renew", renews_one),
    "answers lost claims as renewed": row(extend=extends_all),
    "renews no expired lease": row(extend=extends_in_time),
    "forgets the receipt at a checkpoint": wrapped(
        "checkpoint", lambda faithful, rows, claim, run: faithful(rows, claim, replace(run, receipt=None))
    ),
    "sets the lease back at a checkpoint": wrapped("checkpoint", sets_back),
    "keeps the lease of a finished run": wrapped("checkpoint", keeps_lease),
    "checkpoints without a token": tokenless("checkpoint"),
    "fails without a token": tokenless("fail"),
    "releases without a token": tokenless("release"),
    "goes on writing after the end": wrapped("progressed", after_the_end),
    "keeps the first message of a run": wrapped("fail", keeps_first_message),
    "keeps the lease of a run that goes on by itself": fails(
        lambda run: replace(run, owner="one" if run.next_attempt_at else "")
    ),
    "counts strikes of all kinds": wrapped("fail", all_strikes),
    "forgets the progress of a release": forgets("release", phases={}),
    "counts a release as a failure": forgets("release", strikes=1),
}
