"""A bad value for every setting: path → the value, and words of the message about it.

A path of the files source stands behind `files:`; all others are tried in a pipeline from a search server.
A test fails if a setting has no row here.
"""

from __future__ import annotations

from typing import Any

CANARY = "canary-4f1d"
"""A secret where none may stand; no output may repeat it."""

NOT_GROUP = ("x", "must be a group of keys")
NOT_PATH = (7, "must be a path")
NOT_FLAG = ("maybe", "must be a valid boolean")
NOT_FUNCTION = ("no function", "does not have the right form")
EMPTY = ("", "must not be empty")
EMPTY_NAME = ([""], "must not be empty")
NOT_LIST = ("one", "must be a list")
TOO_FEW = (0, "must be greater than or equal to 1")
TEXT = ("many", "must be a valid integer")
TOO_SMALL = (10, "must be greater than or equal to 1024")
NOT_SECRET = (CANARY, "a secret must not be written here")
NEGATIVE = (-1, "must be greater than or equal to 0")
ZERO = (0, "must be greater than 0")
PERCENT = (101, "must be less than or equal to 100")

BAD: dict[str, tuple[Any, str]] = {
    "config_version": (2, "must be less than or equal to 1"),
    "shared": NOT_PATH,
    "pipeline_metadata": NOT_GROUP,
    "pipeline_metadata.pipeline_name": ("my pipeline", "does not have the right form"),
    "pipeline_metadata.owner_email": ("nobody", "does not have the right form"),
    "pipeline_metadata.notifications": NOT_GROUP,
    "pipeline_metadata.notifications.slack_webhook": (
        f"https://hooks.example.com/{CANARY}",
        "a secret must not be written here",
    ),
    "pipeline_metadata.notifications.email": (["nobody"], "does not have the right form"),
    "pipeline_metadata.notifications.on": (["started"], "must be 'failed', 'quarantined' or 'recovered'"),
    "windows": NOT_GROUP,
    "windows.start": ("2013-01-01T00:00:00", "has no zone"),
    "windows.end": ("2012-01-01T00:00:00Z", "is not after windows.start"),
    "windows.width": ("1 hour", "is neither like 15m, 1h, 7d"),
    "windows.timezone": ("Mars/Olympus", "is no time zone"),
    "windows.schedule": ("hourly", "a cron line has five fields"),
    "windows.safety_lag_seconds": NEGATIVE,
    "windows.lookback_seconds": (1.5, "must be a valid integer"),
    "windows.ordered": NOT_FLAG,
    "windows.max_open": TOO_FEW,
    "source_system": NOT_GROUP,
    "source_system.type": ("oracle", "this version reads from elasticsearch, opensearch, files"),
    "source_system.endpoint": (f"https://me:{CANARY}@es.example.com", "holds no user and password"),
    "source_system.index": EMPTY,
    "source_system.cursor": EMPTY,
    "source_system.key": EMPTY_NAME,
    "source_system.auth": ({"user": "me"}, "user and password belong together"),
    "source_system.auth.api_key": NOT_SECRET,
    "source_system.auth.user": EMPTY,
    "source_system.auth.password": NOT_SECRET,
    "source_system.auth.bearer": NOT_SECRET,
    "source_system.ca_file": NOT_PATH,
    "source_system.columns": NOT_GROUP,
    "source_system.columns.include": EMPTY_NAME,
    "source_system.columns.exclude": NOT_LIST,
    "source_system.columns.rename": NOT_GROUP,
    "source_system.columns.types": NOT_GROUP,
    "source_system.columns.meta": (["_source"], "must be '_id'"),
    "source_system.columns.objects": ("text", "must be 'json' or 'flatten'"),
    "source_system.columns.conflicts": ("ignore", "must be 'fail', 'text' or 'json'"),
    "source_system.columns.on_bad_value": (["null"], "must be a group of keys"),
    "source_system.where": ("kind:order", "must be a group of keys"),
    "source_system.missing_indices": ("skip", "must be 'error' or 'ignore'"),
    "source_system.page_rows": (10_001, "must be less than or equal to 10000"),
    "source_system.page_bytes": TOO_SMALL,
    "source_system.request_timeout_seconds": ZERO,
    "source_system.keep_alive_seconds": TOO_FEW,
    "source_system.max_concurrent_requests": TOO_FEW,
    "source_system.compression": NOT_FLAG,
    "files:source_system.type": ("file", "this version reads from elasticsearch, opensearch, files"),
    "files:source_system.path": EMPTY,
    "files:source_system.format": ("xlsx", "must be 'parquet', 'csv' or 'ndjson'"),
    "files:source_system.cursor": EMPTY,
    "files:source_system.key": EMPTY_NAME,
    "files:source_system.types": ({"id": "int65"}, "int65"),
    "files:source_system.exclude": NOT_LIST,
    "files:source_system.null_cursor": ("zero", "must be 'error' or 'ignore'"),
    "files:source_system.null_values": NOT_LIST,
    "files:source_system.delimiter": (";;", "should have at most 1 character"),
    "files:source_system.final_newline": ("yes", "must be 'required' or 'optional'"),
    "stage_system": NOT_GROUP,
    "stage_system.directory": NOT_PATH,
    "stage_system.table": EMPTY,
    "target_system": NOT_GROUP,
    "target_system.type": ("snowflake", "must be 'duckdb'"),
    "target_system.database": NOT_PATH,
    "target_system.table": EMPTY,
    "target_system.mode": ("replace", "must be 'merge' or 'append'"),
    "target_system.key": ([], "mode merge needs a key"),
    "target_system.version": EMPTY,
    "target_system.cursor_immutable": NOT_FLAG,
    "target_system.on_type_conflict": ("ignore", "must be 'fail', 'text' or 'json'"),
    "target_system.memory_limit": ("much", "does not have the right form"),
    "target_system.threads": (257, "must be less than or equal to 256"),
    "target_system.temp_directory": NOT_PATH,
    "phases": NOT_GROUP,
    "phases.stale_pipeline_handling": NOT_GROUP,
    "phases.stale_pipeline_handling.enabled": NOT_FLAG,
    "phases.stale_pipeline_handling.function": NOT_FUNCTION,
    "phases.pre_validation": NOT_GROUP,
    "phases.pre_validation.enabled": NOT_FLAG,
    "phases.pre_validation.function": NOT_FUNCTION,
    "phases.source_to_stage_transfer": NOT_GROUP,
    "phases.source_to_stage_transfer.enabled": (False, "without reading there is nothing to merge"),
    "phases.source_to_stage_transfer.function": NOT_FUNCTION,
    "phases.source_to_stage_transfer.rows_per_part": TOO_FEW,
    "phases.source_to_stage_transfer.chunk_bytes": TOO_SMALL,
    "phases.source_to_stage_transfer.chunk_rows": TEXT,
    "phases.source_to_stage_transfer.parallel_parts": (65, "must be less than or equal to 64"),
    "phases.source_to_stage_transfer.snapshot_max_age_seconds": ZERO,
    "phases.stage_to_target_transfer": NOT_GROUP,
    "phases.stage_to_target_transfer.enabled": NOT_FLAG,
    "phases.stage_to_target_transfer.function": NOT_FUNCTION,
    "phases.audit": NOT_GROUP,
    "phases.audit.enabled": NOT_FLAG,
    "phases.audit.function": NOT_FUNCTION,
    "phases.audit.count_tolerances": NOT_GROUP,
    "phases.audit.count_tolerances.source_to_stage_tolerance_percent": PERCENT,
    "phases.audit.count_tolerances.stage_to_target_tolerance_percent": NEGATIVE,
    "phases.stage_cleaning": NOT_GROUP,
    "phases.stage_cleaning.enabled": NOT_FLAG,
    "phases.stage_cleaning.function": NOT_FUNCTION,
    "phases.stage_cleaning.archive": (f"s3://me:{CANARY}@bucket/x", "holds no user, password or parameters"),
    "phases.stage_cleaning.archive_access": ({"access_key": {"env": "KEY"}}, "belong together"),
    "phases.stage_cleaning.archive_access.region": EMPTY,
    "phases.stage_cleaning.archive_access.endpoint": (f"https://me:{CANARY}@s3.example.com", "the right form"),
    "phases.stage_cleaning.archive_access.access_key": NOT_SECRET,
    "phases.stage_cleaning.archive_access.secret_key": NOT_SECRET,
    "phases.stage_cleaning.allow_unproven": NOT_FLAG,
    "phases.target_cleaning": NOT_GROUP,
    "phases.target_cleaning.enabled": NOT_FLAG,
    "phases.target_cleaning.function": NOT_FUNCTION,
    "drive_table": NOT_GROUP,
    "drive_table.type": ("postgres", "must be 'sqlite' or 'memory'"),
    "drive_table.path": NOT_PATH,
    "limits": NOT_GROUP,
    "limits.attempts_per_error_class": TOO_FEW,
    "limits.retry_base_seconds": ZERO,
    "limits.retry_cap_seconds": (1.0, "less than limits.retry_base_seconds"),
    "limits.tries_per_phase": TOO_FEW,
    "limits.try_base_seconds": (".nan", "must be"),
    "limits.try_cap_seconds": (0.1, "less than limits.try_base_seconds"),
    "limits.catch_up_windows": TOO_FEW,
    "limits.lease_seconds": (0.01, "must be greater than or equal to 0.1"),
    "limits.spool_directory": NOT_PATH,
    "limits.spool_quota_bytes": (2048, "not even one chunk fits"),
    "snowflake_connection": ({"account": "x"}, "Snowflake is not in this version"),
}
