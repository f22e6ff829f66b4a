-- How far each pipeline is and what stands in its way, the one furthest behind first. Run it in the
-- schema of the drive table.
SELECT pipeline_name, loaded_until, minutes_behind, oldest_unfinished, unfinished, quarantined
FROM pipeline_freshness
ORDER BY minutes_behind DESC;
