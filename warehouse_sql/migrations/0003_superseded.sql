-- Rows of `events` that lost against an earlier received row of the same identity. Every read leaves them out.
-- A row here names one row of `events` by (identity, content_hash, hour) within tenant, environment and event name.
-- `reason` is `duplicate` (same content, only the time of arrival differs) or `conflict` (other content: never billed).
CREATE TABLE IF NOT EXISTS superseded
(
    tenant_id          LowCardinality(String),
    environment_id     LowCardinality(String),
    event_name         LowCardinality(String),
    day                Date COMMENT 'UTC day of the row that is left out',
    identity           String,
    content_hash       UInt64,
    hour               DateTime('UTC'),
    customer_id        String,
    timestamp          DateTime64(6, 'UTC'),
    event_id           String,
    ingested_at        DateTime64(6, 'UTC'),
    reason             LowCardinality(String),
    winner_event_name  LowCardinality(String),
    winner_customer_id String,
    winner_timestamp   DateTime64(6, 'UTC'),
    winner_event_id    String,
    superseded_at      DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(superseded_at)
ORDER BY (tenant_id, environment_id, event_name, day, identity, content_hash, hour)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- One row per finished reconcile run: all events received up to `watermark` have been compared with each other.
CREATE TABLE IF NOT EXISTS reconciliations
(
    watermark   DateTime64(6, 'UTC'),
    finished_at DateTime64(6, 'UTC'),
    superseded  UInt64
)
ENGINE = MergeTree
ORDER BY watermark
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Inserts that are running now. An insert takes its `ingested_at` after it has started.
CREATE OR REPLACE VIEW running_inserts AS
SELECT now64(6, 'UTC') - toIntervalMicrosecond(toUInt64(elapsed * 1000000)) AS started_at
FROM system.processes
WHERE query_kind IN ('Insert', 'AsyncInsertFlush');
