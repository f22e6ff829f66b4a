"""Metrics for Prometheus, counted from the events and at the ports; docs/metrics.md says what each of them means.

Everything that can be named before it happens begins at 0, so that a rate sees the first time too. Labels have
few, known values: a pipeline has at most 50 series, and no id, text or value of a row is among them (O-3).
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from typing import Any, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder

from service import events
from service import metric_words as words
from service.error_codes import OTHER, bounded
from service.figures import late_rows, of, rows_of, touched, verdict_of
from state.errors import AuditMismatch
from state.model import Phase, Run, RunId, RunStatus
from state.port import Port, direct

PREFIX = "sluiceway"
EPOCH = datetime.fromtimestamp(0, UTC)
OF = "pipeline"

# A second series for each counter, of which nothing here makes use.
disable_created_metrics()  # type: ignore[no-untyped-call,unused-ignore]


Words = Mapping[str, Sequence[str]]
"""Labels, and the values that each of them may have."""


class Maker:
    """Makes the metrics of a registry, and lets each begin at 0 with all the values that its labels may have."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.of_pipelines: list[tuple[Counter | Gauge, list[tuple[str, ...]]]] = []
        """Metrics that each pipeline has, with the values of their other labels."""

    def counter(self, name: str, text: str, labels: Words) -> Counter:
        made = Counter(name, text, tuple(labels), namespace=PREFIX, registry=self._registry)
        return begun(made, labels)

    def gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, namespace=PREFIX, registry=self._registry)

    def histogram(self, name: str, text: str, buckets: Sequence[float], labels: Words) -> Histogram:
        made = Histogram(
            name, text, tuple(labels), namespace=PREFIX, registry=self._registry, buckets=tuple(buckets)
        )
        return begun(made, labels)

    def counter_of(self, name: str, text: str, **labels: Sequence[str]) -> Counter:
        """A counter that each pipeline has."""
        made = Counter(name, text, (OF, *labels), namespace=PREFIX, registry=self._registry)
        self.of_pipelines.append((made, list(itertools.product(*labels.values()))))
        return made

    def gauge_of(self, name: str, text: str) -> Gauge:
        """A gauge that each pipeline has."""
        made = Gauge(name, text, (OF,), namespace=PREFIX, registry=self._registry)
        self.of_pipelines.append((made, [()]))
        return made


Made = TypeVar("Made", Counter, Histogram)


def begun(metric: Made, labels: Words) -> Made:
    """`metric`, with every value that its labels may have."""
    for values in itertools.product(*labels.values()) if labels else ():
        metric.labels(*values)
    return metric


