-- Whose events of the time before `before_us` have changed since a watermark: received in (from_us, to_us], or left out
-- since then. One row for each customer, event name and day, with the time that these events span and when the last of
-- them came. The arrivals say on which days there is anything to look at.
WITH
    fromUnixTimestamp64Micro({from_us:Int64}, 'UTC') AS from_at,
    fromUnixTimestamp64Micro({to_us:Int64}, 'UTC') AS to_at,
    fromUnixTimestamp64Micro({before_us:Int64}, 'UTC') AS before_at
SELECT
    tenant_id,
    environment_id,
    event_name,
    customer_id,
    toUnixTimestamp64Micro(min(happened_at)) AS first_us,
    toUnixTimestamp64Micro(max(happened_at)) AS last_us,
    toUnixTimestamp64Micro(max(changed_at))  AS changed_us
FROM
(
    SELECT tenant_id, environment_id, event_name, customer_id, day, timestamp AS happened_at, ingested_at AS changed_at
    FROM events
    WHERE (tenant_id, environment_id, event_name, day) GLOBAL IN
          (
              SELECT tenant_id, environment_id, event_name, day
              FROM arrivals
              WHERE minute >= toStartOfMinute(from_at) AND day <= toDate(before_at)
          )
      AND ingested_at > from_at AND ingested_at <= to_at AND timestamp < before_at

    UNION ALL

    SELECT tenant_id, environment_id, event_name, customer_id, day, timestamp AS happened_at, superseded_at AS changed_at
    FROM superseded
    WHERE superseded_at > from_at AND timestamp < before_at
)
GROUP BY tenant_id, environment_id, event_name, customer_id, day
ORDER BY tenant_id, environment_id, event_name, customer_id, day
