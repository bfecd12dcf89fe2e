CREATE MATERIALIZED VIEW arrivals_of_events TO arrivals
(
    `tenant_id` LowCardinality(String),
    `environment_id` LowCardinality(String),
    `event_name` LowCardinality(String),
    `day` Date,
    `minute` DateTime('UTC'),
    `events` UInt64,
    `last_ingested_at` DateTime64(6, 'UTC')
)
AS SELECT
    tenant_id,
    environment_id,
    event_name,
    day,
    toStartOfMinute(ingested_at) AS minute,
    count() AS events,
    max(ingested_at) AS last_ingested_at
FROM events
GROUP BY
    tenant_id,
    environment_id,
    event_name,
    day,
    minute
