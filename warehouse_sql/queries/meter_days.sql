-- Per tenant, environment, event name and day since first_day: when the last event arrived and when the last row was
-- superseded, of what has arrived or was superseded after a moment.
SELECT
    tenant_id, environment_id, event_name, day,
    toUnixTimestamp64Micro(max(arrived_at))   AS arrived_us,
    toUnixTimestamp64Micro(max(corrected_at)) AS corrected_us
FROM
(
    SELECT tenant_id, environment_id, event_name, day, last_ingested_at AS arrived_at, toDateTime64(0, 6, 'UTC') AS corrected_at
    FROM arrivals
    WHERE day >= {first_day:Date} AND last_ingested_at > fromUnixTimestamp64Micro({after_us:Int64}, 'UTC')
    UNION ALL
    SELECT tenant_id, environment_id, event_name, day, toDateTime64(0, 6, 'UTC') AS arrived_at, superseded_at AS corrected_at
    FROM superseded
    WHERE day >= {first_day:Date} AND superseded_at > fromUnixTimestamp64Micro({after_us:Int64}, 'UTC')
)
GROUP BY tenant_id, environment_id, event_name, day
