-- How many events arrived in which minute for which day: which days are dirty, without a scan of the events.
-- Counts arrivals, so a resend counts again. Written by the insert into `events` itself; what a crash between the two
-- leaves out is put back by the reconcile step.
CREATE TABLE IF NOT EXISTS arrivals
(
    tenant_id        LowCardinality(String),
    environment_id   LowCardinality(String),
    event_name       LowCardinality(String),
    day              Date COMMENT 'UTC day of the event''s own timestamp',
    minute           DateTime('UTC') COMMENT 'when it was received',
    events           SimpleAggregateFunction(sum, UInt64),
    last_ingested_at SimpleAggregateFunction(max, DateTime64(6, 'UTC'))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(day)
ORDER BY (tenant_id, environment_id, event_name, day, minute)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS arrivals_of_events TO arrivals AS
SELECT
    tenant_id,
    environment_id,
    event_name,
    day,
    toStartOfMinute(ingested_at) AS minute,
    count()                      AS events,
    max(ingested_at)             AS last_ingested_at
FROM events
GROUP BY tenant_id, environment_id, event_name, day, minute;
