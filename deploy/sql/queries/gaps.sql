-- Spans that no completed run covers, between the first and the last completed window of each pipeline. Skipped runs
-- are gaps. Run it in the drive table's schema.
SELECT pipeline_name, gap_start, gap_end, TIMESTAMPDIFF(minute, gap_start, gap_end) AS minutes
FROM pipeline_gaps
ORDER BY pipeline_name, gap_start;
