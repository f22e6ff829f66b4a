-- Each statement may be done again: one that finds its work done (a crash came between) is passed over.
-- Names compare by their bytes (utf8mb4_bin). JSON is text with a check, so that what was written is read back
-- as it was; the native type of MySQL rewrites numbers.

-- One row: which drive table this is, and the version of its schema.
CREATE TABLE sluiceway_drive (
    one TINYINT NOT NULL PRIMARY KEY DEFAULT 1 CHECK (one = 1),
    id CHAR(32) NOT NULL,
    schema_version INTEGER NOT NULL,
    created_at DATETIME(6) NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- One row per run. Times are UTC.
-- A phase's column holds {"status", "started_at", "finished_at", and the phase's own figures}.
CREATE TABLE pipeline_execution_drive (
    pipeline_id VARCHAR(255) NOT NULL,
    pipeline_name VARCHAR(64) NOT NULL,
    pipeline_status VARCHAR(16) NOT NULL
        CHECK (pipeline_status IN ('PENDING', 'RUNNING', 'COMPLETED', 'SKIPPED', 'FAILED')),
    phase_failed VARCHAR(64),
    created_at DATETIME(6) NOT NULL,
    updated_at DATETIME(6) NOT NULL,
    query_window_start_timestamp DATETIME(6) NOT NULL,
    query_window_end_timestamp DATETIME(6) NOT NULL,
    read_start_timestamp DATETIME(6) NOT NULL,
    run_kind VARCHAR(16) NOT NULL,
    run_number INTEGER NOT NULL,
    stale_pipeline_handling_phase LONGTEXT CHECK (JSON_VALID(stale_pipeline_handling_phase)),
    pre_validation_phase LONGTEXT CHECK (JSON_VALID(pre_validation_phase)),
    source_to_stage_transfer_phase LONGTEXT CHECK (JSON_VALID(source_to_stage_transfer_phase)),
    stage_to_target_transfer_phase LONGTEXT CHECK (JSON_VALID(stage_to_target_transfer_phase)),
    audit_phase LONGTEXT CHECK (JSON_VALID(audit_phase)),
    stage_cleaning_phase LONGTEXT CHECK (JSON_VALID(stage_cleaning_phase)),
    target_cleaning_phase LONGTEXT CHECK (JSON_VALID(target_cleaning_phase)),
    manifest LONGTEXT NOT NULL CHECK (JSON_VALID(manifest)),
    receipt LONGTEXT CHECK (JSON_VALID(receipt)),
    failure LONGTEXT CHECK (JSON_VALID(failure)),
    token BIGINT NOT NULL,
    attempts INTEGER NOT NULL,
    strikes INTEGER NOT NULL,
    owner VARCHAR(512) NOT NULL,
    lease_expires_at DATETIME(6),
    next_attempt_at DATETIME(6),
    quarantined_at DATETIME(6),
    superseded_by INTEGER NOT NULL,
    drive_id VARCHAR(64) NOT NULL,
    is_unfinished TINYINT GENERATED ALWAYS AS
        (CASE WHEN superseded_by = 0 AND pipeline_status NOT IN ('COMPLETED', 'SKIPPED') THEN 1 ELSE 0 END) STORED,
    PRIMARY KEY (pipeline_name, query_window_start_timestamp, query_window_end_timestamp, run_number, drive_id),
    KEY unfinished_runs (pipeline_name, is_unfinished, query_window_start_timestamp, query_window_end_timestamp,
        run_number, drive_id),
    KEY scheduled_runs (pipeline_name, run_kind, query_window_start_timestamp, query_window_end_timestamp),
    KEY windows_of_pipeline (pipeline_name, query_window_start_timestamp, query_window_end_timestamp),
    KEY runs_by_id (pipeline_id)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The row of a pipeline is locked, and `touched` raised, by every write of the pipeline before it looks at a run.
CREATE TABLE pipeline_tokens (
    pipeline_name VARCHAR(64) NOT NULL PRIMARY KEY,
    token BIGINT NOT NULL,
    touched BIGINT NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What operators did; rows are only added.
CREATE TABLE pipeline_events (
    number BIGINT NOT NULL PRIMARY KEY AUTO_INCREMENT,
    at DATETIME(6) NOT NULL,
    actor VARCHAR(255) NOT NULL,
    action VARCHAR(64) NOT NULL,
    pipeline_name VARCHAR(64) NOT NULL,
    subject VARCHAR(255) NOT NULL,
    details LONGTEXT NOT NULL CHECK (JSON_VALID(details)),
    KEY events_by_pipeline (pipeline_name, number)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
