"""Drive tables that are wrong about which runs there are."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, timedelta
from typing import Any

from msgspec.structs import replace

from state import rules
from state.errors import DuplicateWindow
from state.model import PhaseRecord, Run, RunKind, RunStatus
from tests.contract.drive_broken import Mutant, answer, method, row, rule, stored, wrapped
from tests.contract.drive_desk import Make


def created(change: Callable[[list[Any]], Any]) -> Make:
    return wrapped("create", lambda faithful, rows, pipeline, new: faithful(rows, pipeline, change(new)))


class WorkersClock(Mutant):
    async def now(self):
        return (await super().now()).astimezone(UTC) - timedelta(milliseconds=1)


class NoRollback(Mutant):
    async def _write(self, effect, step):
        return step(self.rows)


class SharedEvents(Mutant):
    async def events(self, pipeline, limit=100):
        return [event for event in reversed(self.rows.actions)][:limit]


class OldestEvents(Mutant):
    async def events(self, pipeline, limit=100):
        return [event for event in self.rows.actions if event.pipeline == pipeline][:limit]


class Unordered(Mutant):
    async def runs(self, pipeline=None, *, statuses=(), within=None, name=None, limit=None):
        found = await super().runs(pipeline, statuses=statuses, within=within, name=name)
        return sorted(found, key=lambda run: (run.window, -run.id.number))[:limit]


class AnyStatus(Mutant):
    async def runs(self, pipeline=None, *, statuses=(), within=None, name=None, limit=None):
        return await super().runs(pipeline, statuses=statuses[:1], within=within, name=name, limit=limit)


class OnlyCovered(Mutant):
    async def runs(self, pipeline=None, *, statuses=(), within=None, name=None, limit=None):
        found = await super().runs(pipeline, statuses=statuses, name=name)
        return [run for run in found if within is None or within.covers(run.window)][:limit]


class NoLimit(Mutant):
    async def runs(self, pipeline=None, *, statuses=(), within=None, name=None, limit=None):
        return await super().runs(pipeline, statuses=statuses, within=within, name=name, limit=limit or None)


class NamesByBeginning(Mutant):
    async def runs(self, pipeline=None, *, statuses=(), within=None, name=None, limit=None):
        found = await super().runs(pipeline, statuses=statuses, within=within, limit=limit)
        return [run for run in found if run.name.startswith(name or "")]


class NamesAnywhere(Mutant):
    async def runs(self, pipeline=None, *, name=None, **wish):
        return await super().runs(None if name else pipeline, name=name, **wish)


class ClosedOnce(Mutant):
    closed = 0

    async def aclose(self):
        self.closed += 1
        assert self.closed < 3  # the clause closes twice, the desk once more


def each_for_itself(faithful, rows, pipeline, new):
    busy = list(rows.unfinished(pipeline))
    for one in new:
        rules.require_free(rows, pipeline, one, busy)
    return [rows.put(rules.first(rows, pipeline, one)) for one in new]


def named_by_kind(faithful, rows, pipeline, new):
    run = faithful(rows, pipeline, new)
    scheduled = new.kind is RunKind.SCHEDULED
    return replace(run, name=rules.run_name(pipeline, run.window, run.id.number, scheduled=scheduled))


def tiled(faithful, rows, pipeline, new, busy):
    faithful(rows, pipeline, new, busy)
    try:
        faithful(rows, pipeline, replace(new, kind=RunKind.SCHEDULED), busy)
    except DuplicateWindow as error:
        if error.code == "tiling":
            raise


def untiled(faithful, rows, pipeline, new, busy):
    try:
        faithful(rows, pipeline, new, busy)
    except DuplicateWindow as error:
        if error.code != "tiling":
            raise


def knows(which: Callable[[Run], bool]) -> Make:
    """The twin for which a schedule's window has a run only if one is such."""

    def judged(faithful, rows, pipeline, new, busy):
        try:
            faithful(rows, pipeline, new, busy)
        except DuplicateWindow as error:
            runs = [run for run in rows.table.values() if (run.id.pipeline, run.window) == (pipeline, new.window)]
            if error.code != "known" or any(which(run) for run in runs):
                raise

    return wrapped("require_free", judged)


def counted(self, pipeline, window):
    return len([run for run in self.table.values() if (run.id.pipeline, run.window) == (pipeline, window)])


def across_pipelines(faithful, rows, pipeline, new, busy):
    everything = [run for run in rows.table.values() if run.unfinished]
    return faithful(rows, pipeline, new, sorted(everything, key=rules.by_window))


def repeated(self, pipeline, unfinished):
    runs = self.unfinished(pipeline) if unfinished else self.runs(pipeline, (), None, None)
    return [run.window for run in runs]


