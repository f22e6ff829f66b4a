"""Metrics: what each series is after which events, that there are few of them, and that Prometheus likes them."""

from __future__ import annotations

import asyncio
import re
from contextlib import contextmanager
from importlib.metadata import version
from typing import get_args

import msgspec
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as of_openmetrics
from prometheus_client.parser import text_string_to_metric_families as of_text

from service import metric_words
from service.events import Event, Looked, PipelineAdded, PipelineRemoved, RowsRead, RunFinished
from service.metrics import Metrics
from state.errors import SluicewayError, TransientError
from state.model import Manifest, Phase, RunStatus, ValidationStatus
from tests.servers.prometheus import lint
from tests.unit.metric_script import (
    HOUR,
    P3,
    P4,
    P5,
    START,
    Key,
    audited,
    finished,
    key,
    merged,
    of_flights,
    of_phases,
    of_process,
    read,
    run,
    seconds,
    whole_run,
    whole_story,
    with_figures,
)

OPENMETRICS = "application/openmetrics-text; version=1.0.0"

REQUIRED = {
    "windows_total",
    "phase_duration_seconds_count",
    "rows_total",
    "bytes_total",
    "retries_total",
    "errors_total",
    "window_end_timestamp_seconds",
    "oldest_open_window_timestamp_seconds",
    "lease_held",
    "quarantined_windows",
    "scheduler_events_total",
    "event_loop_lag_seconds_count",
    "disk_quota_bytes",
    "late_rows_total",
    "snowflake_statements_total",
    "build_info",
}
"""The series of O-2."""


def series(metrics: Metrics) -> dict[Key, float]:
    """Every series of ours with its value."""
    families = of_text(metrics.text()[0].decode())
    samples = [sample for family in families for sample in family.samples if sample.name.startswith("sluiceway_")]
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for one in samples}


def told(*events: Event) -> Metrics:
    metrics = Metrics()
    for event in events:
        metrics.hear(event)
    return metrics


def of(metrics: Metrics, name: str, **labels: str) -> float:
    return series(metrics)[key(name, **labels)]


def test_at_the_start_every_required_series_is_there_and_0_o2():
    found = series(told(PipelineAdded("flights")))
    assert {f"sluiceway_{name}" for name in REQUIRED} <= {name for name, _ in found}
    version_of = key("build_info", version=version("sluiceway"))
    assert {series for series, value in found.items() if value} == {version_of}


def test_every_series_has_the_value_that_the_events_imply_o2():
    found = series(told(*whole_story()))
    expected = {**of_flights(), **of_phases(), **of_process(version("sluiceway"))}
    assert {series: value for series, value in found.items() if value} == expected


def test_the_story_has_every_event_and_moves_every_series_that_comes_from_events():
    assert {type(event) for event in whole_story()} | {PipelineRemoved} == set(get_args(Event))
    found = series(told(*whole_story()))
    still = {name for name, _ in found} - {name for (name, _), value in found.items() if value}
    of_other_things = "effect|statement|notification|lag|disk"
    assert [name for name in still if not re.search(of_other_things, name)] == []


def test_a_pipeline_has_at_most_50_series_and_200_pipelines_have_no_more_each_o3():
    metrics = told(*whole_story())
    alone = len(series(metrics))
    for number in range(200):
        metrics.hear(PipelineAdded(f"p{number}"))
        for event in whole_run(f"p{number}"):
            metrics.hear(event)
    each = [sum(("pipeline", f"p{number}") in labels for _, labels in series(metrics)) for number in (0, 199)]
    assert each[0] == each[1] <= 50
    assert len(series(metrics)) == alone + 200 * each[0]


def test_labels_have_few_names_and_no_ids_o3():
    for name, labels in series(told(*whole_story())):
        assert {label for label, _ in labels} - {"le"} <= {
            *("pipeline", "result", "stage", "phase", "class", "code", "validation_status", "event"),
            *("kind", "channel", "action", "version", "column"),
        }, name
        assert not any("run1" in value or "2025" in value for _, value in labels)


def test_columns_whose_values_are_touched_have_a_series_each_up_to_20_and_the_rest_one_o3():
    metrics = told(PipelineAdded("flights"))
    for _ in range(2):
        done = merged(read(run()))
        [first, second] = done.manifest.parts
        second = msgspec.structs.replace(second, touched={f"c{number:02d}": 1 for number in range(25)})
        done = msgspec.structs.replace(done, manifest=Manifest((first, second)))
        metrics.hear(finished(done, P4, 1.0))
    found = {labels: value for (name, labels), value in series(metrics).items() if "touched" in name}
    names = [dict(labels)["column"] for labels in found]
    assert sorted(names) == sorted([*(f"c{number:02d}" for number in range(20)), "other"])
    assert found[(("column", "c00"), ("pipeline", "flights"))] == 2
    assert found[(("column", "other"), ("pipeline", "flights"))] == 10
    metrics.hear(PipelineRemoved("flights"))
    assert not any("touched_values_total" in name for name, _ in series(metrics))


