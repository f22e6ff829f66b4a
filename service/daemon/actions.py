"""What an operator does to a running daemon. Each act is written into the drive table before its effect (X-3)."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from service.daemon.attendant import Attendant
from service.daemon.daemon import Daemon
from service.daemon.fleet import Changes
from service.daemon.pauses import PAUSE, RESUME
from service.events import AdminActed
from service.instants import instant
from service.newest import require_newest
from service.run_names import the_run
from service.tick import backfill_windows, closed_until, new_runs
from state.drive import Event
from state.errors import ConfigurationError, DuplicateWindow, SluicewayError
from state.model import Phase, Run, RunKind, RunStatus, Window, show_instant
from state.summary import Summary, summary_of

BACKFILL, CANCEL, RELOAD = "backfill", "cancel", "reload"
REFUSED = "refused"
"""In the details of a second record: the backfill that was recorded before came to nothing."""
CONFLICTS = ("unknown_run", "superseded", "finished", "held")
"""Codes of `DriveTable.reopen` about the run; all others are about the drive table."""
EVENTS_LOOKED_AT = 10_000
"""An idempotency key is known for this many acts on its pipeline."""


class Refused(Exception):
    """An act that cannot be done; `status` is HTTP's: 404 unknown, 409 conflict, 422 impossible, 503 not now."""

    def __init__(self, status: int, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.hint = status, code, message, hint


class By(msgspec.Struct, frozen=True):
    """Who asks: the name of a token, and the request."""

    actor: str
    request_id: str


class Backfill(msgspec.Struct, frozen=True):
    """A span that is loaded again. `runs`: those that it made, empty in a dry run; `done` counts what is over."""

    key: str
    pipeline: str
    span: Window
    windows: tuple[Window, ...]
    dry_run: bool
    runs: tuple[Summary, ...] = ()

    @property
    def done(self) -> int:
        return sum(not run.unfinished for run in self.runs)


class Actions:
    """The acts on one daemon. One act on a pipeline at a time, so that a key counts once."""

    def __init__(self, daemon: Daemon, most_windows: int) -> None:
        self._daemon = daemon
        self._most_windows = most_windows
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def pause(self, pipeline: str, by: By) -> None:
        """No new windows and no new claims; runs under way go on. Lasts until `resume`, over restarts."""
        await self._switch(pipeline, by, PAUSE)

    async def resume(self, pipeline: str, by: By) -> None:
        """Go on; harmless if it was not paused."""
        await self._switch(pipeline, by, RESUME)

    async def retry(self, pipeline: str, name: str, phase: Phase | None, by: By) -> Run:
        """Let a failed or quarantined run go on, from `phase` if given; returns the run that goes on."""
        async with self._acting(by, "retry", pipeline, name):
            attendant = self.attendant(pipeline)
            worker = attendant.worker
            run = await self.run(pipeline, name)
            floor = begun(attendant).get(run.window, 0)
            event = await self._event(attendant, by, "retry", run.name, {"from": phase and phase.value})
            try:
                again = await worker.drive.reopen(run.id, from_phase=phase, run_floor=floor, event=event)
            except ConfigurationError as error:
                if error.code not in CONFLICTS:
                    raise
                raise Refused(409, error.code, error.message, error.hint) from None
            attendant.know([again])
            return again

    async def backfill(self, pipeline: str, span: Window, key: str, by: By, *, dry_run: bool) -> Backfill:
        """Load a span of closed windows again; the same `key` and span give the same backfill, however often."""
        if dry_run:
            attendant = self.attendant(pipeline)
            windows = await self._closed_windows(attendant, span)
            await self._require_free(attendant, span)
            return Backfill(key, pipeline, span, tuple(windows), dry_run=True)
        async with self._turns[pipeline]:
            attendant = self.attendant(pipeline)
            if (known := await self._same(attendant, key, span)) is not None:
                return known
            windows = await self._closed_windows(attendant, span)
            async with self._told(by, BACKFILL, pipeline, key):
                try:
                    runs = await self._created(attendant, span, windows, key, by)
                except Refused:  # by another process, that was asked the same a moment ago?
                    if (known := await self._same(attendant, key, span)) is None:
                        raise
                    return known
            attendant.know(runs)
            return Backfill(key, pipeline, span, tuple(windows), dry_run=False, runs=tuple(map(summary_of, runs)))

    async def progress(self, pipeline: str, key: str) -> Backfill:
        """A backfill with its runs as they are now."""
        found = await self._known(self.attendant(pipeline), key)
        if found is None:
            raise Refused(404, "no_backfill", f"{pipeline} has no backfill {key!r}")
        return found

    async def cancel(self, pipeline: str, key: str, by: By) -> Backfill:
        """Skip the runs of a backfill that nobody has begun or merged; those under way go on to their end."""
        async with self._acting(by, CANCEL, pipeline, key):
            attendant = self.attendant(pipeline)
            found = await self.progress(pipeline, key)
            worker = attendant.worker
            event = await self._event(attendant, by, CANCEL, key, {"unfinished": len(found.runs) - found.done})
            await worker.drive.record(event)
            for run in found.runs:
                if run.unfinished and run.status is not RunStatus.RUNNING and not run.merged:
                    await self._skip(attendant, run, event)
            return await self.progress(pipeline, key)

    async def reload(self, by: By) -> Changes:
        """Look at the folder now. No pipeline is its subject, so it is told of (to the log) before its effect."""
        self._daemon.emit(AdminActed(by.actor, RELOAD, "", "", by.request_id, "asked"))
        return await self._daemon.reload()

    async def run(self, pipeline: str, name: str) -> Run:
        """The run of that name, or the only one that begins so."""
        try:
            return await the_run(self.attendant(pipeline).worker.drive, pipeline, name)
        except ConfigurationError as error:
            if error.code != "unknown_run":
                raise
            raise Refused(404, "no_run", error.message, error.hint) from None

    def attendant(self, pipeline: str) -> Attendant:
        """Who attends to a pipeline. Raises `Refused` if there is none now."""
        one = self._daemon.pipelines.get(pipeline)
        if one is None:
            raise Refused(404, "no_pipeline", f"there is no pipeline {pipeline!r} here")
        if one.attendant is None or one.leaving:
            trouble = one.trouble
            why = trouble.message if trouble else "it is just being opened or changed"
            raise Refused(
                503, "not_open", f"{pipeline} cannot be worked on now: {why}", trouble.hint if trouble else ""
            )
        return one.attendant

    async def _switch(self, pipeline: str, by: By, action: str) -> None:
        async with self._acting(by, action, pipeline, pipeline):
            attendant = self.attendant(pipeline)
            event = await self._event(attendant, by, action, pipeline, {})
            await attendant.worker.drive.record(event)
            attendant.paused = action == PAUSE
            attendant.wake()

    async def _closed_windows(self, attendant: Attendant, span: Window) -> Sequence[Window]:
        worker = attendant.worker
        _, until = await worker.source_clock()
        edge = closed_until(worker.config, until)
        if span.end > edge:
            hint = f"Windows are closed up to {show_instant(edge)}; end the span there or earlier."
            raise Refused(422, "not_closed", f"{span} is not closed yet: rows may still come", hint)
        windows = backfill_windows(worker.config, span)
        if not windows:
            begins = show_instant(worker.config.windows.start)
            raise Refused(422, "no_window", f"no window lies in {span}", f"Windows begin at {begins}.")
        try:
            require_newest(worker.config, windows, edge)
        except ConfigurationError as error:
            raise Refused(422, error.code, error.message, error.hint) from None
        if len(windows) > self._most_windows:
            hint = f"Ask for {self._most_windows} at most, several times."
            raise Refused(422, "too_many", f"{span} has {len(windows)} windows", hint)
        return windows

    async def _require_free(self, attendant: Attendant, span: Window) -> None:
        worker = attendant.worker
        open_runs = [run for run in await worker.unfinished() if run.window.overlaps(span)]
        if open_runs:
            names = ", ".join(run.name for run in open_runs[:5])
            hint = "Wait for their end, or retry those that wait for an operator."
            raise Refused(409, "overlap", f"{len(open_runs)} unfinished runs overlap {span}: {names}", hint)

    async def _created(
        self, attendant: Attendant, span: Window, windows: Sequence[Window], key: str, by: By
    ) -> Sequence[Run]:
        """The runs of a backfill, after its record. One that comes to nothing is recorded as refused."""
        await self._require_free(attendant, span)
        worker = attendant.worker
        new = new_runs(worker.config, begun(attendant), windows, RunKind.BACKFILL)
        details = {"from": show_instant(span.start), "to": show_instant(span.end), "windows": len(windows)}
        await worker.drive.record(await self._event(attendant, by, BACKFILL, key, details))
        try:
            return await worker.drive.create(worker.pipeline, worker.owner, new)
        except DuplicateWindow as error:
            await worker.drive.record(await self._event(attendant, by, BACKFILL, key, {REFUSED: error.code}))
            raise Refused(409, "overlap", error.message, error.hint) from None

    async def _same(self, attendant: Attendant, key: str, span: Window) -> Backfill | None:
        """The backfill of that key and span, if it has runs: a record alone is of one that came to nothing.

        Raises `Refused` if the key was given to another span.
        """
        known = await self._known(attendant, key)
        if known is not None and known.span != span:
            raise Refused(409, "key", f"the key {key!r} was given to a backfill of {known.span}")
        return known if known is not None and known.runs else None

    async def _known(self, attendant: Attendant, key: str) -> Backfill | None:
        """The backfill of that key: what was recorded, with the newest run of each window that came of it.

        A run came of the newest record of a backfill of its span before it.
        """
        drive, pipeline = attendant.worker.drive, attendant.pipeline
        acts = standing_backfills(await drive.events(pipeline, EVENTS_LOOKED_AT))
        span = next((span_of(act) for act in acts if act.subject == key and "from" in act.details), None)
        if span is None:
            return None
        rivals = [act for act in acts if "from" not in act.details or span_of(act).overlaps(span)]
        windows = backfill_windows(attendant.worker.config, span)
        newest: dict[Window, Summary] = {}
        for run in await drive.summaries(pipeline, within=span):
            cause = next((act for act in rivals if act.at <= run.created_at), None)
            if run.kind is RunKind.BACKFILL and cause is not None and cause.subject == key:
                newest[run.window] = run
        runs = tuple(newest[window] for window in windows if window in newest)
        return Backfill(key, pipeline, span, tuple(windows), dry_run=False, runs=runs)

    async def _skip(self, attendant: Attendant, run: Summary, event: Event) -> None:
        """Take a run and put it away; one that somebody has taken or merged meanwhile stays as it is."""
        worker = attendant.worker
        wanted = run.id
        if run.status is RunStatus.FAILED:
            wanted = (await worker.drive.reopen(run.id, from_phase=None, run_floor=0, event=event)).id
        claim = await worker.drive.claim(attendant.pipeline, worker.owner, worker.lease, run=wanted)
        if claim is None:
            return
        if claim.run.receipt is not None:
            attendant.know([await worker.drive.release(claim, claim.run)])
            return
        skipped = msgspec.structs.replace(claim.run, status=RunStatus.SKIPPED, failure=None)
        claim = await worker.drive.checkpoint(claim, skipped)
        attendant.know([claim.run])

    async def _event(
        self, attendant: Attendant, by: By, action: str, subject: str, details: Mapping[str, Any]
    ) -> Event:
        at = await attendant.worker.tried(attendant.worker.drive.now)
        return Event(at, by.actor, action, attendant.pipeline, subject, {**details, "request_id": by.request_id})

    @asynccontextmanager
    async def _acting(self, by: By, action: str, pipeline: str, subject: str) -> AsyncIterator[None]:
        """The pipeline's turn, for an act that is told of at its end."""
        async with self._turns[pipeline], self._told(by, action, pipeline, subject):
            yield

    @asynccontextmanager
    async def _told(self, by: By, action: str, pipeline: str, subject: str) -> AsyncIterator[None]:
        """Tell what became of an act, whatever did."""
        result = "failed"
        try:
            yield
            result = "done"
        except Refused as error:
            result = f"refused: {error.code}"
            raise
        except SluicewayError as error:
            result = f"failed: {error.code}"
            raise
        finally:
            self._daemon.emit(AdminActed(by.actor, action, pipeline, subject, by.request_id, result))


def begun(attendant: Attendant) -> Mapping[Window, int]:
    """The run numbers that the target knew at the first look: receipts may be many, and are not read for each act.
    Raises `Refused` before that look."""
    if attendant.standing is None:
        raise Refused(503, "not_open", f"{attendant.pipeline} was not looked at yet", "Try again in a moment.")
    return attendant.floors


def standing_backfills(acts: Sequence[Event]) -> list[Event]:
    """The records of backfills that were not refused afterwards; newest first, as they come."""
    refused: set[str] = set()
    standing = []
    for act in acts:
        if act.action != BACKFILL:
            continue
        if REFUSED in act.details:
            refused.add(act.subject)
        elif act.subject in refused:
            refused.discard(act.subject)
        else:
            standing.append(act)
    return standing


def span_of(act: Event) -> Window:
    """The span that the record of a backfill names."""
    return Window(instant(act.details["from"]), instant(act.details["to"]))
