-- Per tenant and environment: the minute of the earliest arrival that the rollups of these days have not seen. Each of
-- `unseen` is (tenant, environment, event name, day, up to when its rollup has seen everything).
WITH asked AS
(
    SELECT
        one.1 AS asked_tenant, one.2 AS asked_environment, one.3 AS asked_name, one.4 AS asked_day,
        fromUnixTimestamp64Micro(one.5, 'UTC') AS seen_until
    FROM (SELECT arrayJoin({unseen:Array(Tuple(String, String, String, Date, Int64))}) AS one)
)
SELECT tenant_id, environment_id, toInt64(toUnixTimestamp(min(minute))) * 1000000 AS waiting_us
FROM arrivals
INNER JOIN asked ON tenant_id = asked_tenant AND environment_id = asked_environment
    AND event_name = asked_name AND day = asked_day
WHERE day IN (SELECT asked_day FROM asked) AND last_ingested_at > seen_until
GROUP BY tenant_id, environment_id
