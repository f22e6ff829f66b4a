"""The configuration of one pipeline, as typed, frozen groups. The unit of a number is in its name.

The docstring under a field gives its meaning, its unit, its default, and why that is the default; error
messages, the JSON Schema and docs/configuration.md are made from it. Rules between fields: `service/rules.py`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool

from connectors.registry import SourceSettings
from loaders.archive_settings import ArchiveAccess, ArchivePlace, ArchiveUrl
from loaders.base import Mode
from loaders.registry import StageSettings, TargetSettings
from loaders.retention import Limits as RetentionLimits
from service.cron import check_cron
from service.instants import at_most_a_year, instant, is_retention, retention, zone_name
from service.notify.settings import Email, Notifications
from state.model import Phase
from state.registry import DriveSettings
from state.settings import Group
from state.snowflake.settings import SnowflakeConnection
from state.sqlite.settings import LocalDriveSettings
from state.windows import Tiling, parse_width

YEAR_SECONDS = 366 * 86400
LEASE_SECONDS, WAREHOUSE_LEASE_SECONDS = 60.0, 600.0

Count = Annotated[int, Field(strict=True, ge=1)]
Bytes = Annotated[int, Field(strict=True, ge=1024)]
WholeSeconds = Annotated[int, Field(strict=True, ge=0, le=YEAR_SECONDS)]
Seconds = Annotated[float, Field(strict=True, gt=0, le=YEAR_SECONDS, allow_inf_nan=False)]
Percent = Annotated[float, Field(strict=True, ge=0, le=100, allow_inf_nan=False)]
Instant = Annotated[datetime, BeforeValidator(instant)]
FunctionName = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")]


class PipelineMetadata(Group):
    """Name and owner of the pipeline."""

    pipeline_name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,62}$")]
    """Name: a letter, then up to 62 letters, digits, `_` and `-`. It names runs, files and receipts, so it has no
    default and never changes."""
    owner_email: Email | None = None
    """Who answers for the pipeline: for people who read this file; nothing else reads it yet. Default none."""
    notifications: Notifications = Notifications()
    """Who is told what. Default nobody."""


class Windows(Group):
    """How the pipeline's time is cut into windows, and when they are loaded."""

    start: Instant
    """Start of the first window, an ISO 8601 instant with a zone (`2013-01-01T00:00:00Z`). No default: rows before
    it are never loaded."""
    end: Instant | None = None
    """No window ends after this instant. Default none: the pipeline goes on."""
    width: Annotated[str, AfterValidator(at_most_a_year)] = "1h"
    """Width of a window: fixed, as `15m`, `1h`, `7d`, or a calendar `day`, `week`, `month` of `timezone`. Default
    1h: small enough to do again, large enough to be few."""
    timezone: Annotated[str, AfterValidator(zone_name)] = "UTC"
    """Zone that calendar widths follow, by its IANA name; fixed widths do not need it. Default UTC: no clock
    changes."""
    schedule: Annotated[str, AfterValidator(check_cron)] = "*/5 * * * *"
    """When a worker that keeps running looks for windows that are due: a cron line of five fields, in UTC.
    `sluiceway run` does not read it; a worker that keeps running comes later. Default every 5 minutes: a look is
    cheap, and late looks find the same windows."""
    safety_lag_seconds: WholeSeconds = 120
    """Seconds of the source's clock after a window's end before it is read. Default 120: rows become visible some
    time after their cursor (a search index refreshes)."""
    lookback_seconds: WholeSeconds = 0
    """Seconds before a window's start that are read again, for rows that came late. Needs merge mode. Default 0:
    what is read twice is paid for twice."""
    freshness_seconds: WholeSeconds | None = None
    """Seconds that the target may be behind the source before somebody is told (`notifications.on:
    freshness_missed`). Default none: nobody is."""
    ordered: StrictBool = False
    """Load windows strictly one after another, oldest first. Default false: a merge does not depend on order."""
    max_open: Count = 2
    """Windows loaded at the same time by one process. Default 2: one reads while the other merges."""

    def tiling(self) -> Tiling:
        """The pure arithmetic of these windows. Raises ValueError if `start` is no calendar edge."""
        return Tiling(self.start.astimezone(UTC), parse_width(self.width), ZoneInfo(self.timezone))


class PhaseSettings(Group):
    """Settings that every phase has."""

    enabled: StrictBool = True
    """Whether the phase is done. Default true: each phase is part of the guarantee."""
    function: FunctionName | None = None
    """Your own function `module:function`; it replaces phases 2, 3, 4, 6, 7 and extends 1 and 5. Default none:
    built in."""


