-- As the form for one server. These tables are small and every server reads them, so each server has all of them: one
-- replicated table over all shards and replicas.
CREATE TABLE IF NOT EXISTS superseded ON CLUSTER '{cluster}'
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
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{uuid}/all', '{shard}-{replica}', superseded_at)
ORDER BY (tenant_id, environment_id, event_name, day, identity, content_hash, hour)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- One row per finished reconcile run: all events received up to `watermark` have been compared with each other.
CREATE TABLE IF NOT EXISTS reconciliations ON CLUSTER '{cluster}'
(
    watermark   DateTime64(6, 'UTC'),
    finished_at DateTime64(6, 'UTC'),
    superseded  UInt64
)
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{uuid}/all', '{shard}-{replica}')
ORDER BY watermark
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Inserts that are running now. An insert takes its `ingested_at` after it has started.
CREATE OR REPLACE VIEW running_inserts ON CLUSTER '{cluster}' AS
SELECT now64(6, 'UTC') - toIntervalMicrosecond(toUInt64(elapsed * 1000000)) AS started_at
FROM clusterAllReplicas('{cluster}', system.processes)
WHERE query_kind IN ('Insert', 'AsyncInsertFlush');