def without_failed(self, pipeline, unfinished):
    runs = [run for run in self.runs(pipeline, (), None, None) if not unfinished or run.unfinished]
    return sorted({run.window for run in runs if run.status is not RunStatus.FAILED})


def floats(run):
    def cut(record: PhaseRecord) -> PhaseRecord:
        figures = {
            key: float(value) if type(value) is int and value > 2**53 else value
            for key, value in record.figures.items()
        }
        return replace(record, figures=figures)

    return replace(run, phases={phase: cut(record) for phase, record in run.phases.items()})


def milliseconds(run):
    return replace(run, read_start=run.read_start.replace(microsecond=0))


def adopts_all(faithful, rows, pipeline, receipts, *more):
    return faithful(rows, pipeline, [replace(r, run=replace(r.run, pipeline=pipeline)) for r in receipts], *more)


def adopts_anew(faithful, rows, pipeline, receipts, *more):
    faithful(rows, pipeline, receipts, *more)
    known = [run for run in map(rows.get, (receipt.run for receipt in receipts)) if run]
    return [rows.put(run) for run in known if run.status is RunStatus.COMPLETED]


def lowers(self, pipeline, floor):
    self.tokens[pipeline] = floor


RUNS: dict[str, Make] = {
    "tells another time than it uses": method(WorkersClock),
    "answers created runs in order of time": answer("create", lambda runs: sorted(runs, key=lambda r: r.window)),
    "forgets the lookback": stored(lambda run: replace(run, read_start=run.window.start)),
    "names every span as a window": wrapped(
        "run_name", lambda faithful, *args, scheduled: faithful(*args, scheduled=True)
    ),
    "names no span as a window": wrapped(
        "run_name", lambda faithful, *args, scheduled: faithful(*args, scheduled=False)
    ),
    "names a backfill by its kind and not by its span": wrapped("first", named_by_kind),
    "keeps half a creation": method(NoRollback),
    "numbers by counting": row(highest_number=counted),
    "numbers without the target when creating": created(lambda new: [replace(one, run_floor=0) for one in new]),
    "lets work pass that overlaps what failed": wrapped(
        "require_free",
        lambda faithful, rows, pipeline, new, busy: faithful(
            rows, pipeline, new, [run for run in busy if run.status is not RunStatus.FAILED]
        ),
    ),
    "looks at each new run for itself": wrapped("create", each_for_itself),
    "looks at the work of all pipelines": wrapped("require_free", across_pipelines),
    "lets a schedule cut across its tiling": wrapped("require_free", untiled),
    "lets no backfill cut across the tiling": wrapped("require_free", tiled),
    "opens a window again for a schedule": knows(lambda run: False),
    "opens a window again that was skipped": knows(lambda run: run.status is RunStatus.COMPLETED),
    "opens a window again that was loaded out of turn": knows(lambda run: run.kind is RunKind.SCHEDULED),
    "adopts as pending": answer("proven_elsewhere", lambda run: replace(run, status=RunStatus.PENDING)),
    "adopts without the receipt": answer("proven_elsewhere", lambda run: replace(run, receipt=None)),
    "gives two runs one name": row(has_name=lambda self, name: False),
    "adopts what belongs to others": wrapped("adopt", adopts_all),
    "adopts again and again": wrapped("adopt", adopts_anew),
    "does not lift the token": wrapped(
        "adopt",
        lambda faithful, rows, name, receipts, floor, dead: faithful(rows, name, receipts, 0, dead),
    ),
    "sets the token to the floor": row(lift_token=lowers),
    "leaves failed runs that are merged": wrapped(
        "is_behind", lambda faithful, run, receipt: run.status is not RunStatus.FAILED and faithful(run, receipt)
    ),
    "adopts out of a worker's hands": wrapped(
        "adopt", lambda faithful, *args: faithful(*args[:-1], lambda owner: True)
    ),
    "adopts what has not been audited": rule(is_behind=lambda run, receipt: run.unfinished),
    "tells the oldest action first": method(OldestEvents),
    "tells the actions of all pipelines": method(SharedEvents),
    "orders by window alone": method(Unordered),
    "filters by one status": method(AnyStatus),
    "looks within for what is covered": method(OnlyCovered),
    "tells a window for each of its runs": row(windows=repeated),
    "tells what failed as finished": row(windows=without_failed),
    "finds a run by the beginning of its name": method(NamesByBeginning),
    "finds a run of a name in any pipeline": method(NamesAnywhere),
    "takes a limit of 0 for none": method(NoLimit),
    "keeps large figures as floats": stored(floats),
    "cuts instants to seconds": stored(milliseconds),
    "closes once": method(ClosedOnce),
}
