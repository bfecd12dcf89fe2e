-- Per tenant and environment: when the last event was received for a day since first_day.
SELECT tenant_id, environment_id, toUnixTimestamp64Micro(max(last_ingested_at)) AS received_us
FROM arrivals
WHERE day >= {first_day:Date}
GROUP BY tenant_id, environment_id
