-- Runs that failed within the last 24 hours, the newest first. Run it in the schema of the drive table.
SELECT
    pipeline_id, phase_failed, error_kind, error_code, error_message, hint, next_attempt_at, quarantined_at
FROM pipeline_failed_last_24_hours
ORDER BY updated_at DESC;
