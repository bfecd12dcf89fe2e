-- Puts back arrivals that a crash between the insert into `events` and the one into `arrivals` left out: without them a
-- day would look clean that is not.
INSERT INTO arrivals (tenant_id, environment_id, event_name, day, minute, events, last_ingested_at)
WITH
    fromUnixTimestamp64Micro({from_us:Int64}, 'UTC') AS from_at,
    fromUnixTimestamp64Micro({to_us:Int64}, 'UTC') AS to_at
SELECT
    tenant_id, environment_id, event_name, day, toStartOfMinute(max(ingested_at)), count(), max(ingested_at)
FROM events
GLOBAL LEFT JOIN
(
    SELECT tenant_id, environment_id, event_name, day, max(last_ingested_at) AS known_at
    FROM arrivals
    WHERE minute >= toStartOfMinute(from_at)
      AND day GLOBAL IN (SELECT DISTINCT day FROM events WHERE ingested_at > from_at AND ingested_at <= to_at)
    GROUP BY tenant_id, environment_id, event_name, day
) AS known USING (tenant_id, environment_id, event_name, day)
WHERE ingested_at > from_at AND ingested_at <= to_at AND ingested_at > known_at
GROUP BY tenant_id, environment_id, event_name, day