class SourceToStage(PhaseSettings):
    """Phase 3: read parts, write chunks, stage them."""

    rows_per_part: Count = 500_000
    """Rows that a part is cut to, about. Default 500,000: what is lost when a part is read again."""
    chunk_bytes: Bytes = 128 * 1024 * 1024
    """Bytes of a Parquet file, compressed. Default 134,217,728 (128 MiB): warehouses load 100 to 250 MB best."""
    chunk_rows: Count = 1_000_000
    """Rows of a Parquet file at most. Default 1,000,000: bounds the work of one file where rows are small."""
    parallel_parts: Annotated[int, Field(strict=True, ge=1, le=64)] = 2
    """Parts of one window read at the same time. Default 2: kind to the source."""
    snapshot_max_age_seconds: Seconds = 900.0
    """Seconds that one part may take in its snapshot; one that stalls longer is given up and read again. Default
    900: old snapshots weigh on a source."""
    max_quarantined_rows: Annotated[int, Field(strict=True, ge=0)] = 1_000
    """Rows of a run that value policies may set aside; with more, nothing is merged and an operator decides.
    Default 1,000: some bad rows are data to mend, thousands are a source that has changed."""
    max_quarantined_percent: Percent = 100.0
    """The same in percent of the rows that were read. Default 100, no bound: in a window of three rows one is
    many."""


class CountTolerances(Group):
    """How far a live count of the source may be off; links of the proof itself have no tolerance."""

    source_to_stage_tolerance_percent: Percent = 0.0
    """Percent that the live source may differ from what was staged before the audit says DRIFT. Default 0: shown,
    never hidden."""
    stage_to_target_tolerance_percent: Percent = 0.0
    """Percent that the target may differ from the stage where your own function merges. Default 0. The built-in
    merge counts every row in one transaction and has no tolerance."""


class Audit(PhaseSettings):
    """Phase 5: every count looked up again."""

    count_tolerances: CountTolerances = CountTolerances()
    """How far a live count may be off. Default 0 percent."""


class StageCleaning(PhaseSettings):
    """Phase 6: archive and remove what was staged."""

    archive: ArchiveUrl | None = None
    """Where chunks are kept before they leave the stage: a folder, `s3://bucket/prefix` or `gs://bucket/prefix`,
    each file read back and compared; or, from Snowflake, another stage `@DB.SCHEMA.STAGE/path`. Default none: the
    source still has the rows."""
    archive_access: ArchiveAccess = ArchiveAccess()
    """How the object store of `archive` is reached. Default: as the machine is set up."""
    allow_unproven: StrictBool = False
    """Clean up although the audit says UNPROVEN. Default false: the staged files are then the best evidence."""

    @property
    def place(self) -> ArchivePlace | None:
        """The archive with its access; None if nothing is archived."""
        return None if self.archive is None else ArchivePlace(self.archive, self.archive_access)


class TargetCleaning(PhaseSettings):
    """Phase 7: remove old rows from the target, within limits, or by your own function."""

    enabled: StrictBool = False
    """Whether the phase is done. Default false: nothing is removed from a target unasked."""
    retention: Annotated[str, AfterValidator(is_retention)] | None = None
    """How long rows stay, as `90d` or `36h`: what is older than the end of the run's window less this leaves the
    table, whoever wrote it. Default none, because a guess would cost rows."""
    column: Annotated[str, Field(min_length=1)] | None = None
    """Timestamp or date of the target that tells a row's age; rows without one stay. Default: the cursor."""
    max_rows: Count = 1_000_000
    """Rows that may go in one run; if more are old, none goes. Default 1,000,000: a slip of the keyboard is not
    carried out."""
    max_percent: Percent = 10.0
    """Percent of the table's rows that may go in one run; if more are old, none goes. Default 10: steady windows
    remove a fraction of that."""
    dry_run: StrictBool = True
    """Only count and tell what would go. Default true: look with `sluiceway show`, then set it false."""

    @property
    def age(self) -> timedelta | None:
        """`retention` as a span; None if there is none."""
        return None if self.retention is None else retention(self.retention)

    @property
    def limits(self) -> RetentionLimits:
        """What may go in one run."""
        return RetentionLimits(self.max_rows, self.max_percent)