def test_promtool_finds_nothing_to_complain_about_o1():
    assert lint(told(*whole_story()).text()[0].decode()) == ""


def test_promtool_would_complain():
    assert "should" in lint("# HELP a_ms time\n# TYPE a_ms counter\na_ms 1\n")


def test_openmetrics_is_given_to_who_asks_for_it_and_is_the_same_o1():
    metrics = told(*whole_story())
    body, kind = metrics.text(f"{OPENMETRICS}, text/plain;version=0.0.4")
    assert kind.startswith("application/openmetrics-text; version=1.0.0")
    samples = [one for family in of_openmetrics(body.decode()) for one in family.samples]
    ours = {
        (one.name, tuple(sorted(one.labels.items()))): one.value
        for one in samples
        if one.name.startswith("sluiceway_")
    }
    assert ours == series(metrics)
    assert metrics.text()[1] == "text/plain; version=0.0.4; charset=utf-8"


def test_names_have_the_prefix_base_units_and_timestamps_for_ages_o1_o4():
    body = told(*whole_story()).text()[0].decode()
    families = list(of_text(body))
    ours = [family for family in families if family.name.startswith("sluiceway_")]
    others = {family.name.split("_")[0] for family in families if family not in ours}
    assert others == {"python", "process"}
    for family in ours:
        assert not re.search(r"(milli|micro|nano|minutes|hours|_age|_since|_ago|kilo|mega)", family.name)
        assert family.documentation
        at = [one.value for one in family.samples if "timestamp" in one.name and one.value]
        assert all(START.timestamp() <= value for value in at)


def test_nothing_counts_as_dropped_that_is_tried_again_o9():
    found = series(told(*whole_story()))
    assert {name for name, labels in found if "drop" in name or "lost" in name} == set()
    dropped = [value for (_, labels), value in found.items() if ("result", "dropped") in labels]
    assert dropped == [0, 0, 0]


def test_the_rows_of_a_merge_add_up():
    found = series(told(PipelineAdded("flights"), *whole_run()))
    rows = {
        dict(labels)["stage"]: value
        for (name, labels), value in found.items()
        if name.endswith("rows_total") and "stage" in dict(labels)
    }
    assert rows["loaded"] == rows["inserted"] + rows["updated"] + rows["unchanged"] + rows["discarded"]


def test_a_pipeline_that_left_has_no_series_and_what_still_comes_from_it_makes_none():
    metrics = told(PipelineAdded("flights"), *whole_run())
    metrics.hear(PipelineRemoved("flights"))
    for event in whole_story():
        if not isinstance(event, PipelineAdded):
            metrics.hear(event)
    assert not any(("pipeline", "flights") in labels for _, labels in series(metrics))
    assert of(metrics, "phase_duration_seconds_count", phase=P3) == 2


def test_a_changed_configuration_leaves_the_counts_as_they_are():
    metrics = told(PipelineAdded("flights"), *whole_run(), PipelineAdded("flights"))
    assert of(metrics, "windows_total", pipeline="flights", result="completed") == 1


def test_a_lease_is_held_from_the_claim_to_the_end_whatever_the_end_is():
    metrics = told(PipelineAdded("flights"))
    held = []
    for event in whole_story()[3:]:
        metrics.hear(event)
        held.append(of(metrics, "lease_held", pipeline="flights"))
    assert set(held) == {0, 1}
    assert held[-1] == 1  # the story leaves one run open


def test_a_backfill_of_an_old_window_does_not_move_freshness_back():
    done = [RunFinished(run(number=number, status=RunStatus.COMPLETED)) for number in (5, 2)]
    metrics = told(PipelineAdded("flights"), *done)
    assert of(metrics, "window_end_timestamp_seconds", pipeline="flights") == seconds(START + 6 * HOUR)


def test_an_instant_that_is_not_known_is_0():
    looked = [Looked("flights", START, until, until, 0, 0) for until in (START, None)]
    metrics = told(PipelineAdded("flights"), *looked)
    assert of(metrics, "loaded_until_timestamp_seconds", pipeline="flights") == 0
    assert of(metrics, "oldest_open_window_timestamp_seconds", pipeline="flights") == 0
    assert of(metrics, "window_end_timestamp_seconds", pipeline="flights") == seconds(START)


