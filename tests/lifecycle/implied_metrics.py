"""What each series of a daemon in trouble must be, counted from everything else that is known of it.

That is its log, the drive table, the proxies before the source, the servers and the receivers themselves. What the
log did not repeat within ten seconds it counts in `suppressed`.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from typing import Any

from service.error_codes import bounded
from service.metric_words import PHASE_SECONDS, SAME_STATEMENT
from state.model import Run, RunStatus
from tests.lifecycle.daemons import seconds
from tests.lifecycle.troubled_daemon import QUOTA, STOPPED_SECONDS, Labels, Seen, clock
from tests.lifecycle.world import HOUR, START
from tests.servers.proxy import page

Values = Mapping[Labels, float]
Line = dict[str, Any]


def labels(**of: str) -> Labels:
    """`class_` stands for `class`."""
    return tuple(sorted((name.rstrip("_"), value) for name, value in of.items()))


def times(line: Line) -> int:
    """How many events a line stands for."""
    return 1 + line.get("suppressed", 0)


def lines(seen: Seen, *events: str, pipeline: str = "") -> list[Line]:
    """Lines of these events up to the scrape: what comes after it is of the run that kept the drain."""
    found = [one for one in seen.lines if one["event"] in events and pipeline in ("", one.get("pipeline"))]
    return [one for one in found if not (one.get("pipeline") == "kept" and seconds(one) > seen.between[1])]


def counted(found: Iterable[tuple[Labels, float]]) -> Values:
    total: Counter[Labels] = Counter()
    for of, by in found:
        total[of] += by
    return total


def of_each(seen: Seen, count: Callable[[str], float]) -> Values:
    """A series of each pipeline."""
    return {labels(pipeline=name): count(name) for name in seen.runs}


def summed(field: str, event: str) -> Callable[[Seen], Values]:
    """The sum of a field, for each pipeline."""
    return lambda seen: of_each(
        seen, lambda name: sum(one.get(field, 0) for one in lines(seen, event, pipeline=name))
    )


def number_of(event: str) -> Callable[[Seen], Values]:
    return lambda seen: of_each(seen, lambda name: sum(map(times, lines(seen, event, pipeline=name))))


UNREAD = {"steady": 40}
"""Documents of the part that the source counted wrong: the connector gave none of them on."""

ENDS = {"run_released": "released", "run_fenced": "fenced", "run_left": "left"}


def windows(seen: Seen) -> Values:
    def how(line: Line) -> str:
        match line["event"]:
            case "run_finished":
                return line["status"].lower()
            case "run_failed":
                return "quarantined" if line["quarantined"] else "failed"
        return ENDS[line["event"]]

    ends = lines(seen, "run_finished", "run_failed", *ENDS)
    return counted((labels(pipeline=one["pipeline"], result=how(one)), times(one)) for one in ends)


def finished(seen: Seen, phase: str, pipeline: str = "") -> list[Line]:
    return [one for one in lines(seen, "phase_finished", pipeline=pipeline) if one["phase"] == phase]


def rows(seen: Seen) -> Values:
    """`extracted` as the proxies gave them out, everything else as the phases ended."""

    def total(name: str, phase: str, *fields: str) -> float:
        return sum(one.get(field, 0) for one in finished(seen, phase, name) for field in fields)

    found = {}
    for name in seen.runs:
        read, merge = "source_to_stage_transfer", "stage_to_target_transfer"
        of = {
            "extracted": seen.given[name] - UNREAD.get(name, 0),
            "written": total(name, read, "rows"),
            "staged": total(name, read, "rows"),  # each proof says that COPY loaded as many
            "loaded": total(name, merge, "rows"),
            "inserted": total(name, merge, "inserted"),
            "updated": total(name, merge, "updated"),
            "unchanged": total(name, merge, "unchanged"),
            "discarded": total(name, merge, "duplicates", "older"),
            "replaced": total(name, merge, "deleted"),
            "removed": sum(one["removed"] for one in lines(seen, "target_cleaned", pipeline=name)),
        }
        found |= {labels(pipeline=name, stage=stage): count for stage, count in of.items()}
    return found


def written_bytes(seen: Seen) -> Values:
    read = "source_to_stage_transfer"
    return of_each(seen, lambda name: sum(one.get("bytes", 0) for one in finished(seen, read, name)))


def quarantined_rows(seen: Seen) -> Values:
    merge = "stage_to_target_transfer"
    return of_each(seen, lambda name: sum(one.get("quarantined", 0) for one in finished(seen, merge, name)))


def phase_seconds(seen: Seen) -> Values:
    done = lines(seen, "phase_finished")
    return counted((labels(pipeline=one["pipeline"], phase=one["phase"]), one["seconds"]) for one in done)


def durations(what: Callable[[float], float]) -> Callable[[Seen], Values]:
    return lambda seen: counted(
        (labels(phase=one["phase"]), what(one["seconds"])) for one in lines(seen, "phase_finished")
    )


def duration_buckets(seen: Seen) -> Values:
    edges = [*PHASE_SECONDS, float("inf")]
    return counted(
        (labels(phase=one["phase"], le="+Inf" if edge == edges[-1] else str(edge)), float(one["seconds"] <= edge))
        for one in lines(seen, "phase_finished")
        for edge in edges
    )


def retries(seen: Seen) -> Values:
    found = lines(seen, "phase_retried")
    return counted((labels(phase=one["phase"], class_=one["kind"]), times(one)) for one in found)


def errors(seen: Seen) -> Values:
    found = lines(seen, "phase_retried", "run_failed", "look_failed")
    return counted(
        (labels(phase=one.get("phase", "look"), class_=one["kind"], code=bounded(one["code"])), times(one))
        for one in found
    )


def audits(seen: Seen) -> Values:
    passed = [(one["pipeline"], one["validation_status"].lower()) for one in finished(seen, "audit")]
    failed = [(one["pipeline"], "failed") for one in lines(seen, "run_failed") if one["kind"] == "audit_mismatch"]
    return counted((labels(pipeline=name, validation_status=verdict), 1) for name, verdict in passed + failed)


def looks(seen: Seen) -> Values:
    """Each look asks for the time once, and so do a backfill, and each part before it is read."""
    found: dict[Labels, float] = {}
    for name, requests in seen.asked.items():
        failed = sum(map(times, lines(seen, "look_failed", pipeline=name)))
        tries = 2 * failed  # as many as `tries_per_phase` says
        backfills = sum(one["action"] == "backfill" for one in lines(seen, "admin_acted", pipeline=name))
        refused_once = 1 if name == "refused" else 0
        parts = sum(request.path.endswith("/_pit") and request.method == "POST" for request in requests)
        found[labels(pipeline=name, result="failed")] = failed
        asked = sum(map(clock, requests)) - parts - tries - refused_once - backfills
        found[labels(pipeline=name, result="ok")] = asked
    return found


def ticks(seen: Seen) -> Values:
    found = lines(seen, "tick_noted")
    return counted((labels(pipeline=one["pipeline"], event=one["what"]), times(one)) for one in found)


def unfinished(runs: Iterable[Run]) -> list[Run]:
    return [run for run in runs if run.unfinished]


def loaded_until(seen: Seen) -> Values:
    """Every window before it has a run that is done; 0 where not even the first has."""

    def until(name: str) -> float:
        runs = seen.runs[name]
        if not runs or (unfinished(runs) and min(run.window.start for run in unfinished(runs)) == START):
            return 0
        return max(run.window.end for run in runs).timestamp()

    return of_each(seen, until)


def oldest_open(seen: Seen) -> Values:
    def oldest(name: str) -> float:
        return min((run.window.end.timestamp() for run in unfinished(seen.runs[name])), default=0)

    return of_each(seen, oldest)


def window_end(seen: Seen) -> Values:
    def latest(name: str) -> float:
        done = [run for run in seen.runs[name] if run.status in (RunStatus.COMPLETED, RunStatus.SKIPPED)]
        return max((run.window.end.timestamp() for run in done), default=0)

    return of_each(seen, latest)


def late_rows(seen: Seen) -> Values:
    """What the source counted in the audit more than when it was read."""

    def late(name: str) -> float:
        audits = [run.phases["audit"].figures for run in seen.runs[name] if run.done("audit")]
        return sum(one["source_count_live"] - one["source_count"] for one in audits)

    assert late("drifting") == 2
    return of_each(seen, late)


def behind(seen: Seen) -> Values:
    def last(name: str) -> float:
        told = lines(seen, "freshness_missed", "freshness_back", pipeline=name)
        return float(bool(told) and told[-1]["event"] == "freshness_missed")

    return of_each(seen, last)


def statements(seen: Seen) -> Values:
    """What the server ran, and the COPY that it refused to run."""

    def kind(text: str) -> str:
        word = text.split(maxsplit=1)[0].lower()
        return SAME_STATEMENT.get(word, word)

    assert {one["code"] for one in seen.statements} == {None}
    ran = [(labels(kind=kind(one["text"]), result="ok"), 1) for one in seen.statements]
    return counted([*ran, (labels(kind="copy", result="unknown"), 1)])


EXACT: Mapping[str, Callable[[Seen], Values]] = {
    "windows_opened_total": summed("windows", "windows_opened"),
    "windows_total": windows,
    "rows_total": rows,
    "bytes_total": written_bytes,
    "quarantined_rows_total": quarantined_rows,
    "run_phase_seconds_total": phase_seconds,
    "run_retries_total": number_of("phase_retried"),
    "audits_total": audits,
    "late_rows_total": late_rows,
    "cleanings_failed_total": number_of("cleaning_failed"),
    "repaired_runs_total": summed("runs", "runs_repaired"),
    "looks_total": looks,
    "scheduler_events_total": ticks,
    "window_end_timestamp_seconds": window_end,
    "loaded_until_timestamp_seconds": loaded_until,
    "oldest_open_window_timestamp_seconds": oldest_open,
    "lease_held": lambda seen: of_each(seen, lambda name: seen.held[name]),
    "unfinished_windows": lambda seen: of_each(seen, lambda name: len(unfinished(seen.runs[name]))),
    "quarantined_windows": lambda seen: of_each(
        seen, lambda name: sum(run.quarantined_at is not None for run in seen.runs[name])
    ),
    "freshness_missed": behind,
    "retries_total": retries,
    "errors_total": errors,
    "phase_duration_seconds_count": durations(lambda _seconds: 1),
    "phase_duration_seconds_sum": durations(lambda seconds: seconds),
    "phase_duration_seconds_bucket": duration_buckets,
    "snowflake_statements_total": statements,
    "notifications_total": lambda seen: {
        labels(channel=channel, result=result): count for (channel, result), count in seen.notified.items()
    },
    "configs_refused_total": lambda seen: {(): len(lines(seen, "config_refused"))},
    "admin_actions_total": lambda seen: counted(
        (labels(action=one["action"]), 1) for one in lines(seen, "admin_acted")
    ),
    "disk_used_bytes": lambda seen: {(): seen.in_spool},
    "disk_quota_bytes": lambda _seen: {(): QUOTA},
    "draining": lambda _seen: {(): 1},
    "build_info": lambda _seen: {labels(version=version("sluiceway")): 1},
}
"""Series, and what each must be; those of other labels must be there and be 0."""


def closed_until(seen: Seen, found: Values) -> None:
    """The end of the last window, or the source's clock at the last look."""
    ends = {name: START + HOUR for name in seen.runs} | {"steady": START + 3 * HOUR, "fresh": seen.fresh_end}
    now = found[labels(pipeline="idle")]
    assert seen.between[0] < now < seen.between[1]
    assert found == of_each(seen, lambda name: now if name == "idle" else ends[name].timestamp())


