"""What an operator does to a running daemon. Each act is written into the drive table before its effect (X-3)."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from service.daemon.attendant import PAUSES, Attendant
from service.daemon.daemon import Daemon
from service.events import AdminActed
from service.instants import instant
from service.run_names import the_run
from service.tick import backfill_windows, closed_until, new_runs, run_floors
from state.drive import Event
from state.errors import ConfigurationError, DuplicateWindow
from state.model import Phase, Run, RunKind, RunStatus, Window, show_instant

BACKFILL, CANCEL = "backfill", "cancel"
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
    runs: tuple[Run, ...] = ()

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
        await self._switch(pipeline, by, PAUSES[0])

    async def resume(self, pipeline: str, by: By) -> None:
        """Go on; harmless if it was not paused."""
        await self._switch(pipeline, by, PAUSES[1])

    async def retry(self, pipeline: str, name: str, phase: Phase | None, by: By) -> Run:
        """Let a failed or quarantined run go on, from `phase` if given; returns the run that goes on."""
        async with self._turns[pipeline]:
            attendant = self.attendant(pipeline)
            worker = attendant.worker
            run = await self.run(pipeline, name)
            loads = await worker.tried(lambda: worker.loader.loads(pipeline))
            floor = run_floors(loads).get(run.window, 0)
            event = await self._event(attendant, by, "retry", name, {"from": phase and phase.value})
            try:
                again = await worker.drive.reopen(run.id, from_phase=phase, run_floor=floor, event=event)
            except ConfigurationError as error:
                raise Refused(409, error.code, error.message, error.hint) from None
            attendant.know([again])
            self._acted(by, "retry", pipeline, name, "done")
            return again

    async def backfill(self, pipeline: str, span: Window, key: str, by: By, *, dry_run: bool) -> Backfill:
        """Load a span of closed windows again; the same `key` and span give the same backfill, however often."""
        async with self._turns[pipeline]:
            attendant = self.attendant(pipeline)
            windows = await self._closed_windows(attendant, span)
            if dry_run:
                await self._require_free(attendant, span)
                return Backfill(key, pipeline, span, tuple(windows), dry_run=True)
            if (known := await self._known(attendant, key)) is not None:
                if known.span != span:
                    raise Refused(409, "key", f"the key {key!r} was given to a backfill of {known.span}")
                return known
            await self._require_free(attendant, span)
            worker = attendant.worker
            loads = await worker.tried(lambda: worker.loader.loads(pipeline))
            new = new_runs(worker.config, run_floors(loads), windows, RunKind.BACKFILL)
            details = {"from": show_instant(span.start), "to": show_instant(span.end), "windows": len(windows)}
            await worker.drive.record(await self._event(attendant, by, BACKFILL, key, details))
            try:
                runs = await worker.drive.create(pipeline, worker.owner, new)
            except DuplicateWindow as error:
                raise Refused(409, error.code, error.message, error.hint) from None
            attendant.know(runs)
            self._acted(by, BACKFILL, pipeline, key, "done")
            return Backfill(key, pipeline, span, tuple(windows), dry_run=False, runs=tuple(runs))

    async def progress(self, pipeline: str, key: str) -> Backfill:
        """A backfill with its runs as they are now."""
        found = await self._known(self.attendant(pipeline), key)
        if found is None:
            raise Refused(404, "no_backfill", f"{pipeline} has no backfill {key!r}")
        return found

    async def cancel(self, pipeline: str, key: str, by: By) -> Backfill:
        """Skip the runs of a backfill that nobody has begun or merged; those under way go on to their end."""
        async with self._turns[pipeline]:
            attendant = self.attendant(pipeline)
            found = await self.progress(pipeline, key)
            worker = attendant.worker
            event = await self._event(attendant, by, CANCEL, key, {"unfinished": len(found.runs) - found.done})
            await worker.drive.record(event)
            for run in found.runs:
                if run.unfinished and run.status is not RunStatus.RUNNING and run.receipt is None:
                    await self._skip(attendant, run, event)
            self._acted(by, CANCEL, pipeline, key, "done")
            return await self.progress(pipeline, key)

    async def run(self, pipeline: str, name: str) -> Run:
        """The run of that name, or the only one that begins so."""
        try:
            return await the_run(self.attendant(pipeline).worker.drive, pipeline, name)
        except ConfigurationError as error:
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
        async with self._turns[pipeline]:
            attendant = self.attendant(pipeline)
            event = await self._event(attendant, by, action, pipeline, {})
            await attendant.worker.drive.record(event)
            attendant.paused = action == PAUSES[0]
            attendant.wake()
            self._acted(by, action, pipeline, pipeline, "done")

    async def _closed_windows(self, attendant: Attendant, span: Window) -> Sequence[Window]:
        worker = attendant.worker
        async with aclosing(worker.connect()) as source:
            edge = closed_until(worker.config, await worker.tried(source.now))
        if span.end > edge:
            hint = f"Windows are closed up to {show_instant(edge)}; end the span there or earlier."
            raise Refused(422, "not_closed", f"{span} is not closed yet: rows may still come", hint)
        windows = backfill_windows(worker.config, span)
        if not windows:
            begins = show_instant(worker.config.windows.start)
            raise Refused(422, "no_window", f"no window lies in {span}", f"Windows begin at {begins}.")
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

    async def _known(self, attendant: Attendant, key: str) -> Backfill | None:
        """The backfill of that key: what was recorded, with the first run that each window got from then on."""
        drive, pipeline = attendant.worker.drive, attendant.pipeline
        acts = await drive.events(pipeline, EVENTS_LOOKED_AT)
        act = next((a for a in acts if a.action == BACKFILL and a.subject == key and "from" in a.details), None)
        if act is None:
            return None
        span = Window(instant(act.details["from"]), instant(act.details["to"]))
        windows = backfill_windows(attendant.worker.config, span)
        first: dict[Window, Run] = {}
        for run in await drive.runs(pipeline, within=span):
            if run.kind is RunKind.BACKFILL and run.created_at >= act.at and run.window not in first:
                first[run.window] = run
        runs = tuple(first[window] for window in windows if window in first)
        return Backfill(key, pipeline, span, tuple(windows), dry_run=False, runs=runs)

    async def _skip(self, attendant: Attendant, run: Run, event: Event) -> None:
        """Take a run and put it away; one that somebody has taken meanwhile stays his."""
        worker = attendant.worker
        if run.status is RunStatus.FAILED:
            run = await worker.drive.reopen(run.id, from_phase=None, run_floor=0, event=event)
        claim = await worker.drive.claim(attendant.pipeline, worker.owner, worker.lease, run=run.id)
        if claim is not None:
            skipped = msgspec.structs.replace(claim.run, status=RunStatus.SKIPPED, failure=None)
            claim = await worker.drive.checkpoint(claim, skipped)
            attendant.know([claim.run])

    async def _event(
        self, attendant: Attendant, by: By, action: str, subject: str, details: Mapping[str, Any]
    ) -> Event:
        at = await attendant.worker.tried(attendant.worker.drive.now)
        return Event(at, by.actor, action, attendant.pipeline, subject, {**details, "request_id": by.request_id})

    def _acted(self, by: By, action: str, pipeline: str, subject: str, result: str) -> None:
        self._daemon.emit(AdminActed(by.actor, action, pipeline, subject, by.request_id, result))
