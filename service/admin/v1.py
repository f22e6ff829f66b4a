"""The operations of `/v1` on one daemon."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial

from service.admin import models
from service.admin.auth import Role
from service.admin.models import Act, BackfillView, Done, RunLine
from service.admin.operations import Call, Operation
from service.daemon.actions import Actions, Backfill, Refused
from service.daemon.attendant import Attendant
from service.daemon.daemon import Attended, Daemon
from service.instants import instant
from service.ledger import ledger
from service.report import RunReport, report
from service.run_names import day_of
from service.tick import closed_until
from state.model import Window
from state.summary import Summary, summary_of

P = "/v1/pipelines/{pipeline}"
SHOWN_WINDOWS = 1000
"""Windows before the last closed one that are looked at unless a span is given."""
MOST_WINDOWS = 10_000
"""Windows that one question may be about: the event loop is everybody's."""


def operations(daemon: Daemon, actions: Actions) -> tuple[Operation, ...]:
    """Everything that can be asked of a daemon."""
    v1 = V1(daemon, actions)
    return (*looks(v1), *acts(v1))


def looks(v1: V1) -> tuple[Operation, ...]:
    """What a read token may ask."""
    look = partial(Operation, "GET", role=Role.READ)
    spans = partial(look, query=models.Span, errors=(422,))
    return (
        look("/v1/pipelines", "pipelines", "All pipelines", handler=v1.pipelines, response=models.Pipelines),
        look(P, "pipeline", "One pipeline", handler=v1.pipeline, response=models.Pipeline),
        spans(f"{P}/windows", "windows", "The ledger", handler=v1.windows, response=models.Windows),
        spans(f"{P}/gaps", "gaps", "Closed spans without rows", handler=v1.gaps, response=models.Gaps),
        look(
            f"{P}/runs",
            "runs",
            "Runs, the newest last",
            handler=v1.runs,
            response=models.Runs,
            query=models.RunsWish,
            errors=(422,),
        ),
        look(f"{P}/runs/{{run}}", "run", "One run with its proof", handler=v1.run, response=RunReport),
        look(f"{P}/events", "events", "What operators did, newest first", handler=v1.events, response=models.Acts),
        look(f"{P}/backfills/{{key}}", "progress", "A backfill", handler=v1.progress, response=BackfillView),
    )


def acts(v1: V1) -> tuple[Operation, ...]:
    """What an operate token may ask besides."""
    act = partial(Operation, "POST", role=Role.OPERATE)
    return (
        act(
            f"{P}/backfills",
            "backfill",
            "Load closed windows again",
            handler=v1.backfill,
            response=BackfillView,
            body=models.BackfillWish,
            errors=(409, 422),
            takes_key=True,
        ),
        Operation(
            "DELETE",
            f"{P}/backfills/{{key}}",
            "cancel",
            "Skip what of a backfill nobody has begun",
            role=Role.OPERATE,
            handler=v1.cancel,
            response=BackfillView,
            errors=(409,),
        ),
        act(
            f"{P}/runs/{{run}}/retry",
            "retry",
            "Let a failed or quarantined run go on",
            handler=v1.retry,
            response=RunLine,
            body=models.RetryWish,
            errors=(409, 422),
        ),
        act(f"{P}/pause", "pause", "No new windows and claims", handler=v1.pause, response=Done),
        act(f"{P}/resume", "resume", "Go on", handler=v1.resume, response=Done),
        act("/v1/reload", "reload", "Look at the files now", handler=v1.reload, response=models.Reloaded),
    )