def effects(seen: Seen, found: Values) -> None:
    """Those that can be counted elsewhere too."""

    def of(kind: str, result: str) -> float:
        return found[labels(kind=kind, result=result)]

    pages = sum(map(page, itertools.chain(*seen.asked.values())))
    refused = 1 + 2 + sum(map(page, seen.asked["broken"]))
    assert (of("source.page", "error"), of("source.page", "ok")) == (refused, pages - refused)
    assert of("drive.claim", "ok") >= len(lines(seen, "run_claimed"))
    assert (of("notify.webhook", "ok"), of("notify.slack", "error")) == tuple(seen.notified.values())
    assert of("notify.email", "error") > of("notify.email", "ok") == 0
    assert not [value for (kind, _), value in found.items() if kind == ("kind", "other") and value]


def effect_seconds(seen: Seen, found: Values) -> None:
    done = {kind for one, value in seen.series.items() if one[0] == "sluiceway_effects_total" and value
            for name, kind in one[1] if name == "kind"}  # fmt: skip
    assert {kind for ((_, kind),), value in found.items() if value > 0} == done


def lag_count(seen: Seen, found: Values) -> None:
    """A beat takes a tenth of a second and its lag: all of them took as long as the process runs."""
    took = 0.1 * found[()] + seen.series["sluiceway_event_loop_lag_seconds_sum", ()]
    started, scraped = seen.between
    assert scraped - started - 5 < took < scraped - started + 5  # for a start, and for a scrape


def lag_sum(_seen: Seen, found: Values) -> None:
    assert found[()] > STOPPED_SECONDS - 0.5


def lag_buckets(seen: Seen, found: Values) -> None:
    """Once the process was stopped for longer than the last edge but one."""
    count = seen.series["sluiceway_event_loop_lag_seconds_count", ()]
    assert found[labels(le="2.5")] < found[labels(le="+Inf")] == count
    assert sorted(found.values()) == [found[one] for one in sorted(found, key=lambda one: float(one[0][1]))]


NOT_EXACT: Mapping[str, Callable[[Seen, Values], None]] = {
    "closed_until_timestamp_seconds": closed_until,
    "effects_total": effects,
    "effect_seconds_total": effect_seconds,
    "event_loop_lag_seconds_count": lag_count,
    "event_loop_lag_seconds_sum": lag_sum,
    "event_loop_lag_seconds_bucket": lag_buckets,
}
"""Series that depend on how fast everything went, and what must be true of them."""