class Metrics:
    """Hears events and counts; waits for nothing. `hear`, `known` and `forget`: from the event loop's thread."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._registry = registry or CollectorRegistry()
        self._held: dict[str, set[RunId]] = {}
        self._ends: dict[str, datetime] = {}
        self._columns = words.Columns()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        maker = Maker(self._registry)
        self._make_pipelines(maker)
        self._make_process(maker)
        text = "Values that policies made NULL or text."
        self._touched = Counter("touched_values", text, (OF, "column"), namespace=PREFIX, registry=self._registry)
        self._of_pipelines = maker.of_pipelines

    def known(self, pipeline: str) -> None:
        """All series of a pipeline begin at 0; those that are there stay as they are."""
        self._held.setdefault(pipeline, set())
        for metric, values in self._of_pipelines:
            for rest in values:
                metric.labels(pipeline, *rest)

    def forget(self, pipeline: str) -> None:
        """Its series end; what still comes from it counts only for the process."""
        self._held.pop(pipeline, None)
        self._ends.pop(pipeline, None)
        for column in self._columns.forget(pipeline):
            self._touched.remove(pipeline, column)
        for metric, values in self._of_pipelines:
            for rest in values:
                metric.remove(pipeline, *rest)

    def hear(self, event: events.Event) -> None:
        """Count an event."""
        act = self._acts.get(type(event))
        if act is not None:
            act(event)

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """The body of a scrape and its content type: OpenMetrics for a client whose `Accept` asks for it.

        For a thread: with 200 pipelines it takes some 60 ms, too long for the event loop.
        """
        encode, kind = choose_encoder(accept)
        return encode(self._registry), kind

    def port(self, inner: Port = direct) -> Port:
        """`inner`, with every effect counted by kind and result, and its seconds."""

        @contextmanager
        def counted(name: str) -> Iterator[None]:
            kind, result, began = words.effect(name), "error", time.monotonic()
            try:
                with inner(name):
                    yield
                result = "ok"
            except asyncio.CancelledError:
                result = "cancelled"
                raise
            finally:
                self._effects.labels(kind, result).inc()
                self._effect_seconds.labels(kind).inc(time.monotonic() - began)

        return counted

    def statement(self, verb: str, result: str) -> None:
        """A statement was sent to Snowflake; `result`: one of `metric_words.STATEMENT_RESULTS`."""
        self._statements.labels(words.statement(verb), result).inc()

    def notified(self, channel: str, result: str, count: int = 1) -> None:
        """Notifications were sent, failed for good, or dropped unsent; by channel."""
        self._notifications.labels(channel, result).inc(count)

    def observe_lag(self, seconds: float) -> None:
        """The event loop came back this much later than it was asked to."""
        self._lag.observe(seconds)

    def watch_spool(self, used: Callable[[], float], quota: float) -> None:
        """Ask `used` for the bytes in the spool at each scrape; `quota`: bytes that there may be."""
        self._disk_used.set_function(used)
        self._disk_quota.set(quota)

    def _make_pipelines(self, maker: Maker) -> None:
        """Series that each pipeline has; docs/metrics.md lists them in this order."""
        counter, gauge = maker.counter_of, maker.gauge_of
        self._opened = counter("windows_opened", "Windows that became due and were opened.")
        self._windows = counter("windows", "Attempts at windows, by how they ended.", result=words.WINDOWS)
        self._rows = counter("rows", "Rows, by the station that they came to.", stage=words.ROWS)
        self._bytes = counter("bytes", "Bytes of Parquet that were written and staged.")
        self._seconds = counter("run_phase_seconds", "Seconds spent in phases that ended.", phase=words.PHASES)
        self._retried = counter("run_retries", "Steps of runs that failed and were tried again.")
        self._audits = counter("audits", "Proofs of runs, by verdict.", validation_status=words.VERDICTS)
        self._set_aside = counter("quarantined_rows", "Rows that value policies set aside, as they were merged.")
        self._late = counter("late_rows", "Rows that turned up in a range after it was read, as audits saw them.")
        self._leftovers = counter("cleanings_failed", "Clean-ups that left something behind.")
        self._repaired = counter("repaired_runs", "Runs that were taken over from receipts in the target.")
        self._looks = counter("looks", "Looks for windows that are due.", result=("ok", "failed"))
        self._ticks = counter("scheduler_events", "What happened to ticks.", event=words.TICKS)
        self._window_end = gauge("window_end_timestamp_seconds", "End of the latest window that was loaded.")
        self._loaded = gauge("loaded_until_timestamp_seconds", "Everything before this instant is loaded.")
        self._closed = gauge("closed_until_timestamp_seconds", "Windows that end until this instant are due.")
        self._oldest = gauge(
            "oldest_open_window_timestamp_seconds", "End of the oldest window that is not loaded."
        )
        self._leases = gauge("lease_held", "Runs that this process holds a lease of.")
        self._unfinished = gauge("unfinished_windows", "Runs that are not done.")
        self._quarantined = gauge("quarantined_windows", "Runs that wait for an operator.")
        self._behind = gauge("freshness_missed", "1 while a pipeline is further behind than it may be.")

    def _make_process(self, maker: Maker) -> None:
        """Series of the process."""
        counter, gauge = maker.counter, maker.gauge
        self._retries = counter(
            "retries", "Steps that failed and were tried again.", {"phase": words.PHASES, "class": words.KINDS}
        )
        self._errors = counter(
            "errors",
            "Errors, those that were tried again and those that ended an attempt.",
            {"phase": words.PLACES, "class": words.KINDS, "code": (OTHER,)},
        )
        for place, (code, kind) in itertools.product(words.PLACES, words.WATCHED.items()):
            self._errors.labels(place, kind, code)
        self._durations = maker.histogram(
            "phase_duration_seconds", "Time that a phase took.", words.PHASE_SECONDS, {"phase": words.PHASES}
        )
        self._effects = counter("effects", "External effects.", {"kind": words.EFFECTS, "result": words.RESULTS})
        self._effect_seconds = counter("effect_seconds", "Time in external effects.", {"kind": words.EFFECTS})
        self._statements = counter(
            "snowflake_statements",
            "Statements sent to Snowflake.",
            {"kind": words.STATEMENTS, "result": words.STATEMENT_RESULTS},
        )
        self._notifications = counter(
            "notifications", "Notifications.", {"channel": words.CHANNELS, "result": words.SENDINGS}
        )
        self._refused = counter("configs_refused", "Configurations found not valid.", {})
        self._admin = counter("admin_actions", "Changes asked for over the admin API.", {"action": words.ACTIONS})
        self._lag = maker.histogram("event_loop_lag_seconds", "Lag of the event loop.", words.LAG_SECONDS, {})
        self._disk_used = gauge("disk_used_bytes", "Bytes of chunks in the spool.")
        self._disk_quota = gauge("disk_quota_bytes", "Bytes of chunks that the spool may hold.")
        self._draining = gauge("draining", "1 once the process was told to stop.")
        build = Info("build", "The version that runs.", namespace=PREFIX, registry=self._registry)
        build.info({"version": version(PREFIX)})

    @cached_property
    def _acts(self) -> Mapping[type, Callable[[Any], None]]:
        return {
            events.WindowsOpened: lambda event: self._count(self._opened, event.pipeline, by=len(event.windows)),
            events.RunsRepaired: lambda event: self._count(self._repaired, event.pipeline, by=len(event.runs)),
            events.RunClaimed: lambda event: self._claimed(event.run),
            events.RowsRead: lambda event: self._count(self._rows, of(event.run), "extracted", by=event.rows),
            events.PhaseRetried: self._retried_step,
            events.PhaseFinished: self._phase_finished,
            events.CleaningFailed: lambda event: self._count(self._leftovers, of(event.run)),
            events.RowsSetAside: lambda event: self._count(self._set_aside, of(event.run), by=event.rows),
            events.RunFinished: self._run_finished,
            events.RunFailed: self._run_failed,
            events.RunReleased: lambda event: self._ended(event.run, "released"),
            events.RunFenced: lambda event: self._ended(event.run, "fenced"),
            events.RunLeft: lambda event: self._ended(event.run, "left"),
            events.TickNoted: lambda event: self._count(self._ticks, event.pipeline, event.what),
            events.Looked: self._looked,
            events.LookFailed: self._look_failed,
            events.FreshnessMissed: lambda event: self._set(self._behind, event.pipeline, 1),
            events.FreshnessBack: lambda event: self._set(self._behind, event.pipeline, 0),
            events.PipelineAdded: lambda event: self.known(event.pipeline),
            events.PipelineRemoved: lambda event: self.forget(event.pipeline),
            events.ConfigRefused: lambda _event: self._refused.inc(),
            events.DrainBegan: lambda _event: self._draining.set(1),
            events.AdminActed: lambda event: self._admin.labels(words.known(event.action, words.ACTIONS)).inc(),
        }

    def _count(self, metric: Counter, pipeline: str, *values: str, by: float = 1) -> None:
        if pipeline in self._held and by > 0:
            metric.labels(pipeline, *values).inc(by)

    def _set(self, metric: Gauge, pipeline: str, value: float) -> None:
        if pipeline in self._held:
            metric.labels(pipeline).set(value)

    def _claimed(self, run: Run) -> None:
        held = self._held.get(of(run))
        if held is not None:
            held.add(run.id)
            self._set(self._leases, of(run), len(held))

    def _ended(self, run: Run, how: str) -> None:
        self._count(self._windows, of(run), how)
        held = self._held.get(of(run))
        if held is not None:
            held.discard(run.id)
            self._set(self._leases, of(run), len(held))

    def _error(self, place: str, kind: str, code: str) -> None:
        self._errors.labels(place, words.kind(kind), bounded(code)).inc()

    def _retried_step(self, event: events.PhaseRetried) -> None:
        self._error(event.phase.value, event.kind, event.code)
        self._retries.labels(event.phase.value, words.kind(event.kind)).inc()
        self._count(self._retried, of(event.run))

    def _phase_finished(self, event: events.PhaseFinished) -> None:
        run, phase, seconds = event.run, event.phase, event.took.total_seconds()
        self._durations.labels(phase.value).observe(seconds)
        self._count(self._seconds, of(run), phase.value, by=seconds)
        for stage, rows in rows_of(run, phase).items():
            self._count(self._rows, of(run), stage, by=rows)
        if phase is Phase.SOURCE_TO_STAGE_TRANSFER:
            self._count(self._bytes, of(run), by=sum(chunk.bytes for chunk in run.manifest.chunks))
        if phase is Phase.STAGE_TO_TARGET_TRANSFER:
            for column, values in touched(run.manifest).items():
                self._count(self._touched, of(run), self._columns.label(of(run), column), by=values)
        if phase is Phase.AUDIT:
            if (verdict := verdict_of(run)) in words.VERDICTS:
                self._count(self._audits, of(run), verdict)
            self._count(self._late, of(run), by=late_rows(run))

    def _run_finished(self, event: events.RunFinished) -> None:
        done = event.run.status is RunStatus.COMPLETED
        self._ended(event.run, "completed" if done else "skipped")
        if done:
            self._reached(of(event.run), event.run.window.end)

    def _run_failed(self, event: events.RunFailed) -> None:
        failure = event.failure
        self._error(failure.phase.value, failure.kind, failure.code)
        self._ended(event.run, "failed" if event.run.quarantined_at is None else "quarantined")
        if failure.kind == AuditMismatch.kind:
            self._count(self._audits, of(event.run), "failed")

    def _reached(self, pipeline: str, end: datetime) -> None:
        """The latest end of a loaded window; a backfill of an old one is no news."""
        if pipeline in self._held and end > self._ends.get(pipeline, EPOCH):
            self._ends[pipeline] = end
            self._set(self._window_end, pipeline, end.timestamp())

    def _looked(self, event: events.Looked) -> None:
        pipeline = event.pipeline
        self._count(self._looks, pipeline, "ok")
        for metric, at in (
            (self._closed, event.closed_until),
            (self._loaded, event.loaded_until),
            (self._oldest, event.oldest_open),
        ):
            self._set(metric, pipeline, 0 if at is None else at.timestamp())
        if event.loaded_until is not None:
            self._reached(pipeline, event.loaded_until)
        self._set(self._unfinished, pipeline, event.unfinished)
        self._set(self._quarantined, pipeline, event.quarantined)

    def _look_failed(self, event: events.LookFailed) -> None:
        self._error(words.LOOK, event.kind, event.code)
        self._count(self._looks, event.pipeline, "failed")
