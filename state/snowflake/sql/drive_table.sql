-- The drive table of Sluiceway: what was done, what is being done, and by whom. Schema version 1.
--
-- Run it in the schema that drive_table.database_schema names. It may be run again, and brings an older version up:
--     snow sql -f deploy/sql/drive_table.sql --database INGEST --schema SLUICEWAY
--     snowsql -o exit_on_error=true -f deploy/sql/drive_table.sql -d INGEST -s SLUICEWAY
--     sluiceway drive init -c CONFIG
-- Who runs it needs CREATE TABLE and CREATE VIEW on the schema, and owns what it makes. Only the owner can bring it to
-- a newer version. The role of the workers then needs what deploy/sql/grants.sql gives it, and no more.
-- Where there is no folder deploy, sluiceway drive sql prints these scripts.
--
-- All times are UTC. Snowflake enforces no primary key: that no run is there twice is seen to by the workers.

-- One row: which drive table this is, and the version of its schema. `touched` is only there to be updated: whoever
-- makes a pipeline known holds the lock of this row meanwhile, and leaves a mark in it.
CREATE TABLE IF NOT EXISTS sluiceway_drive (
    id VARCHAR NOT NULL,
    schema_version NUMBER(9, 0) NOT NULL,
    created_at TIMESTAMP_NTZ(6) NOT NULL,
    touched NUMBER(38, 0) NOT NULL
);

-- One row per run: (pipeline_name, query_window_start_timestamp, query_window_end_timestamp, run_number, drive_id).
-- The column of a phase holds its status, started_at, finished_at, and figures of its own.
-- `revision` rises with every write, `last_write` names the last write of the attempt that holds the run.
CREATE TABLE IF NOT EXISTS pipeline_execution_drive (
    pipeline_id VARCHAR NOT NULL,
    pipeline_name VARCHAR NOT NULL,
    pipeline_status VARCHAR NOT NULL,
    phase_failed VARCHAR,
    created_at TIMESTAMP_NTZ(6) NOT NULL,
    updated_at TIMESTAMP_NTZ(6) NOT NULL,
    query_window_start_timestamp TIMESTAMP_NTZ(6) NOT NULL,
    query_window_end_timestamp TIMESTAMP_NTZ(6) NOT NULL,
    read_start_timestamp TIMESTAMP_NTZ(6) NOT NULL,
    run_kind VARCHAR NOT NULL,
    run_number NUMBER(18, 0) NOT NULL,
    stale_pipeline_handling_phase VARIANT,
    pre_validation_phase VARIANT,
    source_to_stage_transfer_phase VARIANT,
    stage_to_target_transfer_phase VARIANT,
    audit_phase VARIANT,
    stage_cleaning_phase VARIANT,
    target_cleaning_phase VARIANT,
    manifest VARIANT NOT NULL,
    receipt VARIANT,
    failure VARIANT,
    token NUMBER(18, 0) NOT NULL,
    attempts NUMBER(18, 0) NOT NULL,
    strikes NUMBER(18, 0) NOT NULL,
    owner VARCHAR NOT NULL,
    lease_expires_at TIMESTAMP_NTZ(6),
    next_attempt_at TIMESTAMP_NTZ(6),
    quarantined_at TIMESTAMP_NTZ(6),
    superseded_by NUMBER(18, 0) NOT NULL,
    drive_id VARCHAR NOT NULL,
    revision NUMBER(18, 0) NOT NULL,
    last_write VARCHAR NOT NULL
);

-- One row per pipeline: the token of its last claim, and `steps`, which counts the transactions that created, claimed,
-- reopened or took over runs of it. `recent_steps` names the last of them, so that a lost answer can be settled.
CREATE TABLE IF NOT EXISTS pipeline_tokens (
    pipeline_name VARCHAR NOT NULL,
    token NUMBER(18, 0) NOT NULL,
    steps NUMBER(18, 0) NOT NULL,
    recent_steps VARCHAR NOT NULL
);

