-- As schema_migrations.sql, with one copy per server: every replica of every shard knows what the cluster has.
CREATE TABLE IF NOT EXISTS schema_migrations ON CLUSTER '{cluster}'
(
    number UInt32,
    name String,
    form LowCardinality(String),
    checksum String,
    applied_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{uuid}/all', '{shard}-{replica}')
ORDER BY number