class Phases(Group):
    """The seven phases of a run, in order."""

    stale_pipeline_handling: PhaseSettings = PhaseSettings()
    """Phase 1: settle what dead attempts left behind."""
    pre_validation: PhaseSettings = PhaseSettings()
    """Phase 2: compare source and target, cut the read range."""
    source_to_stage_transfer: SourceToStage = SourceToStage()
    """Phase 3: read parts, write chunks, stage them."""
    stage_to_target_transfer: PhaseSettings = PhaseSettings()
    """Phase 4: merge, with fence and receipt."""
    audit: Audit = Audit()
    """Phase 5: look every count up again."""
    stage_cleaning: StageCleaning = StageCleaning()
    """Phase 6: archive and remove what was staged."""
    target_cleaning: TargetCleaning = TargetCleaning()
    """Phase 7: remove old rows from the target. Off by default."""

    def of(self, phase: Phase) -> PhaseSettings:
        """The settings of `phase`."""
        found: PhaseSettings = getattr(self, phase.value)
        return found

    @property
    def have_functions(self) -> bool:
        """Whether any phase is done by a user's function."""
        return any(self.of(phase).function is not None for phase in Phase)


class Limits(Group):
    """Budgets of time, tries and disk."""

    attempts_per_error_class: Count = 5
    """Failures of one kind in a row before a run is quarantined. Default 5: some 8 minutes of trying by itself.
    Those of the kind `unreachable` have no limit: no window is to blame where nobody is let in."""
    retry_base_seconds: Seconds = 30.0
    """Seconds before a failed run is tried again, doubled each time. Default 30: longer than a restart."""
    retry_cap_seconds: Seconds = 3600.0
    """Seconds that this wait grows to at most. Default 3600: an outage of a night ends within the hour."""
    tries_per_phase: Count = 4
    """Tries of a phase, or of a part, inside one attempt. Default 4: gets over a node that restarts."""
    try_base_seconds: Seconds = 0.5
    """Seconds before the second try, doubled each time. Default 0.5: most hiccups are short."""
    try_cap_seconds: Seconds = 30.0
    """Seconds that this wait grows to at most. Default 30: less than a lease."""
    catch_up_windows: Count = 100
    """Windows opened at one look. Default 100: a pipeline that starts years back does not fill the drive table."""
    lease_seconds: Annotated[float, Field(strict=True, ge=0.1, le=3600, allow_inf_nan=False)] | None = None
    """Seconds that a worker owns a run without renewing. Default 60: outlives a pause, not a lunch; 600 with a
    drive table in Snowflake, where every renewal is a statement that wakes the warehouse."""
    several_machines: StrictBool = False
    """Whether workers on several machines share this pipeline: replicas, Jobs, mapped tasks. True refuses what
    only one machine can hold (a drive table in SQLite, a DuckDB target). Default false."""
    spool_directory: Path = Path("spool")
    """Local folder of chunks being written. Default `spool` in the working directory: /tmp is often memory."""
    spool_quota_bytes: Bytes = 4 * 1024**3
    """Bytes that the spool may hold. Default 4,294,967,296 (4 GiB): dozens of open chunks."""


class PipelineConfig(Group):
    """One pipeline: one source stream into one target table."""

    config_version: Annotated[int, Field(strict=True, ge=1, le=1)]
    """Version of this file's form: 1. No default, so that a later form is never read as this one."""
    shared: Path | None = None
    """File with `connections` and `defaults` for several pipelines, beside this file. Default none."""
    pipeline_metadata: PipelineMetadata
    """Name and owner of the pipeline."""
    windows: Windows
    """How time is cut, and when windows are loaded."""
    source_system: SourceSettings
    """Where rows come from."""
    stage_system: StageSettings
    """Where chunks are staged."""
    target_system: TargetSettings
    """Where rows go to."""
    phases: Phases = Phases()
    """The seven phases. Default: all built in, target clean-up off."""
    drive_table: DriveSettings = LocalDriveSettings()
    """Where the runs are remembered. Default: a SQLite file."""
    limits: Limits = Limits()
    """Budgets of time, tries and disk."""
    snowflake_connection: SnowflakeConnection | None = None
    """How Snowflake is reached, by a target or a drive table there. Default none."""

    @property
    def whole(self) -> bool:
        """Whether each run replaces the target by the whole source (mode snapshot)."""
        return self.target_system.mode is Mode.SNAPSHOT

    @property
    def lease_seconds(self) -> float:
        """Seconds that a worker owns a run without renewing."""
        if self.limits.lease_seconds is not None:
            return self.limits.lease_seconds
        return WAREHOUSE_LEASE_SECONDS if self.drive_table.type == "snowflake" else LEASE_SECONDS

    def as_dict(self) -> dict[str, Any]:
        """All settings as JSON-like values; secrets stay references. What a user's function is given."""
        return self.model_dump(mode="json")