async def test_a_scrape_in_a_thread_goes_together_with_events():
    metrics = told(*whole_story())
    scrapes = [asyncio.ensure_future(asyncio.to_thread(metrics.text)) for _ in range(8)]
    pipelines = 0
    while not all(scrape.done() for scrape in scrapes):
        for event in (PipelineAdded("other"), *whole_run("other"), PipelineRemoved("other")):
            metrics.hear(event)
        pipelines += 1
        await asyncio.sleep(0)
    assert pipelines > 1
    assert all(b"sluiceway_windows_total" in scrape.result()[0] for scrape in scrapes)
    assert of(metrics, "lease_held", pipeline="flights") == 1


def test_figures_that_a_users_function_put_there_harm_nothing():
    odd = with_figures(read(run()), P3, copied_rows="many")
    verdict = with_figures(run(), P5, validation_status=["?"], source_count=True, source_count_live="7")
    metrics = told(PipelineAdded("flights"), finished(odd, P3, 1.0), finished(verdict, P5, 1.0), RowsRead(odd, -3))
    assert of(metrics, "rows_total", pipeline="flights", stage="staged") == 0
    assert of(metrics, "rows_total", pipeline="flights", stage="written") == 100


def test_rows_that_left_the_source_are_no_late_rows():
    metrics = told(PipelineAdded("flights"), finished(audited(run(), now=90), P5, 1.0))
    assert of(metrics, "late_rows_total", pipeline="flights") == 0


def test_an_effect_is_counted_with_what_became_of_it():
    metrics = Metrics()
    passed = []

    @contextmanager
    def inner(name: str):
        passed.append(name)
        yield

    port = metrics.port(inner)
    with port("loader.merge.commit"):
        pass
    with pytest.raises(TransientError), port("loader.merge.fence"):
        raise TransientError("no")
    with pytest.raises(asyncio.CancelledError), port("drive.claim"):
        raise asyncio.CancelledError
    with port("something.new.altogether"):
        pass
    assert passed == ["loader.merge.commit", "loader.merge.fence", "drive.claim", "something.new.altogether"]
    counted = {
        series: value for series, value in series(metrics).items() if series[0] == "sluiceway_effects_total"
    }
    assert {series: value for series, value in counted.items() if value} == {
        key("effects_total", kind="loader.merge", result="ok"): 1,
        key("effects_total", kind="loader.merge", result="error"): 1,
        key("effects_total", kind="drive.claim", result="cancelled"): 1,
        key("effects_total", kind="other", result="ok"): 1,
    }


def test_an_effect_that_the_inner_port_forbids_is_an_error():
    @contextmanager
    def inner(_name: str):
        yield
        raise TransientError("the answer was lost")

    metrics = Metrics()
    with pytest.raises(TransientError), metrics.port(inner)("drive.renew"):
        pass
    assert of(metrics, "effects_total", kind="drive.renew", result="error") == 1


def test_statements_notifications_lag_and_disk_are_as_they_were_told():
    metrics = Metrics()
    for verb, result in (
        ("SELECT", "ok"),
        ("with", "ok"),
        ("COPY", "error"),
        ("MERGE", "unknown"),
        ("VACUUM", "ok"),
    ):
        metrics.statement(verb, result)
    metrics.notified("slack", "sent")
    metrics.notified("email", "dropped", 3)
    for lag in (0.0, 0.02, 7.0):
        metrics.observe_lag(lag)
    used = 10
    metrics.watch_spool(lambda: used, 1024)
    used = 20
    assert of(metrics, "snowflake_statements_total", kind="select", result="ok") == 2
    assert of(metrics, "snowflake_statements_total", kind="copy", result="error") == 1
    assert of(metrics, "snowflake_statements_total", kind="merge", result="unknown") == 1
    assert of(metrics, "snowflake_statements_total", kind="other", result="ok") == 1
    assert of(metrics, "notifications_total", channel="slack", result="sent") == 1
    assert of(metrics, "notifications_total", channel="email", result="dropped") == 3
    assert of(metrics, "event_loop_lag_seconds_bucket", le="0.025") == 2
    assert of(metrics, "event_loop_lag_seconds_count") == 3
    assert of(metrics, "disk_used_bytes") == 20
    assert of(metrics, "disk_quota_bytes") == 1024


def test_the_words_of_labels_are_those_of_the_code():
    kinds, todo = {SluicewayError.kind}, [SluicewayError]
    while todo:
        todo += (below := todo.pop().__subclasses__())
        kinds |= {error.kind for error in below}
    assert set(metric_words.KINDS) == kinds
    assert set(metric_words.VERDICTS) == {status.value.lower() for status in ValidationStatus}
    assert set(metric_words.PLACES) == {*Phase, "look"}
