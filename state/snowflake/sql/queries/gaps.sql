-- Spans that no completed run covers, between the first and the last completed window of each pipeline. Skipped runs
-- are gaps. Run it in the schema of the drive table.
SELECT pipeline_name, gap_start, gap_end, TIMESTAMPDIFF(minute, gap_start, gap_end) AS minutes
FROM pipeline_gaps
ORDER BY pipeline_name, gap_start;
