-- The audit of one run, count by count. Name the run, and run this in the schema of the drive table.
SET sluiceway_run = 'flights_20251115_10h_run1';

SELECT
    pipeline_id,
    pipeline_status,
    audit_phase:validation_status::VARCHAR AS validation_status,
    audit_phase:source_count::NUMBER AS source_count,
    audit_phase:stage_count::NUMBER AS stage_count,
    audit_phase:target_count::NUMBER AS target_count,
    audit_phase
FROM pipeline_execution_drive
WHERE pipeline_id = $sluiceway_run;
