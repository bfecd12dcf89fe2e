-- As the form for one server: each shard counts the arrivals of its own inserts.
CREATE TABLE IF NOT EXISTS arrivals_local ON CLUSTER '{cluster}'
(
    tenant_id        LowCardinality(String),
    environment_id   LowCardinality(String),
    event_name       LowCardinality(String),
    day              Date COMMENT 'UTC day of the event''s own timestamp',
    minute           DateTime('UTC') COMMENT 'when it was received',
    events           SimpleAggregateFunction(sum, UInt64),
    last_ingested_at SimpleAggregateFunction(max, DateTime64(6, 'UTC'))
)
ENGINE = ReplicatedAggregatingMergeTree('/clickhouse/tables/{uuid}/{shard}', '{replica}')
PARTITION BY toYYYYMM(day)
ORDER BY (tenant_id, environment_id, event_name, day, minute)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS arrivals ON CLUSTER '{cluster}' AS arrivals_local
ENGINE = Distributed('{cluster}', currentDatabase(), 'arrivals_local', rand());

CREATE MATERIALIZED VIEW IF NOT EXISTS arrivals_of_events ON CLUSTER '{cluster}' TO arrivals_local AS
SELECT
    tenant_id,
    environment_id,
    event_name,
    day,
    toStartOfMinute(ingested_at) AS minute,
    count()                      AS events,
    max(ingested_at)             AS last_ingested_at
FROM events_local
GROUP BY tenant_id, environment_id, event_name, day, minute;
