-- As the form for one server, on a cluster: each shard keeps the events of its customers in events_local, replicated;
-- `events` is what everybody reads and writes. All events of a customer are on one shard, so a customer's usage is
-- summed there.
--
-- Settings that the user of this database needs: distributed_foreground_insert = 1 (an insert is acknowledged when the
-- shards have it), insert_quorum = 'auto' and select_sequential_consistency = 1 (a read after a write sees it, on any
-- replica), do_not_merge_across_partitions_select_final = 1 (rows of equal key are in one partition).
CREATE TABLE IF NOT EXISTS events_local ON CLUSTER '{cluster}'
(
    tenant_id       LowCardinality(String),
    environment_id  LowCardinality(String),
    event_name      LowCardinality(String),
    customer_id     String,
    timestamp       DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    timed           Bool DEFAULT true COMMENT 'false where the sender gave no timestamp and the time of arrival was taken',
    identity        String DEFAULT ifNull(idempotency_key, event_id) COMMENT 'the idempotency key, or the event id where there is none',
    event_id        String,
    idempotency_key Nullable(String),
    properties      Map(String, Nullable(String)) COMMENT 'key, or dotted path to a leaf, to its text',
    source          LowCardinality(String) DEFAULT 'api',
    ingested_at     DateTime64(6, 'UTC') DEFAULT now64(6),
    day             Date MATERIALIZED toDate(timestamp),
    hour            DateTime('UTC') MATERIALIZED toStartOfHour(timestamp) CODEC(DoubleDelta, LZ4),
    identity_hash   UInt64 MATERIALIZED cityHash64(tenant_id, environment_id, identity),
    content_hash    UInt64 MATERIALIZED cityHash64(
                        event_name, customer_id, if(timed, toUnixTimestamp64Micro(timestamp), 0), properties),
    seniority       UInt64 MATERIALIZED bitNot(toUInt64(toUnixTimestamp64Micro(ingested_at))),
    INDEX ingested_at_range ingested_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{uuid}/{shard}', '{replica}', seniority)
PARTITION BY toYYYYMM(day)
ORDER BY (tenant_id, environment_id, event_name, day, customer_id, hour, identity, content_hash)
SETTINGS index_granularity = 2048, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS events ON CLUSTER '{cluster}' AS events_local
ENGINE = Distributed('{cluster}', currentDatabase(), 'events_local', sipHash64(tenant_id, customer_id));
