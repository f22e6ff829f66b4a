"""Settings: the defaults that are promised, the names others rely on, and each value that is refused."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from service.cron import check_cron
from service.settings import PipelineConfig
from state.errors import ConfigurationError
from state.model import Phase
from state.settings import Secret
from state.windows import Calendar

LEAST = {
    "config_version": 1,
    "pipeline_metadata": {"pipeline_name": "flights"},
    "windows": {"start": "2013-01-01T00:00:00Z"},
    "source_system": {"type": "files", "path": "in/*.parquet", "cursor": "at"},
    "stage_system": {"directory": "stage"},
    "target_system": {"type": "duckdb", "database": "flights.duckdb", "table": "flights"},
}

PROMISED = {
    "pipeline_metadata": {
        "pipeline_name": "flights",
        "owner_email": None,
        "notifications": {
            "slack_webhook": None,
            "webhook": None,
            "email": [],
            "smtp": None,
            "on": ["quarantined", "audit_mismatch", "freshness_missed", "rows_set_aside", "recovered"],
            "gather_seconds": 10,
            "spacing_seconds": 60,
            "repeat_after_seconds": 14_400,
        },
    },
    "windows": {
        "start": "2013-01-01T00:00:00Z",
        "end": None,
        "width": "1h",
        "timezone": "UTC",
        "schedule": "*/5 * * * *",
        "safety_lag_seconds": 120,
        "lookback_seconds": 0,
        "freshness_seconds": None,
        "ordered": False,
        "max_open": 2,
    },
    "phases": {
        "stale_pipeline_handling": {"enabled": True, "function": None},
        "pre_validation": {"enabled": True, "function": None},
        "source_to_stage_transfer": {
            "enabled": True,
            "function": None,
            "rows_per_part": 500_000,
            "chunk_bytes": 134_217_728,
            "chunk_rows": 1_000_000,
            "parallel_parts": 2,
            "snapshot_max_age_seconds": 900.0,
            "max_quarantined_rows": 1_000,
            "max_quarantined_percent": 100.0,
        },
        "stage_to_target_transfer": {"enabled": True, "function": None},
        "audit": {
            "enabled": True,
            "function": None,
            "count_tolerances": {
                "source_to_stage_tolerance_percent": 0.0,
                "stage_to_target_tolerance_percent": 0.0,
            },
        },
        "stage_cleaning": {
            "enabled": True,
            "function": None,
            "archive": None,
            "archive_access": {"region": None, "endpoint": None, "access_key": None, "secret_key": None},
            "allow_unproven": False,
        },
        "target_cleaning": {
            "enabled": False,
            "function": None,
            "retention": None,
            "column": None,
            "max_rows": 1_000_000,
            "max_percent": 10.0,
            "dry_run": True,
        },
    },
    "drive_table": {"type": "sqlite", "path": "sluiceway.sqlite"},
    "limits": {
        "attempts_per_error_class": 5,
        "retry_base_seconds": 30.0,
        "retry_cap_seconds": 3600.0,
        "tries_per_phase": 4,
        "try_base_seconds": 0.5,
        "try_cap_seconds": 30.0,
        "catch_up_windows": 100,
        "lease_seconds": None,
        "several_machines": False,
        "spool_directory": "spool",
        "spool_quota_bytes": 4_294_967_296,
    },
}


def config(**sections) -> PipelineConfig:
    return PipelineConfig.model_validate({**LEAST, **sections})


@pytest.mark.parametrize("section", PROMISED)
def test_promised_defaults(section):
    assert config().as_dict()[section] == PROMISED[section]


def test_each_phase_has_settings():
    assert [config().phases.of(phase).enabled for phase in Phase] == [True] * 6 + [False]


def test_windows_give_a_tiling():
    tiling = config(windows={"start": "2025-11-15T01:00:00+01:00", "width": "2h"}).windows.tiling()
    assert (tiling.start, tiling.width) == (datetime(2025, 11, 15, tzinfo=UTC), timedelta(hours=2))
    berlin = config(windows={"start": "2025-11-15T00:00:00+01:00", "width": "day", "timezone": "Europe/Berlin"})
    assert berlin.windows.tiling().width is Calendar.DAY


@pytest.mark.parametrize(
    ("windows", "words"),
    [
        ({"start": "2013-01-01T00:00:00"}, "has no zone"),
        ({"start": "yesterday"}, "no ISO 8601 instant"),
        ({"start": 1356998400}, "written in ISO 8601"),
        ({"start": "0001-01-01T00:00:00+14:00"}, "out of range"),
        ({"start": "1600-01-01T00:00:00Z"}, "not between the years"),
        ({"width": "1 hour"}, "neither like 15m"),
        ({"width": "9999d"}, "longer than a year"),
        ({"timezone": "America"}, "no time zone"),
        ({"timezone": "../etc/passwd"}, "no time zone"),
        ({"schedule": "every hour"}, "five fields"),
        ({"max_open": True}, "valid integer"),
        ({"max_open": 0}, "greater than or equal to 1"),
        ({"ordered": "yes"}, "valid boolean"),
        ({"lookback_seconds": 10**12}, "less than or equal to"),
    ],
)
def test_windows_refuse(windows, words):
    with pytest.raises(ValidationError, match=words):
        config(windows={**LEAST["windows"], **windows})


@pytest.mark.parametrize(
    "line", ["* * * * *", "*/5 * * * *", "0 2 1,15 * mon-fri", "0-30/10 8-18 * jan,JUL 7", "59 23 31 12 0"]
)
def test_cron_lines(line):
    assert check_cron(line) == line


@pytest.mark.parametrize(
    "line",
    ["* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "5-1 * * * *", "*/0 * * * *",
     "a * * * *", "1-2-3 * * * *", ", * * * *", "5/2 * * * *", "* * * mon *", "٣ * * * *"],
)  # fmt: skip
def test_cron_lines_that_are_none(line):
    with pytest.raises(ValueError, match="cron line"):
        check_cron(line)


def test_settings_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        config().windows.max_open = 9


def test_a_secret_stays_the_reference_it_was_written_as_x9(monkeypatch):
    monkeypatch.setenv("HOOK", "canary-4711")
    told = {"slack_webhook": {"env": "HOOK"}}
    made = config(pipeline_metadata={"pipeline_name": "flights", "notifications": told})
    assert made.as_dict()["pipeline_metadata"]["notifications"]["slack_webhook"] == {"env": "HOOK"}
    assert made.pipeline_metadata.notifications.slack_webhook.read() == "canary-4711"
    assert "canary-4711" not in repr(made) + str(made.as_dict())


@pytest.mark.parametrize("raw", [b"\x30\x82\x01\xff\x02", "pässwort".encode("latin-1")], ids=["DER", "latin-1"])
@pytest.mark.parametrize("where", ["file", "env"])
def test_a_secret_that_is_no_text_is_a_matter_of_configuration_and_not_repeated_x9(
    raw, where, tmp_path, monkeypatch
):
    (tmp_path / "secret").write_bytes(raw)
    monkeypatch.setitem(os.environb, b"NO_TEXT", raw)
    secret = Secret(file=tmp_path / "secret") if where == "file" else Secret(env="NO_TEXT")
    with pytest.raises(ConfigurationError) as caught:
        secret.read()
    assert caught.value.code == "secret"
    assert ("tmp" if where == "file" else "NO_TEXT") in caught.value.message
    assert "-inform DER" in caught.value.hint
    assert caught.value.__context__ is None


def test_a_secret_in_any_script_is_read_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("PASS", " päß字 ")
    (tmp_path / "secret").write_bytes("päß字\n".encode())
    assert (Secret(env="PASS").read(), Secret(file=tmp_path / "secret").read()) == (" päß字 ", "päß字")
