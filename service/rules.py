"""Rules between settings. Each looks at a whole configuration and says what does not go together.

A rule names the settings that it is about, so that it is not asked when one of them is wrong already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from loaders.base import Mode
from service import rules_keys, rules_snapshot
from service.notify import rules as notify
from service.problems import Problem, Severity
from service.settings import WAREHOUSE_LEASE_SECONDS, PipelineConfig
from state.mysql.settings import MysqlDriveSettings
from state.windows import Calendar, parse_width

Judge = Callable[[PipelineConfig], Iterator[Problem]]


@dataclass(frozen=True)
class Rule:
    """`about`: the paths that decide; the first is where the problem is shown."""

    about: tuple[str, ...]
    judge: Judge


def _error(path: str, message: str, remedy: str, value: object = "") -> Problem:
    return Problem(path, message, remedy, value=str(value))


def _warning(path: str, message: str, remedy: str, value: object = "") -> Problem:
    return Problem(path, message, remedy, value=str(value), severity=Severity.WARNING)


def merge_needs_key(config: PipelineConfig) -> Iterator[Problem]:
    if config.target_system.mode is Mode.MERGE and not config.target_system.key:
        yield _error(
            "target_system.key",
            "mode merge needs a key",
            "Name the columns that identify a row, or set target_system.mode: append.",
        )


def append_needs_no_lookback(config: PipelineConfig) -> Iterator[Problem]:
    if config.target_system.mode is Mode.APPEND and config.windows.lookback_seconds:
        yield _error(
            "windows.lookback_seconds",
            "a lookback reads rows again, which mode append would keep twice",
            "Set it to 0, or set target_system.mode: merge with a key.",
            config.windows.lookback_seconds,
        )


def append_needs_a_steady_cursor(config: PipelineConfig) -> Iterator[Problem]:
    if config.target_system.mode is Mode.APPEND and not config.target_system.cursor_immutable:
        yield _warning(
            "target_system.cursor_immutable",
            f"mode append is only right if a row's {config.source_system.cursor} never changes",
            "If so, say it with cursor_immutable: true; if not, set target_system.mode: merge with a key.",
        )


def version_beside_the_cursor(config: PipelineConfig) -> Iterator[Problem]:
    target, cursor = config.target_system, config.source_system.cursor
    stamped = target.version not in ("read_at", cursor)
    if target.mode is Mode.MERGE and stamped and not config.windows.lookback_seconds:
        yield _warning(
            "windows.lookback_seconds",
            f"rows are ordered by {target.version} but windows are cut by {cursor}: a row that changes after its "
            f"window was read is not seen again",
            f"Set source_system.cursor: {target.version} if it is an update stamp, or a lookback that covers late "
            f"changes.",
            config.windows.lookback_seconds,
        )


def start_on_an_edge(config: PipelineConfig) -> Iterator[Problem]:
    try:
        config.windows.tiling()
    except ValueError as error:
        yield _error(
            "windows.start",
            str(error).removeprefix("windows.start "),
            f"Move it to the first instant of a {config.windows.width} in {config.windows.timezone}.",
            config.windows.start.isoformat(),
        )


def end_after_start(config: PipelineConfig) -> Iterator[Problem]:
    if config.windows.end is not None and config.windows.end <= config.windows.start:
        yield _error(
            "windows.end",
            "the end is not after windows.start",
            "Give a later instant, or leave windows.end out.",
            config.windows.end.isoformat(),
        )


def merge_needs_reading(config: PipelineConfig) -> Iterator[Problem]:
    phases = config.phases
    if phases.stage_to_target_transfer.enabled and not phases.source_to_stage_transfer.enabled:
        yield _error(
            "phases.source_to_stage_transfer.enabled",
            "without reading there is nothing to merge",
            "Switch phases.stage_to_target_transfer off too, or give a function that does the reading.",
            "false",
        )


def clean_up_needs_proof(config: PipelineConfig) -> Iterator[Problem]:
    phases = config.phases
    proven = phases.audit.enabled and phases.stage_to_target_transfer.enabled
    if phases.stage_cleaning.enabled and not (proven or phases.stage_cleaning.allow_unproven):
        yield _warning(
            "phases.stage_cleaning.enabled",
            "without merge and audit nothing is proven, and what was staged is never removed",
            "Set phases.stage_cleaning.allow_unproven: true, or switch phases.stage_cleaning off.",
            "true",
        )


def target_cleaning_needs_an_age(config: PipelineConfig) -> Iterator[Problem]:
    cleaning = config.phases.target_cleaning
    if cleaning.enabled and cleaning.function is None and cleaning.retention is None:
        yield _error(
            "phases.target_cleaning.retention",
            "nothing says how old a row may get",
            "Give a span as 90d; or name your function (`sluiceway init --phases` writes one), or switch "
            "target_cleaning off.",
        )


def a_function_cleans_by_itself(config: PipelineConfig) -> Iterator[Problem]:
    cleaning = config.phases.target_cleaning
    if cleaning.function is not None and cleaning.retention is not None:
        yield _warning(
            "phases.target_cleaning.retention",
            "your function replaces what is built in, and nothing else reads this",
            "Leave out the function or the retention.",
            cleaning.retention,
        )


LONGEST = {
    Calendar.DAY: timedelta(days=1, hours=1),
    Calendar.WEEK: timedelta(days=8),
    Calendar.MONTH: timedelta(days=32),
}
"""Calendar widths, with room for a change of the clock."""


def retention_spares_what_was_read(config: PipelineConfig) -> Iterator[Problem]:
    cleaning, windows = config.phases.target_cleaning, config.windows
    width = parse_width(windows.width)
    span = LONGEST[width] if isinstance(width, Calendar) else width
    span += timedelta(seconds=windows.lookback_seconds)
    if cleaning.age is not None and cleaning.column is None and cleaning.age < span:
        yield _error(
            "phases.target_cleaning.retention",
            "shorter than a window with its lookback: a run would remove rows that it has just loaded",
            "Give a longer span, or name a column of another kind of age.",
            cleaning.retention,
        )


def archive_access_fits(config: PipelineConfig) -> Iterator[Problem]:
    cleaning = config.phases.stage_cleaning
    if cleaning.archive_access.access_key is not None and not (cleaning.archive or "").startswith("s3://"):
        yield _error(
            "phases.stage_cleaning.archive_access.access_key",
            "a key of S3 for an archive that is not like s3://bucket/prefix",
            "Leave it out; gs:// uses the machine's own credentials, a folder needs none.",
        )


def archive_stage_is_the_targets(config: PipelineConfig) -> Iterator[Problem]:
    archive = config.phases.stage_cleaning.archive or ""
    if archive.startswith("@") and config.target_system.type != "snowflake":
        yield _error(
            "phases.stage_cleaning.archive",
            "a stage of Snowflake, which this target does not write to",
            "Give a folder, s3://bucket/prefix or gs://bucket/prefix.",
            archive,
        )


def own_reading_needs_a_table(config: PipelineConfig) -> Iterator[Problem]:
    if config.phases.source_to_stage_transfer.function is not None and config.stage_system.table is None:
        yield _error(
            "stage_system.table",
            "your function for source_to_stage_transfer has no table to bring rows to",
            "Name the stage table that it fills.",
        )


def waits_grow(config: PipelineConfig) -> Iterator[Problem]:
    limits = config.limits
    for name, base, cap in (
        ("retry", limits.retry_base_seconds, limits.retry_cap_seconds),
        ("try", limits.try_base_seconds, limits.try_cap_seconds),
    ):
        if base > cap:
            yield _error(
                f"limits.{name}_cap_seconds",
                f"less than limits.{name}_base_seconds ({base:g})",
                "Give at least as much.",
                f"{cap:g}",
            )


def spool_holds_a_chunk(config: PipelineConfig) -> Iterator[Problem]:
    chunk, quota = config.phases.source_to_stage_transfer.chunk_bytes, config.limits.spool_quota_bytes
    if chunk > quota:
        yield _error(
            "limits.spool_quota_bytes",
            f"not even one chunk fits (phases.source_to_stage_transfer.chunk_bytes is {chunk})",
            "Raise the quota or lower chunk_bytes.",
            quota,
        )


def memory_forgets(config: PipelineConfig) -> Iterator[Problem]:
    if config.drive_table.type == "memory":
        yield _warning(
            "drive_table.type",
            "what runs did is forgotten when the process ends",
            "Use sqlite for anything but a trial.",
            "memory",
        )


def snowflake_needs_a_connection(config: PipelineConfig) -> Iterator[Problem]:
    users = [name for name in ("target_system", "drive_table") if getattr(config, name).type == "snowflake"]
    if users and config.snowflake_connection is None:
        yield _error(
            "snowflake_connection",
            f"{' and '.join(users)} of type snowflake cannot be reached without it",
            "Give account, user, role, warehouse and private_key.",
        )
    if not users and config.snowflake_connection is not None:
        yield _warning("snowflake_connection", "nothing here is in Snowflake", "Remove it.")


def stage_is_the_targets(config: PipelineConfig) -> Iterator[Problem]:
    if config.stage_system.type != config.target_system.type:
        yield _error(
            "stage_system.type",
            f"a target of type {config.target_system.type} loads from a stage of its own kind",
            f"Leave it out, or set it to {config.target_system.type}.",
            config.stage_system.type,
        )


def one_machine_is_not_several(config: PipelineConfig) -> Iterator[Problem]:
    if not config.limits.several_machines:
        return
    if config.drive_table.type in ("sqlite", "memory"):
        yield _error(
            "drive_table.type",
            "workers on several machines do not see one another's runs in a file of one machine: each would load"
            " every window",
            "Use mysql (advised) or snowflake, or set limits.several_machines: false.",
            config.drive_table.type,
        )
    if config.target_system.type == "duckdb":
        yield _error(
            "target_system.type",
            "a DuckDB file belongs to one machine, and whoever has it open locks all others out",
            "Use snowflake, or set limits.several_machines: false.",
            "duckdb",
        )


def a_lease_in_the_warehouse_is_long(config: PipelineConfig) -> Iterator[Problem]:
    if config.drive_table.type == "snowflake" and config.lease_seconds < WAREHOUSE_LEASE_SECONDS:
        yield _error(
            "limits.lease_seconds",
            "every renewal is a statement that keeps the warehouse awake, and its answer may take long",
            f"Leave it out, or give {WAREHOUSE_LEASE_SECONDS:g} or more.",
            f"{config.lease_seconds:g}",
        )


def a_wait_for_a_lock_ends_before_the_lease(config: PipelineConfig) -> Iterator[Problem]:
    drive, most = config.drive_table, int(config.lease_seconds / 2)
    if isinstance(drive, MysqlDriveSettings) and drive.lock_wait_timeout_seconds > config.lease_seconds / 2:
        yield _error(
            "drive_table.lock_wait_timeout_seconds",
            f"leases last {config.lease_seconds:g} s (limits.lease_seconds), renewed after a third of that: a"
            " renewal that waits longer for a lock than half of it may come too late",
            f"Give {most} or less, or a longer lease." if most else "Give a longer lease.",
            drive.lock_wait_timeout_seconds,
        )


RULES: tuple[Rule, ...] = (
    Rule(("target_system.key", "target_system.mode"), merge_needs_key),
    Rule(("windows.lookback_seconds", "target_system.mode"), append_needs_no_lookback),
    Rule(("target_system.cursor_immutable", "target_system.mode", "source_system"), append_needs_a_steady_cursor),
    Rule(("windows.lookback_seconds", "target_system", "source_system"), version_beside_the_cursor),
    Rule(("windows.start", "windows.width", "windows.timezone"), start_on_an_edge),
    Rule(("windows.end", "windows.start"), end_after_start),
    Rule(("phases.source_to_stage_transfer", "phases.stage_to_target_transfer"), merge_needs_reading),
    Rule(("phases.stage_cleaning", "phases.audit", "phases.stage_to_target_transfer"), clean_up_needs_proof),
    Rule(("phases.target_cleaning",), target_cleaning_needs_an_age),
    Rule(("phases.target_cleaning",), a_function_cleans_by_itself),
    Rule(("phases.target_cleaning", "windows"), retention_spares_what_was_read),
    Rule(("phases.stage_cleaning",), archive_access_fits),
    Rule(("phases.stage_cleaning", "target_system.type"), archive_stage_is_the_targets),
    Rule(("stage_system.table", "phases.source_to_stage_transfer"), own_reading_needs_a_table),
    Rule(("limits",), waits_grow),
    Rule(("limits.spool_quota_bytes", "phases.source_to_stage_transfer.chunk_bytes"), spool_holds_a_chunk),
    *(Rule((notify.PATH,), judge) for judge in notify.JUDGES),
    *(Rule(about, judge) for about, judge in (*rules_keys.JUDGES, *rules_snapshot.JUDGES)),
    Rule(("drive_table.type",), memory_forgets),
    Rule(("snowflake_connection", "target_system.type", "drive_table.type"), snowflake_needs_a_connection),
    Rule(("stage_system.type", "target_system.type"), stage_is_the_targets),
    Rule(("limits.several_machines", "drive_table.type", "target_system.type"), one_machine_is_not_several),
    Rule(("limits.lease_seconds", "drive_table.type"), a_lease_in_the_warehouse_is_long),
    Rule(("drive_table", "limits.lease_seconds"), a_wait_for_a_lock_ends_before_the_lease),
)


def broken_rules(config: PipelineConfig, wrong: tuple[str, ...] = ()) -> list[Problem]:
    """What the rules say, but for those about a setting that is `wrong` already."""
    return [problem for rule in RULES if not _touched(rule, wrong) for problem in rule.judge(config)]


def _touched(rule: Rule, wrong: tuple[str, ...]) -> bool:
    return any(
        f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")
        for one in rule.about
        for other in wrong
    )
