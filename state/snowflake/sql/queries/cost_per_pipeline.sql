-- Statements and warehouse time of each pipeline and phase within the last 7 days, by the query tag.
-- Needs a grant that the workers do not have: GRANT DATABASE ROLE SNOWFLAKE.GOVERNANCE_VIEWER TO ROLE <yours>.
-- The view is up to 45 minutes behind. Seconds are execution time. What a credit buys of them depends on the size of
-- the warehouse, and a warehouse that runs for several is shared between them.
SELECT
    TRY_PARSE_JSON(query_tag):pipeline::VARCHAR AS pipeline,
    TRY_PARSE_JSON(query_tag):phase::VARCHAR AS phase,
    warehouse_name,
    warehouse_size,
    COUNT(*) AS statements,
    ROUND(SUM(execution_time) / 1000, 1) AS execution_seconds,
    ROUND(SUM(queued_overload_time + transaction_blocked_time) / 1000, 1) AS waiting_seconds,
    SUM(bytes_scanned) AS bytes_scanned,
    ROUND(SUM(credits_used_cloud_services), 4) AS cloud_services_credits
FROM snowflake.account_usage.query_history
WHERE start_time >= TIMESTAMPADD(day, -7, CURRENT_TIMESTAMP())
    AND TRY_PARSE_JSON(query_tag):app::VARCHAR = 'sluiceway'
GROUP BY 1, 2, 3, 4
ORDER BY execution_seconds DESC;
