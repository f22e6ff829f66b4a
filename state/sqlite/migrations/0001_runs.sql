-- One row: which drive table this is, and the version of its schema.
CREATE TABLE sluiceway_drive (
    id TEXT NOT NULL,
    schema_version INTEGER NOT NULL,
    created_at TEXT NOT NULL
);

-- One row per run. Times are UTC text with microseconds, so that they read well and sort right.
-- A phase's column holds {"status", "started_at", "finished_at", and the phase's own figures}.
-- An ordinary table: rows with a manifest are large, and of one WITHOUT ROWID the integrity_check of
-- SQLite 3.40 (Debian 12) says, wrongly, that it holds NULLs.
CREATE TABLE pipeline_execution_drive (
    pipeline_id TEXT NOT NULL,
    pipeline_name TEXT NOT NULL,
    pipeline_status TEXT NOT NULL
        CHECK (pipeline_status IN ('PENDING', 'RUNNING', 'COMPLETED', 'SKIPPED', 'FAILED')),
    phase_failed TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    query_window_start_timestamp TEXT NOT NULL,
    query_window_end_timestamp TEXT NOT NULL,
    read_start_timestamp TEXT NOT NULL,
    run_kind TEXT NOT NULL,
    run_number INTEGER NOT NULL,
    stale_pipeline_handling_phase TEXT,
    pre_validation_phase TEXT,
    source_to_stage_transfer_phase TEXT,
    stage_to_target_transfer_phase TEXT,
    audit_phase TEXT,
    stage_cleaning_phase TEXT,
    target_cleaning_phase TEXT,
    manifest TEXT NOT NULL,
    receipt TEXT,
    failure TEXT,
    token INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    strikes INTEGER NOT NULL,
    owner TEXT NOT NULL,
    lease_expires_at TEXT,
    next_attempt_at TEXT,
    quarantined_at TEXT,
    superseded_by INTEGER NOT NULL,
    drive_id TEXT NOT NULL,
    PRIMARY KEY (pipeline_name, query_window_start_timestamp, query_window_end_timestamp, run_number, drive_id)
);

CREATE INDEX unfinished_runs ON pipeline_execution_drive
    (pipeline_name, query_window_start_timestamp, query_window_end_timestamp, run_number)
    WHERE pipeline_status NOT IN ('COMPLETED', 'SKIPPED') AND superseded_by = 0;

CREATE INDEX scheduled_runs ON pipeline_execution_drive (pipeline_name, query_window_start_timestamp)
    WHERE run_kind = 'scheduled';

CREATE INDEX runs_by_id ON pipeline_execution_drive (pipeline_id);

CREATE TABLE pipeline_tokens (
    pipeline_name TEXT PRIMARY KEY,
    token INTEGER NOT NULL
) WITHOUT ROWID;

-- What operators did; rows are only added.
CREATE TABLE pipeline_events (
    number INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    pipeline_name TEXT NOT NULL,
    subject TEXT NOT NULL,
    details TEXT NOT NULL
);

CREATE INDEX events_by_pipeline ON pipeline_events (pipeline_name, number);