class V1:
    """Handlers. Each raises `Refused` for what cannot be done."""

    def __init__(self, daemon: Daemon, actions: Actions) -> None:
        self._daemon = daemon
        self._actions = actions

    async def pipelines(self, _call: Call) -> models.Pipelines:
        refused = {one.file: tuple(map(str, one.problems)) for one in self._daemon.fleet.refused}
        return models.Pipelines(tuple(map(view, sorted(self._daemon.pipelines.values(), key=named))), refused)

    async def pipeline(self, call: Call) -> models.Pipeline:
        return view(self._attended(call))

    async def windows(self, call: Call) -> models.Windows:
        attendant = self._attendant(call)
        span, closed = self._span(attendant, call.query)
        runs = await attendant.worker.drive.summaries(attendant.pipeline, within=span)
        found = await asyncio.to_thread(ledger, attendant.worker.config, runs, closed, within=span)
        return models.Windows(found.pipeline, found.closed_until, found.entries[-call.query.limit :], found.gaps)

    async def gaps(self, call: Call) -> models.Gaps:
        found = await self.windows(call)
        return models.Gaps(found.pipeline, found.gaps)

    async def runs(self, call: Call) -> models.Runs:
        attendant = self._attendant(call)
        wish = call.query
        span, _closed = self._span(attendant, wish)
        runs = await attendant.worker.drive.summaries(attendant.pipeline, within=span)
        wanted = [run for run in runs if wish.status in (None, run.status)]
        return models.Runs(tuple(map(line, wanted[-wish.limit :])))

    async def run(self, call: Call) -> RunReport:
        if day_of(call.path["run"]) is None:
            raise Refused(404, "no_run", f"{call.path['run']!r} is no name of a run")
        run = await self._actions.run(call.path["pipeline"], call.path["run"])
        return report(run, await self._attendant(call).worker.drive.now())

    async def events(self, call: Call) -> models.Acts:
        attendant = self._attendant(call)
        acts = await attendant.worker.drive.events(attendant.pipeline)
        return models.Acts(tuple(Act(a.at, a.actor, a.action, a.subject, a.details) for a in acts))

    async def backfill(self, call: Call) -> BackfillView:
        wish = call.body
        span = window(sane(wish.start), sane(wish.end))
        if not (wish.dry_run or call.key):
            raise Refused(422, "no_key", "a backfill needs the header Idempotency-Key", "Name it as you like.")
        pipeline = call.path["pipeline"]
        return shown(await self._actions.backfill(pipeline, span, call.key, call.by, dry_run=wish.dry_run))

    async def progress(self, call: Call) -> BackfillView:
        return shown(await self._actions.progress(call.path["pipeline"], call.path["key"]))

    async def cancel(self, call: Call) -> BackfillView:
        return shown(await self._actions.cancel(call.path["pipeline"], call.path["key"], call.by))

    async def retry(self, call: Call) -> RunLine:
        pipeline, name = call.path["pipeline"], call.path["run"]
        return line(summary_of(await self._actions.retry(pipeline, name, call.body.from_phase, call.by)))

    async def pause(self, call: Call) -> Done:
        await self._actions.pause(call.path["pipeline"], call.by)
        return Done("paused")

    async def resume(self, call: Call) -> Done:
        await self._actions.resume(call.path["pipeline"], call.by)
        return Done("resumed")

    async def reload(self, call: Call) -> models.Reloaded:
        changes = await self._actions.reload(call.by)
        begun = tuple(config.pipeline_metadata.pipeline_name for config in changes.begin)
        return models.Reloaded(begun, changes.end, tuple(one.file for one in changes.refused))

    def _attended(self, call: Call) -> Attended:
        one = self._daemon.pipelines.get(call.path["pipeline"])
        if one is None:
            raise Refused(404, "no_pipeline", f"there is no pipeline {call.path['pipeline']!r} here")
        return one

    def _attendant(self, call: Call) -> Attendant:
        return self._actions.attendant(call.path["pipeline"])

    def _span(self, attendant: Attendant, wish: models.Span | models.RunsWish) -> tuple[Window, datetime]:
        """The span that is asked for, and until when the source was readable then. Raises `Refused`."""
        config, now = attendant.worker.config, attendant.readable_until or datetime.now(UTC)
        windows, closed = config.windows, closed_until(config, now)
        width = windows.tiling().width
        back = closed - width * SHOWN_WINDOWS if isinstance(width, timedelta) else windows.start
        start = sane(wish.start or max(windows.start, back))
        span = window(start, sane(wish.end or max(closed, start + timedelta(seconds=1))))
        seen = min(span.end, closed) - max(span.start, windows.start)
        if isinstance(width, timedelta) and seen > width * MOST_WINDOWS:
            hint = f"Ask for {MOST_WINDOWS:,} windows at most, with from and to."
            raise Refused(422, "span", f"{span} has {seen // width:,} windows", hint)
        return span, now


def named(one: Attended) -> str:
    return one.name


def window(start: datetime, end: datetime) -> Window:
    """The span. Raises `Refused` for one that is empty."""
    if start >= end:
        raise Refused(422, "span", "the span ends before it begins", "Give a to that is after from.")
    return Window(start, end)


def sane(at: datetime | str) -> datetime:
    """The instant. Raises `Refused` for one that nobody means."""
    try:
        return instant(at)
    except ValueError as error:
        raise Refused(422, "span", str(error), "Give instants between the years 1700 and 2200.") from None


def view(one: Attended) -> models.Pipeline:
    """A pipeline as it stands."""
    attendant = one.attendant
    looked = attendant.looked if attendant else None
    trouble = one.trouble
    return models.Pipeline(
        one.name,
        attendant is not None and attendant.paused,
        one.is_well,
        trouble.message if trouble else "",
        trouble.hint if trouble else "",
        looked.loaded_until if looked else None,
        looked.closed_until if looked else None,
        one.unfinished,
        looked.quarantined if looked else 0,
        attendant.walking if attendant else 0,
    )


def line(run: Summary) -> RunLine:
    """A run in short."""
    return RunLine(
        run.name,
        run.status,
        run.window,
        run.id.number,
        run.kind.value,
        run.attempts,
        run.rows,
        run.phase_failed,
        run.failure.message if run.failure else "",
        run.quarantined_at,
        run.next_attempt_at,
        run.updated_at,
    )


def shown(backfill: Backfill) -> BackfillView:
    """A backfill on the wire."""
    return BackfillView(
        backfill.key,
        backfill.pipeline,
        backfill.span,
        backfill.dry_run,
        backfill.windows,
        tuple(map(line, backfill.runs)),
        backfill.done,
    )