-- What operators did. Rows are only added. `event_key` names an event, so that it is not there twice.
CREATE TABLE IF NOT EXISTS pipeline_events (
    number NUMBER(18, 0) AUTOINCREMENT START 1 INCREMENT 1 ORDER,
    happened_at TIMESTAMP_NTZ(6) NOT NULL,
    actor VARCHAR NOT NULL,
    action VARCHAR NOT NULL,
    pipeline_name VARCHAR NOT NULL,
    subject VARCHAR NOT NULL,
    details VARIANT NOT NULL,
    event_key VARCHAR NOT NULL
);

-- Runs that ended FAILED within the last 24 hours, with the cause and what happens next.
CREATE OR REPLACE VIEW pipeline_failed_last_24_hours COPY GRANTS AS
SELECT
    pipeline_id,
    pipeline_name,
    phase_failed,
    failure:kind::VARCHAR AS error_kind,
    failure:code::VARCHAR AS error_code,
    failure:message::VARCHAR AS error_message,
    failure:hint::VARCHAR AS hint,
    attempts,
    next_attempt_at,
    quarantined_at,
    superseded_by,
    query_window_start_timestamp,
    query_window_end_timestamp,
    updated_at
FROM pipeline_execution_drive
WHERE pipeline_status = 'FAILED' AND updated_at >= TIMESTAMPADD(hour, -24, SYSDATE());

-- The counts of each audit beside each other.
CREATE OR REPLACE VIEW pipeline_audits COPY GRANTS AS
SELECT
    pipeline_id,
    pipeline_name,
    pipeline_status,
    query_window_start_timestamp,
    query_window_end_timestamp,
    audit_phase:validation_status::VARCHAR AS validation_status,
    audit_phase:source_count::NUMBER AS source_count,
    audit_phase:stage_count::NUMBER AS stage_count,
    audit_phase:target_count::NUMBER AS target_count,
    audit_phase:finished_at::VARCHAR AS audited_at,
    audit_phase
FROM pipeline_execution_drive
WHERE audit_phase IS NOT NULL;

-- Spans between the first and the last completed window of a pipeline that no completed run covers.
CREATE OR REPLACE VIEW pipeline_gaps COPY GRANTS AS
SELECT pipeline_name, covered_until AS gap_start, query_window_start_timestamp AS gap_end
FROM (
    SELECT
        pipeline_name,
        query_window_start_timestamp,
        MAX(query_window_end_timestamp) OVER (
            PARTITION BY pipeline_name
            ORDER BY query_window_start_timestamp, query_window_end_timestamp
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS covered_until
    FROM pipeline_execution_drive
    WHERE pipeline_status = 'COMPLETED'
) AS covered
WHERE query_window_start_timestamp > covered_until;

-- How far each pipeline is, and what stands in its way.
CREATE OR REPLACE VIEW pipeline_freshness COPY GRANTS AS
SELECT
    pipeline_name,
    MAX(IFF(pipeline_status = 'COMPLETED', query_window_end_timestamp, NULL)) AS loaded_until,
    TIMESTAMPDIFF(
        minute, MAX(IFF(pipeline_status = 'COMPLETED', query_window_end_timestamp, NULL)), SYSDATE()
    ) AS minutes_behind,
    MIN(
        IFF(
            pipeline_status IN ('PENDING', 'RUNNING', 'FAILED') AND superseded_by = 0,
            query_window_start_timestamp,
            NULL
        )
    ) AS oldest_unfinished,
    COUNT_IF(pipeline_status IN ('PENDING', 'RUNNING', 'FAILED') AND superseded_by = 0) AS unfinished,
    COUNT_IF(quarantined_at IS NOT NULL AND superseded_by = 0) AS quarantined
FROM pipeline_execution_drive
GROUP BY pipeline_name;

-- The id is made once, and the version is written last: whoever finds it finds all of the above.
MERGE INTO sluiceway_drive AS here USING (SELECT 1 AS schema_version) AS made ON here.schema_version >= 0
    WHEN NOT MATCHED THEN INSERT (id, schema_version, created_at, touched)
        VALUES (REPLACE(UUID_STRING(), '-', ''), made.schema_version, SYSDATE(), 0);

UPDATE sluiceway_drive SET schema_version = 1 WHERE schema_version < 1;
